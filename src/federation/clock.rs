//! The clock of the hub, as a leaf sees it: by beats that are answered, as NTP does (RFC 5905, section 8).
//!
//! ```text
//!   hub     ────────t2──t3────────      offset = ((t2 − t1) + (t3 − t4)) / 2     hub's clock minus the leaf's
//!   leaf    ──t1──────────────t4──      round trip = (t4 − t1) − (t3 − t2)
//! ```
//! Of the last beats the one with the shortest round trip says most: its error is half of that at most.

use std::collections::VecDeque;

/// So many beats are looked at.
const KEPT: usize = 16;

/// One beat and its answer, in ns since the Unix epoch, each by the clock of where it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    /// The leaf sent its beat.
    pub(super) sent: i64,
    /// It came to the hub.
    pub(super) heard: i64,
    /// The hub answered.
    pub(super) answered: i64,
    /// The answer came to the leaf.
    pub(super) returned: i64,
}

/// Offset and round trip of one exchange, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The hub's clock minus the leaf's.
    pub(super) offset: i64,
    pub(super) round_trip: i64,
}

/// The readings of the last beats.
#[derive(Debug, Clone, Default)]
pub(super) struct HubClock {
    readings: VecDeque<Reading>,
}

impl HubClock {
    /// An exchange more; one that no clocks could have shown is passed over.
    pub(super) fn note(&mut self, exchange: Exchange) {
        let Exchange { sent, heard, answered, returned } = exchange;
        let wide = |later: i64, earlier: i64| i128::from(later) - i128::from(earlier);
        let round_trip = wide(returned, sent) - wide(answered, heard);
        let offset = (wide(heard, sent) + wide(answered, returned)) / 2;
        let (Ok(offset), Ok(round_trip)) = (i64::try_from(offset), i64::try_from(round_trip)) else { return };
        if round_trip < 0 {
            return;
        }
        self.readings.truncate(KEPT - 1);
        self.readings.push_front(Reading { offset, round_trip });
    }

    /// The best reading.
    pub(super) fn best(&self) -> Option<Reading> {
        self.readings.iter().min_by_key(|reading| reading.round_trip).copied()
    }

    /// Forgets all: the hub is another, or somebody has set a clock.
    pub(super) fn forget(&mut self) {
        self.readings.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hub whose clock is `offset` ahead, with so long ways to it and back.
    fn exchange(at: i64, offset: i64, there: i64, back: i64) -> Exchange {
        let heard = at + there + offset;
        Exchange { sent: at, heard, answered: heard + 5, returned: at + there + 5 + back }
    }

    #[test]
    fn equal_ways_give_the_offset_exactly_and_unequal_ones_by_half_their_difference() {
        for (there, back, error) in [(100, 100, 0), (300, 100, 100), (0, 200, -100)] {
            let mut clock = HubClock::default();

            clock.note(exchange(1_000, -7_000, there, back));

            assert_eq!(clock.best(), Some(Reading { offset: -7_000 + error, round_trip: there + back }));
        }
    }

    #[test]
    fn the_shortest_round_trip_counts_until_it_is_old() {
        let mut clock = HubClock::default();
        clock.note(exchange(0, 10, 1, 1));
        for at in 1..16 {
            clock.note(exchange(at, 10, 500, 0));
        }
        assert_eq!(clock.best(), Some(Reading { offset: 10, round_trip: 2 }));

        clock.note(exchange(17, 10, 500, 0));

        assert_eq!(clock.best(), Some(Reading { offset: 260, round_trip: 500 }));
    }

    #[test]
    fn impossible_times_are_passed_over() {
        let mut clock = HubClock::default();
        clock.note(Exchange { sent: 10, heard: 0, answered: 100, returned: 20 });
        clock.note(Exchange { sent: i64::MIN, heard: i64::MAX, answered: i64::MAX, returned: i64::MAX });

        assert_eq!(clock.best(), None);
    }
}
