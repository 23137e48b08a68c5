//! Nodes that come and go, told: to who listens each of them, in the log so many of a time.
//!
//! Invariant: whoever comes under ever new names does not fill the log.

use std::time::{Duration, Instant};

use crate::control::{Event, Events, NodeChange};
use crate::os::iso_now;
use crate::telemetry::CncNode;

/// Lines of so much time.
const MOST_LINES: u64 = 100;
const OF: Duration = Duration::from_secs(10);

/// What of them is told.
#[derive(Debug)]
pub(super) struct Comings {
    events: Events,
    since: Instant,
    lines: u64,
}

impl Comings {
    pub(super) fn new(events: Events) -> Self {
        Self { events, since: Instant::now(), lines: 0 }
    }

    /// It is heard of.
    pub(super) fn up(&mut self, id: &str) {
        self.tell(id, NodeChange::Up, CncNode::Up { id });
    }

    /// It is no longer heard of.
    pub(super) fn down(&mut self, id: &str) {
        self.tell(id, NodeChange::Down, CncNode::Down { id });
    }

    fn tell(&mut self, id: &str, change: NodeChange, fact: CncNode<'_>) {
        self.look();
        self.lines += 1;
        if self.lines <= MOST_LINES {
            fact.emit();
        }
        self.events.tell(Event::Node { date: iso_now(), node: id.to_owned(), change, reason: None });
    }

    /// Tells how many were not told, when their time has passed.
    pub(super) fn look(&mut self) {
        if self.since.elapsed() < OF {
            return;
        }
        if let Some(count) = self.lines.checked_sub(MOST_LINES).filter(|count| *count > 0) {
            CncNode::More { count }.emit();
        }
        (self.since, self.lines) = (Instant::now(), 0);
    }
}
