//! What was dropped or refused: counted by kind, told at times.
//!
//! Invariant: whoever sends garbage fills neither the log nor what listeners hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::control::{Event, Events, NodeChange};
use crate::os::iso_now;
use crate::telemetry::CncDropped;

/// A kind is told in the log no more often than this, and to listeners than that.
const LOG_EVERY: Duration = Duration::from_secs(10);
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Why something was dropped or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Not one body.
    Frames,
    /// No message.
    Body,
    /// A message that is not for this side, or an answer that nobody waits for.
    Unexpected,
    /// More at a time than is carried out.
    Busy,
    /// No room on the way out.
    Unsent,
    /// More nodes than there is room for.
    Crowd,
    /// Under a name that is not the sender's.
    Name,
    /// A key that is not listed.
    Key,
    /// A connection that came to nothing: no CNC, or another key of the server.
    Handshake,
}

impl Dropped {
    const ALL: [Self; 9] = [
        Self::Frames,
        Self::Body,
        Self::Unexpected,
        Self::Busy,
        Self::Unsent,
        Self::Crowd,
        Self::Name,
        Self::Key,
        Self::Handshake,
    ];

    /// Its name, for programs.
    fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Body => "body",
            Self::Unexpected => "unexpected",
            Self::Busy => "busy",
            Self::Unsent => "unsent",
            Self::Crowd => "crowd",
            Self::Name => "name",
            Self::Key => "key",
            Self::Handshake => "handshake",
        }
    }

    /// Whether somebody is kept out by it.
    fn is_refusal(self) -> bool {
        matches!(self, Self::Crowd | Self::Name | Self::Key | Self::Handshake)
    }
}

/// All kinds.
#[derive(Debug, Default)]
pub(super) struct Drops {
    kinds: [Kind; Dropped::ALL.len()],
}

#[derive(Debug, Default)]
struct Kind {
    count: AtomicU64,
    told: Mutex<Told>,
}

/// When a kind was last told, and how many there were then.
#[derive(Debug, Default)]
struct Told {
    logged: Option<(Instant, u64)>,
    event: Option<Instant>,
}

impl Drops {
    /// One more; `who` is what the sender is or claims to be.
    pub(super) fn count(&self, dropped: Dropped, who: &str, why: &str, events: Option<&Events>) {
        let kind = &self.kinds[dropped as usize];
        let count = kind.count.fetch_add(1, Ordering::Relaxed) + 1;
        let (new, is_event) = {
            let mut told = kind.told.lock().unwrap_or_else(PoisonError::into_inner);
            (told.log_now(count), told.tell_now())
        };
        // Short, whatever the sender made of it; and no line of the log looks like another's.
        let clean = |text: &str| text.chars().filter(|letter| !letter.is_control()).take(300).collect::<String>();
        if let Some(new) = new {
            CncDropped { kind: dropped.name(), who: &clean(who), why: &clean(why), new }.emit();
        }
        if let (true, true, Some(events)) = (dropped.is_refusal(), is_event, events) {
            let (node, reason) = (clean(who), Some(clean(why)));
            events.tell(Event::Node { date: iso_now(), node, change: NodeChange::Refused, reason });
        }
    }

    /// So many of each kind.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        Dropped::ALL
            .iter()
            .map(|dropped| (dropped.name(), self.kinds[*dropped as usize].count.load(Ordering::Relaxed)))
            .collect()
    }
}

impl Told {
    /// How many are new, if it is time to say so.
    fn log_now(&mut self, count: u64) -> Option<u64> {
        let (at, before) = self.logged.map_or((None, 0), |(at, before)| (Some(at), before));
        if at.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return None;
        }
        self.logged = Some((Instant::now(), count));
        Some(count.saturating_sub(before))
    }

    fn tell_now(&mut self) -> bool {
        if self.event.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return false;
        }
        self.event = Some(Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_listeners_hear_of_refusals_at_times() {
        let (drops, events) = (Drops::default(), Events::new());
        let mut heard = events.listen();

        for _ in 0..1000 {
            drops.count(Dropped::Key, "10.0.0.7", "its key\nis not listed", Some(&events));
            drops.count(Dropped::Body, "lab1", "it is not MessagePack", Some(&events));
        }

        let counts = drops.counts();
        assert_eq!((counts["key"], counts["body"], counts["frames"]), (1000, 1000, 0));
        let events: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
        assert!((1..10).contains(&events.len()), "{}", events.len());
        let Event::Node { node, change: NodeChange::Refused, reason, .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!((node.as_str(), reason.as_deref()), ("10.0.0.7", Some("its keyis not listed")));
    }

    #[test]
    fn every_kind_has_a_count_of_its_own() {
        let drops = Drops::default();
        for (times, drop) in Dropped::ALL.into_iter().enumerate() {
            for _ in 0..times {
                drops.count(drop, "", "", None);
            }
        }
        let mut counts: Vec<_> = drops.counts().into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, (0..Dropped::ALL.len() as u64).collect::<Vec<_>>());
    }
}
