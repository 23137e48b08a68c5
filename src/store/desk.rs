//! The backend's thread, and the one order that it works on at a time.
//!
//! Invariant: whoever gives orders never waits for the backend, unless it asks to.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use super::marks::Marks;
use super::sink::{Report, Sink, Trouble};
use crate::job::JobError;

/// What the backend is to do.
pub(super) enum Order<B> {
    Resume,
    Commit(B, Marks),
    Sync,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Resumed(Result<Marks, Trouble>),
    Committed(Result<Report, Trouble>),
    Synced(Result<(), Trouble>),
}

/// The backend on its thread. Its end does not wait for an order that hangs: the process ends with it.
#[derive(Debug)]
pub(super) struct Desk<S: Sink> {
    orders: SyncSender<Order<S::Batch>>,
    answers: Receiver<Answer>,
    /// Since when an order has been worked on.
    busy_since: Option<Instant>,
}

impl<S: Sink> Desk<S> {
    pub(super) fn new(sink: S) -> Result<Self, JobError> {
        let (orders, inbox) = sync_channel(1);
        let (outbox, answers) = sync_channel(1);
        let work = move || work(sink, &inbox, &outbox);
        let thread = std::thread::Builder::new().name("backend".into()).spawn(work);
        thread.map_err(|error| JobError::failed("cannot start a thread for the backend", error))?;
        Ok(Self { orders, answers, busy_since: None })
    }

    /// Gives an order.
    ///
    /// # Panics
    /// If one is being worked on.
    pub(super) fn give(&mut self, order: Order<S::Batch>) {
        assert!(self.busy_since.is_none(), "the backend works on one order at a time");
        self.busy_since = Some(Instant::now());
        // A backend whose thread is gone says so when it is asked for the answer.
        self.orders.send(order).ok();
    }

    /// Since when it has been working on an order.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.busy_since
    }

    /// The answer, if it comes in time.
    ///
    /// # Errors
    /// The backend panicked.
    pub(super) fn answer(&mut self, within: Duration) -> Result<Option<Answer>, JobError> {
        if self.busy_since.is_none() {
            return Ok(None);
        }
        let answer = match within {
            Duration::ZERO => self.answers.try_recv().map_err(|error| error == TryRecvError::Disconnected),
            within => self.answers.recv_timeout(within).map_err(|error| error == RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(answer) => {
                self.busy_since = None;
                Ok(Some(answer))
            }
            Err(true) => Err(JobError::Failed { context: "the backend's thread ended".into(), source: None }),
            Err(false) => Ok(None),
        }
    }
}

fn work<S: Sink>(mut sink: S, orders: &Receiver<Order<S::Batch>>, answers: &SyncSender<Answer>) {
    for order in orders {
        let answer = match order {
            Order::Resume => Answer::Resumed(sink.resume()),
            Order::Commit(batch, marks) => Answer::Committed(sink.commit(batch, &marks)),
            Order::Sync => Answer::Synced(sink.sync()),
        };
        if answers.send(answer).is_err() {
            break;
        }
    }
}
