//! The places of connections: who takes one when all are taken, and who has had his for too long.
//!
//! ```text
//!   Handshake ──▶ Idle ──first byte──▶ Head ──▶ Body ──whole, let in──▶ Busy ──answer is out──▶ Idle
//! ```
//!
//! Invariant: whoever only holds a place gives way to whoever comes, and so does whoever does not take his answer; a request
//! that was let in and is whole is carried out, however many come meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a client does with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It agrees on the keys.
    Handshake,
    /// It says nothing.
    Idle,
    /// It has begun to say what it wants.
    Head,
    /// What it wants is known, and perhaps not yet whole.
    Body,
    /// It waits for its answer, or reads it.
    Busy,
}

impl Phase {
    /// How long it may take; what waits for us takes as long as we do.
    fn patience(self) -> Option<Duration> {
        match self {
            Self::Handshake | Self::Head => Some(Duration::from_secs(10)),
            Self::Idle => Some(Duration::from_secs(30)),
            // Longer than the body may take: then there is an answer.
            Self::Body => Some(Duration::from_secs(20)),
            Self::Busy => None,
        }
    }
}

/// How long a client may take nothing of its answer: while there are places, and when somebody else needs one.
const STALL: Duration = Duration::from_secs(60);
const STALL_IN_NEED: Duration = Duration::from_secs(2);

/// How often somebody who needs a place looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What is known of one connection; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    seen: Mutex<Seen>,
    ended: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    phase: Phase,
    since: Instant,
    stalled_since: Option<Instant>,
}

impl Watch {
    fn new(phase: Phase) -> Self {
        let seen = Mutex::new(Seen { phase, since: Instant::now(), stalled_since: None });
        Self(Arc::new(Watched { seen, ended: Notify::new() }))
    }

    /// A phase begins.
    pub(super) fn enter(&self, phase: Phase) {
        let mut seen = self.0.seen.lock();
        (seen.phase, seen.since) = (phase, Instant::now());
    }

    /// Bytes have come.
    pub(super) fn heard(&self) {
        let mut seen = self.0.seen.lock();
        if seen.phase == Phase::Idle {
            (seen.phase, seen.since) = (Phase::Head, Instant::now());
        }
    }

    /// Whether the client takes what it is sent.
    pub(super) fn takes(&self, takes: bool) {
        let mut seen = self.0.seen.lock();
        seen.stalled_since = if takes { None } else { seen.stalled_since.or_else(|| Some(Instant::now())) };
    }

    /// Returns when somebody else is to have the place.
    pub(super) async fn given_up(&self) {
        self.0.ended.notified().await;
    }

    fn end(&self) {
        self.0.ended.notify_one();
    }

    fn seen(&self) -> Seen {
        *self.0.seen.lock()
    }
}

impl Seen {
    fn is_overdue(&self, now: Instant) -> bool {
        let is_over = |patience| now.saturating_duration_since(self.since) > patience;
        self.phase.patience().is_some_and(is_over) || self.is_stalled(STALL, now)
    }

    /// Whether it is to give way where somebody else needs its place.
    fn only_holds(&self, now: Instant) -> bool {
        self.phase != Phase::Busy || self.is_stalled(STALL_IN_NEED, now)
    }

    fn is_stalled(&self, patience: Duration, now: Instant) -> bool {
        self.stalled_since.is_some_and(|since| now.saturating_duration_since(since) > patience)
    }
}

/// All of them; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by: BTreeMap<u64, Watch>,
}

/// A place that is held; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    number: u64,
    pub(super) watch: Watch,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.taken.lock().by.remove(&self.number);
        self.places.0.freed.notify_one();
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, taken: Mutex::default(), freed: Notify::new() }))
    }

    /// A place for who has come: a free one, or that of who has held his for the longest without need; else the next one
    /// that becomes free.
    pub(super) async fn take(&self, phase: Phase) -> Place {
        loop {
            let freed = self.0.freed.notified();
            if let Some(place) = self.try_take(phase, Instant::now()) {
                return place;
            }
            tokio::time::timeout(LOOK_AGAIN, freed).await.ok();
        }
    }

    fn try_take(&self, phase: Phase, now: Instant) -> Option<Place> {
        let mut taken = self.0.taken.lock();
        if taken.by.len() >= self.0.most {
            let idle = taken.by.iter().map(|(number, watch)| (watch.seen(), *number));
            let idle = idle.filter(|(seen, _)| seen.only_holds(now)).min_by_key(|(seen, _)| seen.since);
            taken.by.remove(&idle?.1)?.end();
        }
        let (number, watch) = (taken.next, Watch::new(phase));
        taken.next += 1;
        taken.by.insert(number, watch.clone());
        Some(Place { places: self.clone(), number, watch })
    }

    /// Ends those that take too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.taken.lock().by.values().filter(|watch| watch.seen().is_overdue(now)).for_each(Watch::end);
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.taken.lock().by.len()
    }

    /// How many wait for an answer, or read one.
    pub(super) fn busy(&self) -> usize {
        self.0.taken.lock().by.values().filter(|watch| watch.seen().phase == Phase::Busy).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_idle_for_the_longest_gives_way_and_who_is_served_does_not() {
        let places = Places::new(3);
        let [first, second, third] = [(); 3].map(|()| places.try_take(Phase::Idle, Instant::now()).unwrap());
        first.watch.enter(Phase::Busy);
        second.watch.heard();

        let fourth = places.try_take(Phase::Idle, Instant::now()).unwrap();

        let is_left = |place: &Place| places.0.taken.lock().by.contains_key(&place.number);
        assert_eq!([&first, &second, &third, &fourth].map(is_left), [true, true, false, true]);
        [&second, &fourth].iter().for_each(|place| place.watch.enter(Phase::Busy));
        assert!(places.try_take(Phase::Idle, Instant::now()).is_none(), "all are served");
        drop(first);
        assert!(places.try_take(Phase::Idle, Instant::now()).is_some());
    }

    #[test]
    fn who_does_not_take_his_answer_gives_way_where_there_is_need() {
        let places = Places::new(1);
        let place = places.try_take(Phase::Idle, Instant::now()).unwrap();
        place.watch.enter(Phase::Busy);
        place.watch.takes(false);

        assert!(places.try_take(Phase::Idle, Instant::now()).is_none());
        assert!(places.try_take(Phase::Idle, Instant::now() + 2 * STALL_IN_NEED).is_some());
    }

    #[test]
    fn each_phase_has_its_patience_and_bytes_do_not_prolong_a_head() {
        let places = Places::new(1);
        let place = places.try_take(Phase::Idle, Instant::now()).unwrap();
        let in_s = |seconds| place.watch.seen().is_overdue(Instant::now() + Duration::from_secs(seconds));

        assert!(!in_s(29) && in_s(31));
        place.watch.heard();
        let begun = place.watch.seen().since;
        place.watch.heard();
        assert!(place.watch.seen().since == begun && !in_s(9) && in_s(11));
        place.watch.enter(Phase::Busy);
        assert!(!in_s(100_000));
        place.watch.takes(false);
        assert!(!in_s(59) && in_s(61));
        place.watch.takes(true);
        assert!(!in_s(61));
    }
}
