//! When a scheduled job starts next. Pure: the clocks are the caller's.
//!
//! Invariants: a pause is measured by a clock that nobody sets, a time of day by the wall clock; a jump of that clock
//! starts a job once at the most.

use std::time::Instant;

use jiff::Zoned;

use crate::config::{Next, Schedule};

/// The two clocks.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    pub(super) at: Instant,
    pub(super) wall: Zoned,
}

impl Clocks {
    /// As they are now.
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), wall: Zoned::now() }
    }
}

/// The next start.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NextStart {
    /// By the clock that nobody sets; and what the wall clock will say then.
    After(Instant, Zoned),
    /// By the wall clock.
    At(Zoned),
    Never,
}

impl NextStart {
    /// The one after a start at this time.
    pub(super) fn after(schedule: &Schedule, now: &Clocks) -> Self {
        match schedule.next(&now.wall) {
            Next::After(pause) => {
                let wall = now.wall.checked_add(pause).unwrap_or_else(|_| now.wall.clone());
                Self::After(now.at + pause, wall)
            }
            Next::At(time) => Self::At(time),
            Next::Never => Self::Never,
        }
    }

    /// The one that a job has at the start of its supervisor: a pause begins with a start.
    pub(super) fn first(schedule: &Schedule, now: &Clocks) -> Option<Self> {
        match schedule.next(&now.wall) {
            Next::After(_) => None,
            Next::At(_) | Next::Never => Some(Self::after(schedule, now)),
        }
    }

    /// The job has ended: times that passed while it ran are passed over.
    pub(super) fn pass_over(self, schedule: &Schedule, now: &Clocks) -> Self {
        match self {
            Self::After(mut at, wall) if at <= now.at => {
                let Next::After(pause) = schedule.next(&now.wall) else { return Self::after(schedule, now) };
                while at <= now.at {
                    at += pause;
                }
                let wall = now.wall.checked_add(at.duration_since(now.at)).unwrap_or(wall);
                Self::After(at, wall)
            }
            Self::At(time) if time <= now.wall => Self::after(schedule, now),
            coming => coming,
        }
    }

    pub(super) fn is_due(&self, now: &Clocks) -> bool {
        match self {
            Self::After(at, _) => *at <= now.at,
            Self::At(time) => *time <= now.wall,
            Self::Never => false,
        }
    }

    /// When to look again, where that is known.
    pub(super) fn instant(&self) -> Option<Instant> {
        match self {
            Self::After(at, _) => Some(*at),
            // The wall clock may jump: it is looked at once a second.
            Self::At(_) | Self::Never => None,
        }
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::After(_, wall) | Self::At(wall) => wall.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Self::Never => "never".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn clocks(at: Instant, wall: &str) -> Clocks {
        Clocks { at, wall: format!("2026-11-21T{wall}[Europe/Berlin]").parse().unwrap() }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_pause_is_counted_from_start_to_start_and_times_in_between_are_passed_over() {
        let (schedule, start): (Schedule, _) = ("every 1 min".parse().unwrap(), Instant::now());
        assert_eq!(NextStart::first(&schedule, &clocks(start, "12:00:00")), None);
        let next = NextStart::after(&schedule, &clocks(start, "12:00:00"));

        assert!(!next.is_due(&clocks(start + seconds(59), "12:00:59")));
        assert!(next.is_due(&clocks(start + seconds(60), "12:01:00")));
        let later = next.pass_over(&schedule, &clocks(start + seconds(150), "12:02:30"));
        assert_eq!(later.instant(), Some(start + seconds(180)));
        assert_eq!(later.text(), "2026-11-21 12:03:00");
    }

    #[test]
    fn a_jump_of_the_wall_clock_moves_no_pause() {
        let (schedule, start): (Schedule, _) = ("every 1 min".parse().unwrap(), Instant::now());
        let next = NextStart::after(&schedule, &clocks(start, "12:00:00"));

        assert!(!next.is_due(&clocks(start + seconds(1), "23:00:00")));
        assert!(next.is_due(&clocks(start + seconds(60), "01:00:00")));
    }

    #[test]
    fn a_time_of_day_that_a_jump_passes_over_starts_the_job_once() {
        let (schedule, start): (Schedule, _) = ("*/5 * * * *".parse().unwrap(), Instant::now());
        let next = NextStart::first(&schedule, &clocks(start, "12:01:00")).unwrap();
        assert!(!next.is_due(&clocks(start, "12:04:59")));

        let jumped = clocks(start, "18:02:00");
        assert!(next.is_due(&jumped));
        let next = NextStart::after(&schedule, &jumped);
        assert!(!next.is_due(&jumped));
        assert_eq!(next.text(), "2026-11-21 18:05:00");

        // And back: nothing is due until the time comes.
        assert!(!next.is_due(&clocks(start, "12:00:00")));
    }

    #[test]
    fn a_time_of_day_at_which_the_job_still_ran_is_passed_over() {
        let (schedule, start): (Schedule, _) = ("*/5 * * * *".parse().unwrap(), Instant::now());
        let next = NextStart::after(&schedule, &clocks(start, "12:00:00"));

        let next = next.pass_over(&schedule, &clocks(start, "12:11:00"));

        assert_eq!(next.text(), "2026-11-21 12:15:00");
    }
}
