//! Whether and when a job that ended starts again. Pure: no clock, no process, no log.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{Kind, Restart, Supervise};
use crate::job::EXIT_CONFIG;
use crate::os::ChildEnd;

/// A number in 0.5 … 1.5 by which a delay is multiplied, so that jobs that died together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Jitter(f64);

impl Jitter {
    /// From a random number.
    pub(crate) fn from_random(random: u32) -> Self {
        Self(0.5 + f64::from(random) / f64::from(u32::MAX))
    }

    fn apply(self, delay: Duration) -> Duration {
        delay.mul_f64(self.0)
    }
}

/// The restarts of one job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Failures since the job was last ready for long enough.
    pub(crate) failures: u32,
    /// When it was started again, newest last, where that is limited; those outside the window are forgotten.
    restarts: VecDeque<Instant>,
    /// How often it was restarted for its memory, each within the window after the one before, and when last.
    overgrown: u32,
    overgrown_at: Option<Instant>,
}

impl History {
    /// The job had been ready for this long when it ended.
    pub(crate) fn note_ready_for(&mut self, ready_for: Duration, policy: &Supervise) {
        if ready_for >= policy.stable_after {
            self.failures = 0;
        }
    }

    /// The job is restarted for its memory, and that is no failure.
    pub(crate) fn note_overgrown(&mut self, now: Instant, policy: &Supervise) {
        let is_again = self.overgrown_at.is_some_and(|at| now.duration_since(at) <= policy.restart_window);
        self.overgrown = if is_again { self.overgrown.saturating_add(1) } else { 1 };
        self.overgrown_at = Some(now);
    }

    /// How often in a row that was so.
    pub(crate) fn overgrown(&self) -> u32 {
        self.overgrown
    }

    /// The pause until the next start, as after so many failures.
    pub(crate) fn pause_for_memory(&self, policy: &Supervise, jitter: Jitter) -> Duration {
        pause(policy, self.overgrown.saturating_sub(1), jitter)
    }

    /// Forgets all: somebody has looked after the job.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How a job ended, as far as the policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should, by itself.
    Done,
    /// Any other way.
    Failed,
    /// In a way that no restart can heal.
    Hopeless,
}

/// Only a source can have done its work: all others are there for whoever needs them.
pub(crate) fn outcome(kind: Kind, end: ChildEnd, policy: &Supervise) -> Outcome {
    match (end, kind) {
        (_, Kind::Source) if policy.is_success(end) => Outcome::Done,
        (ChildEnd::Code(code), _) if code == i32::from(EXIT_CONFIG) => Outcome::Hopeless,
        _ => Outcome::Failed,
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again after this time.
    RestartIn(Duration),
    /// Leave it: it has done its work, or must not be restarted.
    Leave,
    /// It has failed too often.
    GiveUp,
    /// Another try cannot help.
    Hopeless,
}

/// Decides, and remembers a restart.
pub(crate) fn verdict(
    policy: &Supervise,
    history: &mut History,
    outcome: Outcome,
    now: Instant,
    jitter: Jitter,
) -> Verdict {
    let restarts = match (policy.restart, outcome) {
        (_, Outcome::Hopeless) => return Verdict::Hopeless,
        (Restart::Never, _) | (Restart::OnFailure, Outcome::Done) => false,
        (Restart::Always, _) | (Restart::OnFailure, Outcome::Failed) => true,
    };
    if !restarts {
        return Verdict::Leave;
    }
    while history.restarts.front().is_some_and(|&at| now.duration_since(at) > policy.restart_window) {
        history.restarts.pop_front();
    }
    if let Some(most) = policy.max_restarts {
        if history.restarts.len() >= most as usize {
            return Verdict::GiveUp;
        }
        history.restarts.push_back(now);
    }
    let delay = pause(policy, history.failures, jitter);
    history.failures = history.failures.saturating_add(1);
    Verdict::RestartIn(delay)
}

/// The pause after so many restarts that did not help.
fn pause(policy: &Supervise, restarts: u32, jitter: Jitter) -> Duration {
    let doubled = policy.restart_base.saturating_mul(1 << restarts.min(31));
    jitter.apply(doubled.min(policy.restart_max))
}

/// How people are told of what happens again and again, so that other news is still seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Insistence {
    /// That it happened.
    Say,
    /// That it does not end.
    Urge,
    /// Nothing new.
    Pass,
}

impl Insistence {
    /// Of the so manieth time: the first four are told, then the 5th, 10th, 20th, 40th ….
    pub(crate) fn of(times: u32) -> Self {
        match times {
            0..5 => Self::Say,
            _ if times.is_multiple_of(5) && (times / 5).is_power_of_two() => Self::Urge,
            _ => Self::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIDDLE: Jitter = Jitter(1.0);

    fn seconds(verdict: Verdict) -> f64 {
        match verdict {
            Verdict::RestartIn(delay) => delay.as_secs_f64(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_delay_doubles_up_to_its_maximum() {
        let (policy, mut history, now) = (Supervise::default(), History::default(), Instant::now());

        let delays: Vec<f64> =
            (0..8).map(|_| seconds(verdict(&policy, &mut history, Outcome::Failed, now, MIDDLE))).collect();

        assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    #[test]
    fn a_job_that_was_ready_for_long_starts_from_the_shortest_delay() {
        let (policy, mut history, now) = (Supervise::default(), History::default(), Instant::now());
        for _ in 0..5 {
            verdict(&policy, &mut history, Outcome::Failed, now, MIDDLE);
        }

        history.note_ready_for(Duration::from_secs(29), &policy);
        assert_eq!(history.failures, 5);
        history.note_ready_for(Duration::from_secs(30), &policy);
        assert!((seconds(verdict(&policy, &mut history, Outcome::Failed, now, MIDDLE)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_policy_is_this_table() {
        let table = [
            (Restart::OnFailure, Outcome::Done, false),
            (Restart::OnFailure, Outcome::Failed, true),
            (Restart::Always, Outcome::Done, true),
            (Restart::Always, Outcome::Failed, true),
            (Restart::Never, Outcome::Done, false),
            (Restart::Never, Outcome::Failed, false),
        ];
        for (restart, outcome, restarts) in table {
            let policy = Supervise { restart, ..Supervise::default() };
            let verdict = verdict(&policy, &mut History::default(), outcome, Instant::now(), MIDDLE);
            assert_eq!(matches!(verdict, Verdict::RestartIn(_)), restarts, "{restart:?} {outcome:?}");
        }
    }

    #[test]
    fn more_restarts_than_allowed_within_the_window_are_given_up() {
        let policy = Supervise { max_restarts: Some(3), ..Supervise::default() };
        let (mut history, start) = (History::default(), Instant::now());
        let mut at = |s| verdict(&policy, &mut history, Outcome::Failed, start + Duration::from_secs(s), MIDDLE);

        assert!((0..3).all(|s| matches!(at(s), Verdict::RestartIn(_))));
        assert_eq!(at(3), Verdict::GiveUp);
        assert!(matches!(at(601), Verdict::RestartIn(_)));
        assert_eq!(at(601), Verdict::GiveUp);
    }

    #[test]
    fn what_does_not_end_is_told_ever_more_seldom() {
        let told = |wanted| (0..100).filter(move |&times| Insistence::of(times) == wanted);

        assert!(told(Insistence::Say).eq(0..5));
        assert!(told(Insistence::Urge).eq([5, 10, 20, 40, 80]));
    }

    #[test]
    fn restarts_for_memory_count_only_within_the_window() {
        let (policy, mut history, start) = (Supervise::default(), History::default(), Instant::now());
        let mut at = |s| {
            history.note_overgrown(start + Duration::from_secs(s), &policy);
            (history.overgrown(), history.pause_for_memory(&policy, MIDDLE).as_secs())
        };

        assert_eq!([at(0), at(600), at(700), at(1301)], [(1, 1), (2, 2), (3, 4), (1, 1)]);
    }

    proptest! {
        #[test]
        fn a_delay_stays_between_half_the_base_and_one_and_a_half_the_maximum(failures in 0u32..100, random: u32) {
            let policy = Supervise::default();
            let mut history = History { failures, ..History::default() };
            let delay = seconds(verdict(&policy, &mut history, Outcome::Failed, Instant::now(), Jitter::from_random(random)));

            prop_assert!((0.5..=90.0).contains(&delay), "{}", delay);
        }
    }
}
