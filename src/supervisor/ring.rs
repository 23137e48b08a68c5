//! The ring in the supervisor's hands: which job has which place in it, and what its edges count.
//!
//! ```text
//!   open: find or make ─▶ take over what was found ─▶ give every job its place     (before anything runs)
//!   a job:  before_start ─▶ …runs… ─▶ ended ─▶ before_start …      fatal ─▶ lose_reader
//!   the end: nothing waits ─▶ removed      something waits ─▶ left for the next supervisor
//! ```
//!
//! Invariants: whoever is subscribed when it starts stays so until it is fatal, whatever becomes of its processes; nothing
//! that waits for a reader is given up without being counted.

mod adoption;
mod flows;
mod guests;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use enrgdaq_ring::{Control, ControlError, EdgeStatus, Leftovers, Policy, ReaderPlan, RingStatus, WriterStatus};

use crate::control::{Edge, RegionStatus};
use crate::job::RingPlace;
use crate::telemetry::{LeftoverDrained, RingPlaceRefused, RingReaderLost, RingTrouble, SeatHeld, Waiting};
use flows::{Flows, Pair, merge};
pub(super) use guests::LinkWish;
pub(super) use plan::{Plan, plan};

/// Under this name the readers of programs that are no jobs appear.
const TAP: &str = "bus";

/// Regions that are looked at in a second, on the average.
const LOOKS_A_SECOND: usize = 20;

/// A writer that waits so much of its time is held up.
const HELD_UP_PERCENT: f64 = 50.0;

/// A beat is never quite punctual.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// The ring of one supervisor.
#[derive(Debug)]
pub(super) struct Ring {
    control: Control,
    /// From which the jobs make its name.
    id: String,
    /// One for each job, in their order.
    seats: Vec<Seat>,
    /// Who is meant by a number.
    names: HashMap<u128, String>,
    tap: u128,
    /// Writers and readers that are links to other nodes.
    guests: HashSet<u128>,
    /// Some job needs copies over the bus.
    has_outsiders: bool,
    flows: Flows,
    /// Nobody waits for these any more.
    given_up: HashSet<Pair>,
    dead_times: HashMap<u128, DeadTime>,
    beat_at: Instant,
    /// What was lost with readers that went: people are to be told.
    losses: Vec<String>,
    /// Whose region is gone; 0 stands for the control segment.
    damaged: HashSet<u128>,
}

/// A job and the place that it has.
#[derive(Debug)]
struct Seat {
    plan: Plan,
    writes: bool,
    reads: bool,
}

/// How long a writer had to wait for room.
#[derive(Debug, Clone, Copy)]
struct DeadTime {
    waited: Duration,
    percent: f64,
}

/// Messages that wait for a lossless reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owed {
    pair: Pair,
    /// The writer's place in the list of jobs; `None`: it is no longer configured.
    pub(super) writer: Option<usize>,
    /// The reader's.
    pub(super) reader: Option<usize>,
    pub(super) messages: u64,
}

impl Ring {
    /// A job is about to start: what place it has. A reader that was lost is subscribed again.
    pub(super) fn before_start(&mut self, job: usize) -> Option<RingPlace> {
        let seat = &self.seats[job];
        let number = seat.plan.number;
        if !seat.reads && seat.plan.reads.is_some() {
            self.subscribe(job);
        }
        match self.control.is_alive(number) {
            Ok(true) => SeatHeld { job: &self.seats[job].plan.name }.emit(),
            Ok(false) => {}
            Err(error) => RingTrouble { doing: "asking who lives", error: &error }.emit(),
        }
        self.place(job)
    }

    /// The place that a job has now.
    fn place(&self, job: usize) -> Option<RingPlace> {
        let Seat { writes, reads, .. } = self.seats[job];
        let place = RingPlace { ring: self.id.clone(), writes, reads };
        (writes || reads).then_some(place)
    }

    /// Subscribes a job, unless the ring has no place for it: then it hears by the bus.
    fn subscribe(&mut self, job: usize) {
        let Some(plan) = self.seats[job].plan.reader() else { return };
        let refused = match self.control.add_reader(&plan) {
            Ok(()) => None,
            Err(ControlError::OtherPolicy { .. }) => self.change_policy(job, &plan).err(),
            Err(error) => {
                // It was subscribed with topics that it no longer has.
                self.unsubscribe(plan.unique_id, "it hears by the bus now");
                Some(error)
            }
        };
        if let Some(error) = &refused {
            RingPlaceRefused { job: &self.seats[job].plan.name, error }.emit();
            self.has_outsiders = true;
        }
        self.seats[job].reads = refused.is_none();
    }

    /// What waited under the old policy is lost; while a former process lives, the old policy stays.
    fn change_policy(&mut self, job: usize, plan: &ReaderPlan) -> Result<(), ControlError> {
        if self.unsubscribe(plan.unique_id, "it is subscribed anew, since its `delivery` has changed") {
            return self.control.add_reader(plan);
        }
        let policy = match plan.policy {
            Policy::Lossless => Policy::Latest,
            Policy::Latest => Policy::Lossless,
        };
        let name = &self.seats[job].plan.name;
        RingTrouble { doing: &format!("changing the delivery of {name}"), error: &alive(plan.unique_id) }.emit();
        self.control.add_reader(&ReaderPlan { policy, ..plan.clone() })
    }

    /// Ends a subscription, and tells what was lost by it; `false` if its reader still lives.
    fn unsubscribe(&mut self, number: u128, why: &str) -> bool {
        match self.remove_reader(number) {
            Ok(lost) => {
                let lost = RingReaderLost { reader: &self.name(number), why, lost: &lost };
                if let Some(text) = lost.emit() {
                    self.losses.push(text);
                }
                true
            }
            Err(ControlError::Unknown { .. }) => true,
            Err(ControlError::Alive { .. }) => false,
            Err(error) => {
                RingTrouble { doing: "removing a reader", error: &error }.emit();
                false
            }
        }
    }

    /// Removes a reader; gives what waited for it.
    fn remove_reader(&mut self, number: u128) -> Result<Vec<Waiting>, ControlError> {
        let edges = self.control.remove_reader(number)?;
        self.flows.end(&edges);
        Ok(self.waiting(&edges))
    }

    /// Whether a job reads the ring.
    pub(super) fn is_read_by(&self, job: usize) -> bool {
        self.seats.get(job).is_some_and(|seat| seat.reads)
    }

    /// Whether some job needs copies over the bus.
    pub(super) fn has_outsiders(&self) -> bool {
        self.has_outsiders
    }

    /// A job more, or one that is to have another place from its next start on. Its process must be gone.
    /// `keeps_size`: its region stays as large as it is.
    pub(super) fn replan(&mut self, job: usize, mut plan: Plan, keeps_size: bool) {
        self.names.insert(plan.number, plan.name.clone());
        if job == self.seats.len() {
            self.seats.push(Seat { plan: plan.clone(), writes: false, reads: false });
        }
        let seat = &mut self.seats[job];
        if keeps_size && seat.plan.region_bytes.is_some() && plan.region_bytes.is_some() {
            plan.region_bytes = seat.plan.region_bytes;
        }
        let keeps_reading = seat.reads && plan.reads.is_some();
        seat.reads = false;
        seat.plan = plan;
        self.has_outsiders |= self.seats[job].plan.is_subscribed && self.seats[job].plan.reads.is_none();
        self.seats[job].writes = self.region_for(job);
        if keeps_reading {
            self.subscribe(job);
        }
    }

    /// The region that a job's plan says; `false` if it says none, or there is no room for it: then it goes by the bus.
    fn region_for(&mut self, job: usize) -> bool {
        let Some(plan) = self.seats[job].plan.writer() else { return false };
        self.give_region(job, &plan).unwrap_or_else(|error| {
            RingPlaceRefused { job: &self.seats[job].plan.name, error: &error }.emit();
            false
        })
    }

    /// A job is no longer configured, and its process is gone: what waits for it is lost, and given; what it has written
    /// stays until it is read.
    pub(super) fn leave(&mut self, job: usize) -> Vec<Waiting> {
        let lost = self.lose_reader(job);
        self.seats[job].writes = false;
        self.seats[job].plan.region_bytes = None;
        self.seats[job].plan.reads = None;
        lost
    }

    /// A job's process is gone: its last wake-up may be missing.
    pub(super) fn ended(&self) {
        self.control.sweep();
    }

    /// A job does not come back by itself, and its writers are not to wait for it; gives what is lost to it. While others
    /// still hold its seat it keeps its place, and loses it at a later [`beat`](Self::beat).
    pub(super) fn lose_reader(&mut self, job: usize) -> Vec<Waiting> {
        if !std::mem::replace(&mut self.seats[job].reads, false) {
            return Vec::new();
        }
        match self.remove_reader(self.seats[job].plan.number) {
            Ok(lost) => lost,
            Err(error) => {
                RingTrouble { doing: "removing the reader of a job that is gone", error: &error }.emit();
                Vec::new()
            }
        }
    }

    /// Who listens in for programs that are no jobs: subscribes these topics, with none of them unsubscribes; gives
    /// whether it is subscribed now.
    pub(super) fn set_tap(&mut self, topics: Vec<String>) -> bool {
        let done = match topics.is_empty() {
            true => self.remove_reader(self.tap).map(drop),
            false => self.control.add_reader(&ReaderPlan { unique_id: self.tap, policy: Policy::Latest, topics }),
        };
        match done {
            Ok(()) | Err(ControlError::Unknown { .. }) => {}
            Err(error) => RingTrouble { doing: "subscribing for programs on the bus", error: &error }.emit(),
        }
        self.control.readers().iter().any(|(number, _)| *number == self.tap)
    }

    /// Which of these jobs, whose readers take nothing, writers have been waiting for.
    pub(super) fn waited_for(&self, jobs: &[usize]) -> Vec<(usize, Waiting)> {
        let is_held_up = |writer: &&WriterStatus| {
            self.dead_times.get(&writer.unique_id).is_some_and(|dead| dead.percent >= HELD_UP_PERCENT)
        };
        let status = self.control.status();
        let edges: Vec<_> = status.writers.iter().filter(is_held_up).flat_map(|writer| writer.edges.clone()).collect();
        let waiting = jobs.iter().filter(|&&job| self.seats[job].reads).filter_map(|&job| {
            let to = edges.iter().find(|edge| edge.reader == self.seats[job].plan.number)?;
            Some((job, self.waiting(&[*to]).pop()?))
        });
        waiting.collect()
    }

    /// What was lost since the last question, in words.
    pub(super) fn take_losses(&mut self) -> Vec<String> {
        std::mem::take(&mut self.losses)
    }

    /// From time to time: dead times, and what of others' leftovers can go now. A look at a region maps it, so that there are
    /// pauses where there are many.
    pub(super) fn beat(&mut self, now: Instant) {
        let looks = self.seats.len().div_ceil(LOOKS_A_SECOND).max(1);
        let every = Duration::from_secs(looks as u64);
        if now.duration_since(self.beat_at) + HALF_A_SECOND < every {
            return;
        }
        let passed = now.duration_since(std::mem::replace(&mut self.beat_at, now));
        for WriterStatus { unique_id, waited, .. } in self.control.status().writers {
            let before = self.dead_times.get(&unique_id).map_or(waited, |dead| dead.waited);
            let percent = share_of(waited.saturating_sub(before), passed);
            self.dead_times.insert(unique_id, DeadTime { waited, percent });
        }
        self.retire();
        self.look_for_damage();
    }

    /// Whether somebody has removed or damaged shared memory: what was in it cannot be counted, but it can be said.
    fn look_for_damage(&mut self) {
        let control = (!self.control.is_reachable()).then_some(0);
        for number in self.control.unreadable().into_iter().chain(control) {
            if self.damaged.insert(number) {
                let whose =
                    if number == 0 { "of the supervisor".to_owned() } else { format!("of {}", self.name(number)) };
                self.losses.push(format!(
                    "the shared memory {whose} in /dev/shm was removed or damaged by somebody: what waits in it may be \
                     lost, and is not counted; stop the supervisor and start it with --discard-ring"
                ));
            }
        }
    }

    /// Removes readers that nobody is to have, and writers too once they are drained. Those that live stay.
    fn retire(&mut self) {
        let reads: HashSet<_> = self.seats.iter().filter(|seat| seat.reads).map(|seat| seat.plan.number).collect();
        for (number, _) in self.control.readers() {
            if number != self.tap && !self.guests.contains(&number) && !reads.contains(&number) {
                self.unsubscribe(number, "it reads the ring no longer");
            }
        }
        let writes: HashSet<_> = self.seats.iter().filter(|seat| seat.writes).map(|seat| seat.plan.number).collect();
        for number in self.control.writers() {
            if writes.contains(&number) || self.guests.contains(&number) {
                continue;
            }
            match self.control.remove_writer(number, Leftovers::Keep) {
                Ok(last) => {
                    self.flows.end(&last.edges);
                    LeftoverDrained { writer: &self.name(number) }.emit();
                }
                Err(ControlError::NotDrained { .. } | ControlError::Alive { .. }) => {}
                Err(error) => RingTrouble { doing: "removing a region", error: &error }.emit(),
            }
        }
    }

    /// The picture of now: adds what went through the ring to the edges of the bus, and gives the region of each job.
    pub(super) fn picture(&self, edges: &mut Vec<Edge>) -> Vec<Option<RegionStatus>> {
        let status = self.control.status();
        self.merge_into(edges, &status);
        let region = |seat: &Seat| status.writers.iter().find(|writer| writer.unique_id == seat.plan.number);
        let percent = |number| self.dead_times.get(&number).map_or(0.0, |dead| dead.percent);
        let regions = self.seats.iter().map(|seat| Some(region_status(region(seat)?, percent(seat.plan.number))));
        regions.collect()
    }

    fn merge_into(&self, edges: &mut Vec<Edge>, status: &RingStatus) {
        let all = self.flows.all(status.writers.iter().flat_map(|writer| &writer.edges));
        // What a link has brought it does not take back: it only looks at it.
        let is_echo =
            |(writer, reader): &Pair| self.guests.contains(writer) && self.name(*writer) == self.name(*reader);
        for ((writer, reader), flow) in all.into_iter().filter(|(pair, _)| !is_echo(pair)) {
            merge(edges, (&self.name(writer), &self.name(reader)), flow, reader == self.tap);
        }
        edges.sort_by(|a, b| (&a.writer, &a.reader).cmp(&(&b.writer, &b.reader)));
    }

    /// What waits for lossless readers, but for what was given up.
    pub(super) fn owed(&self) -> Vec<Owed> {
        let place = |number| self.seats.iter().position(|seat| seat.plan.number == number);
        let owed = self.control.owed().into_iter().map(|edge| Owed {
            pair: (edge.writer, edge.reader),
            writer: place(edge.writer),
            reader: place(edge.reader),
            messages: edge.owed,
        });
        owed.filter(|owed| !self.given_up.contains(&owed.pair)).collect()
    }

    /// Nobody waits for this any more; it stays in the ring. Gives it with names.
    pub(super) fn give_up(&mut self, owed: Owed) -> Waiting {
        self.given_up.insert(owed.pair);
        let (writer, reader) = owed.pair;
        Waiting { writer: self.name(writer), reader: self.name(reader), messages: owed.messages }
    }

    /// All jobs have ended: without anything that waits the ring is removed; else it stays, and what waits is given.
    ///
    /// # Errors
    /// [`ControlError::Segment`]: its segments stay.
    pub(super) fn close(mut self) -> Result<Vec<Waiting>, ControlError> {
        self.retire();
        let waiting = self.waiting(&self.control.owed());
        if waiting.is_empty() {
            self.control.remove()?;
        }
        Ok(waiting)
    }

    /// What these edges owe, with names.
    fn waiting(&self, edges: &[EdgeStatus]) -> Vec<Waiting> {
        let owing = edges.iter().filter(|edge| edge.policy == Policy::Lossless && edge.owed > 0);
        let named = owing.map(|edge| Waiting {
            writer: self.name(edge.writer),
            reader: self.name(edge.reader),
            messages: edge.owed,
        });
        named.collect()
    }

    /// The ring knows jobs by number only: those that are no longer configured have no name.
    fn name(&self, number: u128) -> String {
        self.names.get(&number).cloned().unwrap_or_else(|| format!("former-job-{:08x}", number >> 96))
    }
}

fn alive(unique_id: u128) -> ControlError {
    ControlError::Alive { unique_id }
}

/// In percent.
fn share_of(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { (100.0 * part.as_secs_f64() / whole.as_secs_f64()).min(100.0) }
}

fn region_status(writer: &WriterStatus, dead_time_percent: f64) -> RegionStatus {
    RegionStatus {
        size_bytes: writer.data_bytes,
        used_bytes: writer.used_bytes,
        places: writer.places,
        records: writer.live,
        dead_time_percent,
        dead_time_s: writer.waited.as_secs_f64(),
        unrouted: writer.unrouted,
    }
}
