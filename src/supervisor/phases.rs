//! The start and the end of a supervisor: rank by rank, each when the one before is ready, or gone.

use std::time::{Duration, Instant};

use super::dispatcher::Dispatcher;
use super::edges::{edges, lost, under_way};
use super::entry::{Entry, Presence};
use super::ring::Owed;
use super::shutdown::{Next, Shutdown};
use super::state::{Event, Hold, JobState};
use crate::config::{DeliveryMode, Kind, is_meant};
use crate::control::StateName;
use crate::federation::Federation;
use crate::telemetry::{Draining, Missing, Ready, RingKept, RingTrouble, StillWaiting, StopBegins, Undelivered};

/// The phases of a supervisor.
#[derive(Debug)]
pub(super) enum Phase {
    /// The jobs up to this rank have been started; the next one comes when all of them are ready, or have had their time.
    Starting {
        rank: u8,
    },
    Running,
    Stopping(Shutdown),
    Done,
}

/// `timeout`, or a terminal, signals a process and its group too: what follows so soon is the same wish.
const SAME_STOP: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// All is to end; once more, and all is killed.
    pub(super) fn on_stop(&mut self, reason: &str) {
        match self.phase {
            Phase::Starting { .. } | Phase::Running => {
                StopBegins { reason }.emit();
                self.stop_begun = Some(Instant::now());
                self.parts.entries.iter_mut().for_each(|entry| entry.is_due = false);
                self.parts.systemd.stopping();
                // What comes from other nodes is a source too.
                self.parts.federation.iter().for_each(Federation::close_intake);
                self.phase = Phase::Stopping(Shutdown::begin(Kind::LAST_RANK));
                self.end_rank(Kind::LAST_RANK);
            }
            Phase::Stopping(_) if self.stop_begun.is_some_and(|begun| begun.elapsed() < SAME_STOP) => {}
            Phase::Stopping(_) => {
                self.is_clean = false;
                (0..self.parts.entries.len()).for_each(|job| self.apply(job, Event::KillNow));
            }
            Phase::Done => {}
        }
    }

    /// Goes on with the start or the end as far as it can.
    pub(super) fn advance(&mut self) {
        loop {
            match &mut self.phase {
                Phase::Starting { rank } => {
                    let rank = *rank;
                    if self.awaited_until(rank).is_some() {
                        return;
                    }
                    self.start_rank(rank + 1);
                }
                Phase::Stopping(_) => {
                    if !self.advance_stop() {
                        return;
                    }
                }
                Phase::Running | Phase::Done => return,
            }
        }
    }

    fn of_rank(&self, rank: u8) -> impl Iterator<Item = usize> + use<> {
        let entries = self.parts.entries.iter().enumerate();
        let jobs: Vec<_> =
            entries.filter(|(_, entry)| entry.wanted().kind.start_rank() == rank).map(|(job, _)| job).collect();
        jobs.into_iter()
    }

    /// Until when the jobs up to a rank are waited for; `None`: they have come, or have had their time.
    pub(super) fn awaited_until(&self, rank: u8) -> Option<Instant> {
        let now = Instant::now();
        let entries = self.parts.entries.iter().filter(|entry| entry.wanted().kind.start_rank() <= rank);
        let missing = entries.filter(|entry| !has_come(&entry.state)).filter_map(|entry| entry.awaited_until);
        missing.filter(|until| *until > now).min()
    }

    /// Those that a change has made due start in the order of their kinds. In the middle of a start the lowest rank of them
    /// comes first, and what was waited for before still is.
    pub(super) fn start_due(&mut self) {
        let due = self.parts.entries.iter().filter(|entry| entry.is_due).map(|entry| entry.wanted().kind.start_rank());
        match (&self.phase, due.min()) {
            (Phase::Starting { rank }, Some(due)) if due <= *rank => self.start_rank(due),
            (Phase::Starting { .. }, _) => {}
            _ => self.start_rank(0),
        }
    }

    pub(super) fn start_rank(&mut self, rank: u8) {
        if rank > Kind::LAST_RANK {
            self.phase = Phase::Running;
            self.parts.entries.iter_mut().for_each(|entry| entry.awaited_until = None);
            let entries = &self.parts.entries;
            let ready = entries.iter().filter(|entry| entry.state.name() == StateName::Ready).count();
            let jobs = entries.iter().filter(|entry| entry.presence == Presence::Here).count();
            Ready { supervisor_id: &self.parts.info.supervisor_id, ready, jobs }.emit();
            self.parts.systemd.ready();
            return;
        }
        let started: Vec<_> = self.of_rank(rank).filter(|job| self.parts.entries[*job].is_due).collect();
        self.phase = Phase::Starting { rank };
        for job in started {
            let entry = &mut self.parts.entries[job];
            entry.is_due = false;
            entry.awaited_until = Some(Instant::now() + entry.wanted().supervise.startup_timeout);
            self.apply(job, Event::Start);
        }
    }

    /// Tells the jobs of a rank to end, but for those that others of it still need.
    fn end_rank(&mut self, rank: u8) {
        let of_rank: Vec<_> = self.of_rank(rank).collect();
        let is_needed = |job: usize| {
            let needs = |other: &usize| {
                let entry = &self.parts.entries[*other];
                let names = &entry.config.supervise.depends_on;
                !entry.state.is_settled() && names.iter().any(|name| is_meant(name, &self.parts.entries[job].config))
            };
            of_rank.iter().any(needs)
        };
        let free: Vec<_> = of_rank.iter().copied().filter(|job| !is_needed(*job)).collect();
        free.into_iter().for_each(|job| self.apply(job, Event::Stop));
    }

    /// One step of the end; `false` if it waits for something.
    fn advance_stop(&mut self) -> bool {
        let Phase::Stopping(mut shutdown) = self.phase else { return false };
        // Counting goes through all records that wait: not with every piece of news.
        if self.drain_due.is_some_and(|due| Instant::now() < due) {
            return false;
        }
        self.end_rank(shutdown.rank);
        let is_gone = self.of_rank(shutdown.rank).all(|job| self.parts.entries[job].state.is_settled());
        let left = if is_gone { self.under_way(shutdown.rank) } else { UnderWay::default() };
        let count = left.messages();
        let next = shutdown.advance(is_gone, count, Instant::now());
        self.phase = Phase::Stopping(shutdown);
        match next {
            Next::Wait => {
                self.drain_due = None;
                return false;
            }
            Next::Drain { look_at, is_news } => {
                self.drain_due = Some(look_at);
                if is_news {
                    Draining { messages: count }.emit();
                }
                return false;
            }
            Next::End { rank, given_up } => {
                self.drain_due = None;
                self.give_up(left, given_up);
                self.end_rank(rank);
            }
            Next::Done { given_up } => {
                self.drain_due = None;
                self.give_up(left, given_up);
                self.tell_missing();
                self.parts.federation.take().into_iter().for_each(Federation::finish);
                self.leave_ring();
                self.phase = Phase::Done;
            }
        }
        true
    }

    /// What never arrived at one that is to get all of it makes the end unclean. What is lost in the ring has been told.
    fn tell_missing(&mut self) {
        let has_lost = {
            let parties: Vec<_> =
                self.parts.entries.iter().map(|entry| (entry.party(), entry.config.delivery)).collect();
            let readers = parties.iter().filter(|(_, delivery)| *delivery == DeliveryMode::Lossless);
            readers.map(|(reader, _)| reader).any(|reader| parties.iter().any(|(writer, _)| lost(writer, reader) > 0))
        };
        self.is_clean &= !has_lost;
        let parties: Vec<_> = self.parts.entries.iter().map(Entry::party).collect();
        let mut edges = edges(&parties);
        if let Some(ring) = &self.parts.ring {
            ring.picture(&mut edges);
        }
        // Who takes the latest has skipped what it was not to have.
        edges.iter().filter(|edge| edge.missing > edge.skipped).for_each(|edge| Missing { edge }.emit());
    }

    /// What waits in the ring is not lost: with anything of it the ring stays, and the end is not clean.
    fn leave_ring(&mut self) {
        let Some(ring) = self.parts.ring.take() else { return };
        match ring.close() {
            Ok(waiting) if waiting.is_empty() => {}
            Ok(waiting) => {
                self.is_clean = false;
                RingKept { waiting: &waiting, config_dir: &self.parts.origin.dir.display().to_string() }.emit();
            }
            Err(error) => RingTrouble { doing: "removing it", error: &error }.emit(),
        }
    }

    fn give_up(&mut self, left: UnderWay, given_up: u64) {
        if given_up == 0 {
            return;
        }
        self.is_clean = false;
        for owed in left.ring {
            if let Some(ring) = &mut self.parts.ring {
                StillWaiting(&ring.give_up(owed)).emit();
            }
        }
        for lost in left.bus.iter().filter(|lost| lost.messages > 0) {
            let (writer, reader) = (&self.parts.entries[lost.writer], &self.parts.entries[lost.reader]);
            Undelivered { writer: writer.name(), reader: reader.name(), messages: lost.messages }.emit();
            let mark = writer.book.sent_for(reader.hearing());
            let writer_id = writer.config.unique_id.clone();
            // Told once: what was given up is not waited for again.
            self.parts.entries[lost.reader].book.expect_from(writer_id, mark);
        }
    }

    /// What is on its way from jobs of a rank and above to those below that still run.
    fn under_way(&mut self, rank: u8) -> UnderWay {
        self.parts.entries.iter_mut().for_each(Entry::read_tally);
        let entries = &self.parts.entries;
        let is_reader = |entry: &Entry| entry.config.kind.start_rank() < rank && entry.state.name() == StateName::Ready;
        let writers = entries.iter().enumerate().filter(|(_, entry)| entry.config.kind.start_rank() >= rank);
        let pairs = writers.flat_map(|(writer, from)| {
            let readers = entries.iter().enumerate().filter(move |(_, entry)| is_reader(entry));
            readers.map(move |(reader, to)| (writer, from, reader, to))
        });
        let bus = pairs.map(|(writer, from, reader, to)| OnBus {
            writer,
            reader,
            messages: under_way(&from.party(), &to.party()),
        });
        // Who is no longer configured writes no more, but what it has written still arrives.
        let is_writer = |owed: &Owed| owed.writer.is_none_or(|job| entries[job].config.kind.start_rank() >= rank);
        let is_reached = |owed: &Owed| owed.reader.is_some_and(|job| is_reader(&entries[job]));
        let owed = self.parts.ring.iter().flat_map(|ring| ring.owed());
        UnderWay { bus: bus.collect(), ring: owed.filter(|owed| is_writer(owed) && is_reached(owed)).collect() }
    }

    /// A job is ready: what was sent before this is not on its way to it.
    pub(super) fn note_marks(&mut self, job: usize) {
        self.parts.entries.iter_mut().for_each(Entry::read_tally);
        let hearing = self.parts.entries[job].hearing();
        let mark = |entry: &Entry| (entry.config.unique_id.clone(), entry.book.sent_for(hearing));
        let marks: Vec<_> = self.parts.entries.iter().map(mark).collect();
        let reader = self.parts.entries[job].party();
        let produced = self.parts.entries.iter().map(|entry| entry.party().produced_for(&reader)).collect();
        let book = &mut self.parts.entries[job].book;
        book.begin_to_hear(produced);
        for (writer, mark) in marks {
            book.expect_from(writer, mark);
        }
    }
}

/// Whether a job that was started has come as far as it will for now.
fn has_come(state: &JobState) -> bool {
    match state {
        // Who waits for one that is coming comes too.
        JobState::Waiting { hold } => !matches!(hold, Hold::Needs { is_coming: true, .. }),
        state => state.is_settled() || state.name() == StateName::Ready,
    }
}

/// Messages that have not arrived, on both ways.
#[derive(Debug, Default)]
struct UnderWay {
    bus: Vec<OnBus>,
    ring: Vec<Owed>,
}

impl UnderWay {
    fn messages(&self) -> u64 {
        let on_bus = self.bus.iter().map(|pair| pair.messages);
        on_bus.chain(self.ring.iter().map(|owed| owed.messages)).sum()
    }
}

/// Messages between two jobs, by their places in the list.
#[derive(Debug)]
struct OnBus {
    writer: usize,
    reader: usize,
    messages: u64,
}
