//! The ordered end: kind by kind, sources first, and between two kinds what the earlier one sent is drained.
//!
//! ```text
//! sources told ─▶ gone ─▶ drained ─▶ monitors told ─▶ gone ─▶ drained ─▶ stores told ─▶ gone ─▶ done
//!                         bounded: 10 s in all, 1 s without progress
//! ```

use std::time::{Duration, Instant};

/// Draining takes at most this long.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

/// Draining ends when nothing has moved for this long.
const DRAIN_QUIET: Duration = Duration::from_secs(1);

/// How often what is under way is counted.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shutdown {
    /// The rank that is being ended; lower ones still run.
    pub(super) rank: u8,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ending,
    Draining { until: Instant, quiet_until: Instant, left: u64 },
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait; look again at this time at the latest.
    Wait(Option<Instant>),
    /// Tell the jobs of this rank to end. What was still under way is given up.
    End { rank: u8, given_up: u64 },
    /// All has ended.
    Done { given_up: u64 },
}

impl Shutdown {
    /// Begins with the highest rank.
    pub(super) fn begin(rank: u8) -> Self {
        Self { rank, step: Step::Ending }
    }

    /// Goes on as far as it can. `is_gone`: no job of the rank has a process; `under_way`: messages on their way from
    /// jobs of this rank and above to those below.
    pub(super) fn advance(&mut self, is_gone: bool, under_way: u64, now: Instant) -> Next {
        let step = match self.step {
            Step::Ending if !is_gone => return Next::Wait(None),
            Step::Ending => {
                Step::Draining { until: now + DRAIN_AT_MOST, quiet_until: now + DRAIN_QUIET, left: under_way }
            }
            Step::Draining { until, left, .. } if under_way < left => {
                Step::Draining { until, quiet_until: now + DRAIN_QUIET, left: under_way }
            }
            draining @ Step::Draining { .. } => draining,
        };
        self.step = step;
        let Step::Draining { until, quiet_until, .. } = step else { return Next::Wait(None) };
        if under_way > 0 && now < until.min(quiet_until) {
            return Next::Wait(Some(now + DRAIN_POLL));
        }
        match self.rank.checked_sub(1) {
            Some(rank) => {
                *self = Self::begin(rank);
                Next::End { rank, given_up: under_way }
            }
            None => Next::Done { given_up: under_way },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_told_only_when_the_last_message_has_arrived() {
        let (mut shutdown, now) = (Shutdown::begin(1), Instant::now());

        assert_eq!(shutdown.advance(false, 5, now), Next::Wait(None));
        assert!(matches!(shutdown.advance(true, 5, now), Next::Wait(Some(_))));
        assert!(matches!(shutdown.advance(true, 1, now + Duration::from_millis(900)), Next::Wait(Some(_))));
        assert!(matches!(shutdown.advance(true, 1, now + Duration::from_millis(1800)), Next::Wait(Some(_))));
        assert_eq!(shutdown.advance(true, 0, now + Duration::from_millis(1810)), Next::End { rank: 0, given_up: 0 });
        assert_eq!(shutdown.advance(true, 0, now + Duration::from_millis(1820)), Next::Done { given_up: 0 });
    }

    #[test]
    fn what_does_not_move_for_a_second_is_given_up_and_counted() {
        let (mut shutdown, now) = (Shutdown::begin(1), Instant::now());
        shutdown.advance(true, 7, now);

        assert_eq!(shutdown.advance(true, 7, now + DRAIN_QUIET), Next::End { rank: 0, given_up: 7 });
    }
}
