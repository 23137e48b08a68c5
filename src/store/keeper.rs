//! What a store does with the messages that it holds: batch, spool, acknowledgement; [`backend`]: what the backend is given.
//!
//! A message is in one place at a time: in the batch that is being filled (`held`), in the one that the backend works on
//! (`flight`), committed and not yet synced (`unsynced`), in the spool, or in none of these (`waiting`), where it holds
//! up those that come. Whenever it is not certain what the backend has, all go to the spool, in this order, and come back
//! from there.

mod backend;

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::desk::Desk;
use super::marks::Marks;
use super::pile::{MAX_MESSAGES, Pile};
use super::settings::{Durability, Keeping};
use super::shelter::Shelter;
use super::sink::{Refused, Sink, Trouble};
use super::spool::Spool;
use super::teller::Teller;
use crate::job::{Context, Delivery, JobError};
use crate::message::Severity;

/// When nothing has come for so long, what came before is committed.
const QUIET: Duration = Duration::from_millis(5);

/// A backend that works on one order for so long holds nobody up any more: when the next batch is full, and in any case.
const SLOW_AFTER: Duration = Duration::from_secs(1);
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// Longest wait for an answer at a time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is known of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// What it has is known; it takes what comes.
    Open,
    /// An answer will tell.
    Asked,
    /// It is asked then.
    Away { ask_at: Instant },
}

/// What is to become of what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Nothing yet.
    No,
    /// The batch first, then a sync.
    Batch,
    /// A sync as soon as the backend is free.
    Sync,
}

/// The batch that the backend works on.
#[derive(Debug)]
struct Flight {
    /// Whose messages it holds; empty if they are in the spool.
    deliveries: Vec<Delivery>,
    marks: Marks,
}

/// All that a store holds.
#[derive(Debug)]
pub(super) struct Keeper<S: Sink> {
    cx: Context,
    durability: Durability,
    flush_every: Duration,
    desk: Desk<S>,
    route: Route,
    /// What the backend has for certain, and what it will have with the batch that is being filled.
    committed: Marks,
    marks: Marks,
    /// What a power failure leaves it for certain, and what it will after the sync that it works on.
    synced: Option<Marks>,
    syncing: Marks,
    batch: S::Batch,
    held: Pile,
    flight: Option<Flight>,
    unsynced: Pile,
    shelter: Shelter,
    /// A batch from the spool has at most so many bytes; fewer after a commit that failed, so that the next one may be
    /// done in time.
    replay_bytes: u64,
    replay_at: Instant,
    flush: Flush,
    flush_at: Instant,
    /// Something was committed since the last sync was asked for.
    is_dirty: bool,
    is_quiet: bool,
    is_ending: bool,
    teller: Teller,
}

impl<S: Sink> Keeper<S> {
    pub(super) fn new(cx: Context, keeping: &Keeping, desk: Desk<S>, spool: Spool) -> Self {
        let now = Instant::now();
        let flush_every = Duration::from_secs_f64(keeping.flush_interval_seconds);
        Self {
            durability: keeping.durability,
            flush_every,
            desk,
            route: Route::Away { ask_at: now },
            committed: Marks::default(),
            marks: Marks::default(),
            synced: None,
            syncing: Marks::default(),
            batch: S::Batch::default(),
            held: Pile::default(),
            flight: None,
            unsynced: Pile::default(),
            shelter: Shelter::new(spool, keeping.durability),
            replay_bytes: S::BATCH_BYTES,
            replay_at: now,
            flush: Flush::No,
            flush_at: now + flush_every,
            is_dirty: false,
            is_quiet: false,
            is_ending: false,
            teller: Teller::new(cx.clone()),
            cx,
        }
    }

    /// Waits until it is known what the backend has, or it takes too long.
    pub(super) fn begin(&mut self) -> Result<(), JobError> {
        let until = Instant::now() + SLOW_AFTER;
        while self.route != Route::Open && Instant::now() < until && !self.cx.stopping() {
            self.step()?;
            self.wait()?;
        }
        Ok(())
    }

    /// Whether the next message has a place: what comes may be taken.
    pub(super) fn has_room(&self) -> bool {
        // What comes while the end of the spool is committed and synced would keep the spool alive for ever.
        let spool = &self.shelter.spool;
        let is_leaving_spool = self.route == Route::Open && !spool.is_empty() && spool.is_read();
        self.shelter.waiting.is_empty() && !is_leaving_spool && !(self.is_direct() && self.is_full())
    }

    /// How long to wait for the next message.
    pub(super) fn patience(&self) -> Duration {
        let until_flush = self.flush_at.saturating_duration_since(Instant::now());
        let is_at_rest = self.held.is_empty() && self.desk.busy_since().is_none() && self.shelter.spool.is_empty();
        let is_at_rest = is_at_rest && self.unsynced.is_empty() && self.route == Route::Open;
        if is_at_rest { until_flush } else { until_flush.min(QUIET) }
    }

    /// No message has come for a moment.
    pub(super) fn quiet(&mut self) {
        self.is_quiet = true;
        self.shelter.sync_if_owed(&mut self.teller);
    }

    /// Takes a message.
    pub(super) fn take(&mut self, delivery: Delivery) {
        self.is_quiet = false;
        if self.is_direct() {
            self.put(delivery);
        } else {
            self.shelter.take(delivery, &mut self.teller);
        }
    }

    /// Waits a moment for the backend, or for time to pass.
    pub(super) fn wait(&mut self) -> Result<(), JobError> {
        match self.desk.answer(LOOK_EVERY)? {
            Some(answer) => self.hear(answer),
            // Nothing to hear: it is time that is waited for.
            None if self.desk.busy_since().is_none() => std::thread::sleep(LOOK_EVERY),
            None => {}
        }
        Ok(())
    }

    /// Does all that can be done without waiting.
    pub(super) fn step(&mut self) -> Result<(), JobError> {
        if let Some(answer) = self.desk.answer(Duration::ZERO)? {
            self.hear(answer);
        }
        let now = Instant::now();
        if now >= self.flush_at {
            self.tick(now);
        }
        self.look_at_stall(now);
        if self.is_past_spool() || self.shelter.is_to_be_tried(now) {
            self.retry_waiting();
        }
        if self.desk.busy_since().is_none() {
            self.give_next_order(now)?;
        }
        Ok(())
    }

    /// Everything to the backend, or else to where the next process finds it.
    pub(super) fn end(mut self, until: Instant) -> Result<(), JobError> {
        self.is_ending = true;
        loop {
            while self.has_room()
                && let Some(delivery) = self.cx.inbox().next(Duration::ZERO)?
            {
                self.take(delivery);
            }
            self.retry_waiting();
            self.shelter.sync(&mut self.teller);
            self.step()?;
            if self.is_done() {
                self.tell_if_over(Instant::now());
                self.teller.show(&self.shelter.spool);
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(self.give_up());
            }
            self.wait()?;
        }
    }

    fn is_direct(&self) -> bool {
        let is_live = self.flight.as_ref().is_none_or(|flight| !flight.deliveries.is_empty());
        self.is_past_spool() && self.shelter.waiting.is_empty() && is_live
    }

    fn is_past_spool(&self) -> bool {
        self.route == Route::Open && self.shelter.spool.is_empty()
    }

    fn is_full(&self) -> bool {
        let size = S::size(&self.batch) as u64;
        self.held.bytes() >= S::BATCH_BYTES || self.held.len() >= MAX_MESSAGES || size >= 2 * S::BATCH_BYTES
    }

    fn is_done(&self) -> bool {
        let is_at_rest = self.desk.busy_since().is_none() && self.route == Route::Open && !self.is_dirty;
        is_at_rest && self.held.is_empty() && self.unsynced.is_empty() && self.shelter.is_empty()
    }

    /// Into the batch.
    fn put(&mut self, mut delivery: Delivery) {
        let id = delivery.id();
        // One that came twice is acknowledged with a batch that is committed after its first copy.
        let is_under_way = self.marks.has(id) && !self.committed.has(id);
        if self.put_into_batch(&mut delivery) || is_under_way {
            self.held.push(delivery);
        } else if self.durability == Durability::Synced {
            // What it has already need not be on the disk yet.
            self.unsynced.push(delivery);
            self.is_dirty = true;
        } else {
            delivery.ack();
        }
    }

    /// `false` if the message is stored already, will be with what is under way, or never will be.
    fn put_into_batch(&mut self, delivery: &mut Delivery) -> bool {
        let id = delivery.id();
        if self.marks.has(id) {
            self.teller.progress.repeated += 1;
            return false;
        }
        self.marks.raise(id);
        let put =
            target::<S::Target>(delivery, S::BACKEND).and_then(|target| S::put(&mut self.batch, &target, delivery));
        match put {
            Ok(()) => true,
            Err(refused) => {
                self.teller.refuse(delivery, &refused);
                false
            }
        }
    }

    fn retry_waiting(&mut self) {
        if !self.is_past_spool() {
            return self.shelter.fill(&mut self.teller);
        }
        // Never into the spool: what is in flight came before, and would stand behind it there.
        while !self.is_full()
            && let Some(delivery) = self.shelter.waiting.pop_front()
        {
            self.put(delivery);
            self.is_quiet = true;
        }
    }

    /// Once a flush interval.
    fn tick(&mut self, now: Instant) {
        self.flush_at = now + self.flush_every;
        self.flush = if self.held.is_empty() { Flush::Sync } else { Flush::Batch };
        self.retry_waiting();
        self.shelter.sync(&mut self.teller);
        self.tell_if_over(now);
        self.teller.show(&self.shelter.spool);
    }

    /// Whether the backend takes long, and so others wait for it.
    fn look_at_stall(&mut self, now: Instant) {
        let Some(since) = self.desk.busy_since() else { return };
        let patience = if self.is_full() { SLOW_AFTER } else { STALLED_AFTER };
        if now.duration_since(since) < patience {
            return;
        }
        self.teller.trouble(&Trouble::saying("it takes long to answer"));
        if self.route == Route::Open {
            self.turn_to_spool(Route::Asked);
        }
    }

    fn tell_if_over(&mut self, now: Instant) {
        if self.route == Route::Open && self.shelter.waiting.is_empty() {
            self.teller.may_be_over(now, self.shelter.spool.is_empty(), self.is_ending);
        }
    }

    /// Tells what did not get into the backend before the end, and counts what of it is lost: what came over the bus.
    fn give_up(&mut self) -> JobError {
        if self.flight.is_some() || !self.held.is_empty() || !self.unsynced.is_empty() {
            self.turn_to_spool(Route::Asked);
        }
        let mut text = String::from("not all could be written before the end");
        if !self.shelter.spool.is_empty() {
            text += &format!("; {} bytes wait in the spool for the next start", self.shelter.spool.bytes());
        }
        let waiting = &self.shelter.waiting;
        let lost = waiting.iter().filter(|delivery| !delivery.comes_again()).count() as u64;
        let waiting = waiting.len() as u64 - lost;
        if waiting > 0 {
            text += &format!("; {waiting} messages wait in the ring for the next start");
        }
        if lost > 0 {
            self.cx.refuse(lost);
            text += &format!("; {lost} messages are lost");
        }
        self.cx.alert(Severity::Error, format!("{}: {text}", self.cx.name()));
        JobError::Failed { context: text, source: None }
    }
}

/// What the message says of how this backend is to store it.
fn target<T: DeserializeOwned>(delivery: &Delivery, backend: &str) -> Result<T, Refused> {
    let refuse = || Refused::saying("target", format!("it has no table [store_config.{backend}]"));
    let stores = delivery.envelope.head.store_config.as_ref().ok_or_else(refuse)?;
    let target = stores.target(backend).ok_or_else(refuse)?;
    target.map_err(|error| Refused::saying("target", format!("its [store_config.{backend}] does not fit: {error}")))
}
