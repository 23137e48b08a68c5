//! The bus beside the ring: a thread waits for its messages, and wakes the reader of the ring for each.
//!
//! Invariants: at most [`WAITING`] messages are taken off the bus before the job has asked for them; the thread ends when
//! told, and when it has ended nothing is on its way any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use enrgdaq_ring::Waker;
use parking_lot::{Condvar, Mutex};

use crate::bus::{Arrival, BusError, Subscriber, SubscriberCounts};
use crate::os::Wake;

/// Messages that wait for the job here; the others wait on the bus.
const WAITING: usize = 64;

/// How long nothing must come before nothing is on its way any more, once a job has unsubscribed.
const LAST_ARRIVALS: Duration = Duration::from_millis(50);

/// A subscriber, and how far it has ended.
#[derive(Debug)]
pub(super) struct BusReading {
    subscriber: Subscriber,
    is_ending: bool,
}

impl BusReading {
    pub(super) fn new(subscriber: Subscriber) -> Self {
        Self { subscriber, is_ending: false }
    }

    /// The next message; once the job is to stop, of those that were on their way already, and then `None`. `close` ends
    /// the wait at once.
    pub(super) fn next(
        &mut self,
        within: Duration,
        stop: &Wake,
        close: Option<&Wake>,
    ) -> Result<Option<Arrival>, BusError> {
        let mut arrival = None;
        if !stop.has_rung() {
            let bells = [Some(stop), close];
            let bells: Vec<_> = bells.into_iter().flatten().collect();
            arrival = self.subscriber.next(within, &bells)?;
        }
        if arrival.is_none() && stop.has_rung() {
            self.end()?;
            arrival = self.subscriber.next(LAST_ARRIVALS, close.as_slice())?;
        }
        Ok(arrival)
    }

    pub(super) fn counts(&self) -> SubscriberCounts {
        self.subscriber.counts()
    }

    /// No more of anything, so that what is here is finite.
    fn end(&mut self) -> Result<(), BusError> {
        if std::mem::replace(&mut self.is_ending, true) {
            return Ok(());
        }
        let topics: Vec<_> = self.subscriber.topics().map(|(plane, topic)| (plane, topic.clone())).collect();
        topics.iter().try_for_each(|(plane, topic)| self.subscriber.unsubscribe_on(*plane, topic, true))
    }
}

/// The thread, in the hands of the job.
#[derive(Debug)]
pub(super) struct BusIntake {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    arrivals: Mutex<VecDeque<Arrival>>,
    /// Rung when there is room again, or the thread is to end.
    room: Condvar,
    count: AtomicUsize,
    counts: Mutex<SubscriberCounts>,
    error: Mutex<Option<BusError>>,
    is_over: AtomicBool,
    /// The job wants nothing any more.
    close: Wake,
}

impl BusIntake {
    /// Starts the thread. It ends after the bell, when all that was on its way has been handed out.
    pub(super) fn start(mut reading: BusReading, stop: Wake, waker: Waker) -> Result<Self, BusError> {
        let shared = Arc::new(Shared {
            arrivals: Mutex::default(),
            room: Condvar::new(),
            count: AtomicUsize::new(0),
            counts: Mutex::default(),
            error: Mutex::new(None),
            is_over: AtomicBool::new(false),
            close: Wake::new().map_err(BusError::System)?,
        });
        let own = shared.clone();
        let work = move || {
            if let Err(error) = own.take_all(&mut reading, &stop, &waker) {
                *own.error.lock() = Some(error);
            }
            drop(reading);
            own.is_over.store(true, Ordering::Release);
            waker.wake();
        };
        let thread = thread::Builder::new().name("bus-intake".into()).spawn(work).map_err(BusError::System)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A message that is here.
    pub(super) fn next_now(&self) -> Result<Option<Arrival>, BusError> {
        if self.shared.count.load(Ordering::Acquire) > 0 {
            let arrival = self.shared.arrivals.lock().pop_front();
            self.shared.count.fetch_sub(1, Ordering::AcqRel);
            self.shared.room.notify_one();
            return Ok(arrival);
        }
        match self.is_over() {
            true => self.shared.error.lock().take().map_or(Ok(None), Err),
            false => Ok(None),
        }
    }

    /// Whether [`next_now`](Self::next_now) is worth a call.
    pub(super) fn has_news(&self) -> bool {
        self.shared.count.load(Ordering::Acquire) > 0
    }

    /// Whether nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Acquire) && self.shared.count.load(Ordering::Acquire) == 0
    }

    pub(super) fn counts(&self) -> SubscriberCounts {
        *self.shared.counts.lock()
    }
}

impl Drop for BusIntake {
    fn drop(&mut self) {
        self.shared.close.ring();
        drop(self.shared.arrivals.lock());
        self.shared.room.notify_all();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn take_all(&self, reading: &mut BusReading, stop: &Wake, waker: &Waker) -> Result<(), BusError> {
        loop {
            let arrival = reading.next(Duration::MAX, stop, Some(&self.close))?;
            *self.counts.lock() = reading.counts();
            match arrival {
                Some(arrival) => {
                    if !self.put(arrival) {
                        return Ok(());
                    }
                    waker.wake();
                }
                None if stop.has_rung() || self.close.has_rung() => return Ok(()),
                None => {}
            }
        }
    }

    /// Hands an arrival over as soon as there is room; `false` if nobody wants it any more.
    fn put(&self, arrival: Arrival) -> bool {
        let mut arrivals = self.arrivals.lock();
        while arrivals.len() >= WAITING && !self.close.has_rung() {
            self.room.wait(&mut arrivals);
        }
        if self.close.has_rung() {
            return false;
        }
        arrivals.push_back(arrival);
        self.count.fetch_add(1, Ordering::AcqRel);
        true
    }
}
