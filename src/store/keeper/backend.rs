//! What the backend is given, when, and what its answers mean.
//!
//! Invariant: it has one order at a time; when the answer to a commit leaves open what it has, it is asked, and until then all
//! goes to the spool.

use std::time::{Duration, Instant};

use super::{Flight, Flush, Keeper, Route};
use crate::job::{Delivery, JobError};
use crate::store::desk::{Answer, Order};
use crate::store::marks::Marks;
use crate::store::pile::{MAX_MESSAGES, Pile};
use crate::store::settings::Durability;
use crate::store::sink::{Report, Sink};
use crate::store::spool::Read;

/// What has been held for so long is committed too, though more comes: its writer may wait for the room that it takes.
const SOON: Duration = Duration::from_millis(20);

/// A batch that gains by more, or comes from the spool, is committed before that only if it has so many bytes.
const WORTH: u64 = 1 << 20;

/// So much may wait to be synced before it is.
const MAX_UNSYNCED: u64 = 16 << 20;

/// How long to wait before something is tried again; and when the job is to end.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AT_END_AFTER: Duration = Duration::from_millis(250);

impl<S: Sink> Keeper<S> {
    /// Gives the backend something to do, if there is something.
    pub(super) fn give_next_order(&mut self, now: Instant) -> Result<(), JobError> {
        match self.route {
            Route::Away { ask_at } if now >= ask_at => {
                self.route = Route::Asked;
                self.desk.give(Order::Resume);
            }
            Route::Away { .. } => {}
            // What was asked for came, and said nothing: it is asked again.
            Route::Asked => self.route = Route::Away { ask_at: now },
            Route::Open if self.is_sync_due() => {
                (self.flush, self.is_dirty) = (Flush::No, false);
                self.syncing = self.committed.clone();
                self.desk.give(Order::Sync);
            }
            Route::Open if self.is_commit_due() => self.commit(),
            Route::Open if !self.shelter.spool.is_read() => {
                // What comes meanwhile goes through the spool too: not one by one.
                if self.shelter.spool.unread() >= WORTH || now >= self.replay_at || self.is_ending {
                    self.replay_at = now + SOON;
                    self.replay()?;
                }
            }
            Route::Open => self.flush = if self.held.is_empty() { Flush::No } else { self.flush },
        }
        Ok(())
    }

    fn is_sync_due(&self) -> bool {
        let is_wanted = match self.durability {
            _ if self.is_ending || !self.shelter.spool.is_empty() => {
                self.held.is_empty() && self.shelter.spool.is_read()
            }
            Durability::Written => false,
            Durability::Synced => self.is_moment(&self.unsynced) || self.unsynced.bytes() >= MAX_UNSYNCED,
        };
        let has_something = self.is_dirty || !self.unsynced.is_empty() || !self.shelter.spool.is_empty();
        has_something && (is_wanted || self.flush == Flush::Sync)
    }

    fn is_commit_due(&self) -> bool {
        let is_worth_it = self.held.bytes() >= WORTH || !S::gains_by_more(&self.batch);
        let is_moment = is_worth_it && self.is_moment(&self.held);
        !self.held.is_empty() && (self.is_full() || self.flush == Flush::Batch || self.is_ending || is_moment)
    }

    /// Whether nobody gains by waiting.
    fn is_moment(&self, pile: &Pile) -> bool {
        self.is_quiet || pile.age() >= SOON
    }

    fn commit(&mut self) {
        if self.flush == Flush::Batch {
            self.flush = Flush::Sync;
        }
        let deliveries = self.held.take();
        self.send(deliveries);
    }

    /// From the spool to the backend, a batch at a time.
    fn replay(&mut self) -> Result<(), JobError> {
        let fail = |error| JobError::failed("cannot read the spool", error);
        let (mut messages, mut bytes, mut passed) = (0, 0, 0);
        while messages < MAX_MESSAGES && bytes < self.replay_bytes && passed < S::BATCH_BYTES {
            match self.shelter.spool.next().map_err(fail)? {
                Some(Read::Message(mut delivery)) => match self.put_into_batch(&mut delivery) {
                    true => (messages, bytes) = (messages + 1, bytes + delivery.size()),
                    // What is stored already is quickly read.
                    false => passed += delivery.size(),
                },
                Some(Read::Unreadable { path, bytes }) => {
                    self.teller.unreadable(&path, bytes);
                }
                None => break,
            }
        }
        match messages {
            // Those that were passed over cost no time.
            0 => self.replay_at = Instant::now(),
            _ => self.send(Vec::new()),
        }
        Ok(())
    }

    fn send(&mut self, deliveries: Vec<Delivery>) {
        let marks = self.marks.clone();
        self.flight = Some(Flight { deliveries, marks: marks.clone() });
        self.is_dirty = true;
        self.desk.give(Order::Commit(std::mem::take(&mut self.batch), marks));
    }

    pub(super) fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Resumed(Ok(marks)) => {
                self.look_for_lost(&marks);
                self.committed = marks;
                self.open_route();
            }
            Answer::Committed(Ok(report)) => self.committed(report),
            Answer::Synced(Ok(())) => self.synced(),
            Answer::Resumed(Err(trouble)) | Answer::Committed(Err(trouble)) | Answer::Synced(Err(trouble)) => {
                self.teller.trouble(&trouble);
                if self.flight.is_some() {
                    self.replay_bytes = (self.replay_bytes / 2).max(1);
                }
                let pause = if self.is_ending { RETRY_AT_END_AFTER } else { RETRY_AFTER };
                self.turn_to_spool(Route::Away { ask_at: Instant::now() + pause });
                self.flight = None;
            }
        }
    }

    /// Whether the backend has what it had.
    fn look_for_lost(&mut self, marks: &Marks) {
        let synced = self.synced.get_or_insert_with(|| marks.clone());
        let forgotten = self.committed.beyond([marks, synced]);
        if synced.beyond([marks, marks]) > 0 {
            self.teller.emptied();
            *synced = marks.clone();
        } else if forgotten > 0 && self.durability == Durability::Written {
            // What is in the spool comes again, and may be all.
            let lost = if self.shelter.spool.is_empty() { forgotten } else { 0 };
            self.teller.forgotten(forgotten, lost);
        }
    }

    fn committed(&mut self, report: Report) {
        self.teller.committed(report);
        let Some(Flight { deliveries, marks }) = self.flight.take() else { return };
        self.committed = marks;
        self.replay_bytes = (2 * self.replay_bytes).min(S::BATCH_BYTES);
        if self.route == Route::Asked {
            return self.open_route();
        }
        match self.durability {
            Durability::Written => deliveries.into_iter().for_each(Delivery::ack),
            Durability::Synced => deliveries.into_iter().for_each(|delivery| self.unsynced.push(delivery)),
        }
    }

    fn synced(&mut self) {
        self.teller.synced();
        self.synced = Some(std::mem::take(&mut self.syncing));
        self.unsynced.take().into_iter().for_each(Delivery::ack);
        if self.route == Route::Asked {
            return self.open_route();
        }
        if let Err(error) = self.shelter.spool.done() {
            tracing::warn!("cannot remove a segment of the spool: {error}");
        }
        self.retry_waiting();
    }

    /// It is known again what the backend has.
    fn open_route(&mut self) {
        self.route = Route::Open;
        self.marks = self.committed.clone();
        self.shelter.spool.rewind();
        self.retry_waiting();
    }

    /// All that is not certain to be in the backend goes to the spool.
    pub(super) fn turn_to_spool(&mut self, route: Route) {
        self.route = route;
        self.batch = S::Batch::default();
        let mut all = self.unsynced.take();
        all.extend(self.flight.iter_mut().flat_map(|flight| flight.deliveries.drain(..)));
        all.extend(self.held.take());
        self.shelter.take_first(all, &mut self.teller);
    }
}
