//! The ordered end: kind by kind, sources first, and between two kinds what the earlier one sent is drained.
//!
//! ```text
//! sources told ─▶ gone ─▶ drained ─▶ monitors told ─▶ gone ─▶ drained ─▶ stores told ─▶ gone ─▶ done
//!                         bounded: 60 s in all, 10 s without progress
//! ```

use std::time::{Duration, Instant};

/// Draining takes at most this long.
const DRAIN_AT_MOST: Duration = Duration::from_secs(60);

/// Draining ends when nothing has moved for this long: a store may well wait for its disk.
const DRAIN_QUIET: Duration = Duration::from_secs(10);

/// Draining that takes this long is worth a line in the log.
const DRAIN_TOLD_AFTER: Duration = Duration::from_secs(1);

/// How often what is under way is counted: at first, as long as most ends take, and then.
const DRAIN_POLL: Duration = Duration::from_millis(20);
const DRAIN_POLL_LATER: Duration = Duration::from_millis(100);
const DRAIN_SOON: Duration = Duration::from_millis(500);

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
    Draining { since: Instant, quiet_until: Instant, left: u64, is_told: bool },
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for jobs to end.
    Wait,
    /// Wait until what is under way has arrived; look again at this time. `is_news`: people should hear of it.
    Drain { look_at: Instant, is_news: bool },
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
        let (since, quiet_until, is_told) = match self.step {
            Step::Ending if !is_gone => return Next::Wait,
            Step::Ending => (now, now + DRAIN_QUIET, false),
            Step::Draining { since, left, is_told, .. } if under_way < left => (since, now + DRAIN_QUIET, is_told),
            Step::Draining { since, quiet_until, is_told, .. } => (since, quiet_until, is_told),
        };
        if under_way > 0 && now < quiet_until.min(since + DRAIN_AT_MOST) {
            let is_news = !is_told && now >= since + DRAIN_TOLD_AFTER;
            self.step = Step::Draining { since, quiet_until, left: under_way, is_told: is_told || is_news };
            let poll = if now < since + DRAIN_SOON { DRAIN_POLL } else { DRAIN_POLL_LATER };
            return Next::Drain { look_at: now + poll, is_news };
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

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn stores_are_told_only_when_the_last_message_has_arrived() {
        let (mut shutdown, now) = (Shutdown::begin(1), Instant::now());
        let drains = |next, news| matches!(next, Next::Drain { is_news, .. } if is_news == news);

        assert_eq!(shutdown.advance(false, 5, now), Next::Wait);
        assert!(drains(shutdown.advance(true, 5, now), false));
        assert!(drains(shutdown.advance(true, 1, now + MS(9_000)), true));
        assert!(drains(shutdown.advance(true, 1, now + MS(18_000)), false));
        assert_eq!(shutdown.advance(true, 0, now + MS(18_010)), Next::End { rank: 0, given_up: 0 });
        assert_eq!(shutdown.advance(true, 0, now + MS(18_020)), Next::Done { given_up: 0 });
    }

    #[test]
    fn a_long_drain_is_looked_at_less_often() {
        let (mut shutdown, now) = (Shutdown::begin(1), Instant::now());

        let looks = [0, 499, 500, 5_000].map(|ms| shutdown.advance(true, 5, now + MS(ms)));

        let next = [20, 519, 600, 5_100].map(|ms| now + MS(ms));
        let look_at = looks.map(|next| if let Next::Drain { look_at, .. } = next { Some(look_at) } else { None });
        assert_eq!(look_at, next.map(Some));
    }

    #[test]
    fn what_does_not_move_is_given_up_and_counted() {
        let (mut shutdown, now) = (Shutdown::begin(1), Instant::now());
        shutdown.advance(true, 7, now);

        assert_eq!(shutdown.advance(true, 7, now + DRAIN_QUIET), Next::End { rank: 0, given_up: 7 });
    }
}
