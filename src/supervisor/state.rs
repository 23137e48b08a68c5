//! The states of a job, and the one table of what each event makes of each state. Pure: no clock, no process, no log.
//!
//! ```text
//!            start               ready
//!  Stopped ────────▶ Starting ──────────▶ Ready
//!     ▲     ▲ held ▲    │ ▲                 │  stop, restart, hang, its own end
//!     │     ▼      │    │ │ time           ▼
//!     ├── Waiting ─┘ ◀──┼─BackingOff ◀── Stopping ──▶ Exited   it has done its work
//!     └─────────────────┴────────────────────┴─────▶ Fatal    only a human can help
//! ```
//!
//! Every start asks whether something holds the job back ([`Hold`]): another job, a lock, its schedule; then it waits,
//! without a process, until that is over.
//!
//! Invariants: a stop wins over every pending restart and every wait; a job has no second process before the first is
//! reaped and nothing that it started is left ([`Event::Gone`] is the only way out of `Stopping`); what follows stands in
//! [`Then`].

use std::fmt;
use std::time::{Duration, Instant};

use super::policy::{History, Jitter, Outcome, Verdict, verdict};
use crate::config::Supervise;
use crate::control::StateName;
use crate::os::ChildEnd;

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    /// Not running, and not to be started by itself.
    Stopped,
    /// Its process is being made or has not said that it is ready.
    Starting { pid: Option<u32>, ready_by: Instant, is_ready: bool },
    /// It starts by itself when nothing holds it back any more.
    Waiting { hold: Hold },
    /// It works.
    Ready {
        pid: u32,
        since: Instant,
        beat_due: Instant,
        progress: u64,
        progress_due: Option<Instant>,
        age_due: Option<Instant>,
    },
    /// It starts again at this time.
    BackingOff { until: Instant, why: String },
    /// It is to end, or its leader has ended and the rest of its group has not.
    Stopping { pid: Option<u32>, step: Step, next_at: Instant, then: Then },
    /// It ended by itself, and is left so.
    Exited { end: ChildEnd },
    /// Only a human can help.
    Fatal { reason: String },
}

/// What holds a job back that is to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Another job must be ready first.
    Needs { job: String, is_coming: bool },
    /// Another job has what only one may have.
    Taken { what: String, by: String },
    /// It is not its time.
    NotYet { until: String },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needs { job, is_coming: true } => write!(f, "{job} is not ready yet"),
            Self::Needs { job, is_coming: false } => write!(f, "{job} does not run, and it depends on it"),
            Self::Taken { what, by } => write!(f, "{by} has {what}"),
            Self::NotYet { until } => write!(f, "its next time is {until}"),
        }
    }
}

/// How far an ordered end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The message was sent.
    Asked,
    /// SIGTERM was sent.
    Terminated,
    /// SIGKILL was sent to the group.
    Killed,
}

/// What follows when the process is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// It stays stopped.
    Stop,
    /// It starts again at once.
    Start,
    /// It starts again at once, since it is that old: nobody's failure.
    StartFor(String),
    /// It starts again after a pause, since it held that much memory: that counts as no failure either.
    StartLater(String),
    /// The policy decides: by this failure, or else by how the process ended.
    Decide(Option<String>),
}

/// What happens to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// An operator, or the order of kinds, wants it to run.
    Start,
    /// An operator, or the end of the supervisor, wants it to end.
    Stop,
    /// An operator wants it to end and start again.
    Restart,
    /// Its process runs.
    Spawned { pid: u32 },
    /// There is no process.
    SpawnFailed { error: String, is_permanent: bool },
    /// It said that it is ready.
    Ready,
    /// It said that it is there.
    Beat { progress: u64 },
    /// It waits for what a job of another supervisor has.
    Held,
    /// Its leader has ended, others of its group have not.
    LeaderEnded,
    /// Leader reaped, group empty.
    Gone { end: ChildEnd, outcome: Outcome },
    /// It holds more memory than it may; whether that is a failure.
    Overgrown { why: String, is_failure: bool },
    /// What held it back may be over.
    Look,
    /// Time has passed.
    Tick,
    /// All must be gone now.
    KillNow,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Make a process.
    Spawn,
    /// Send the stop message.
    Ask,
    /// SIGTERM to the group.
    Terminate,
    /// SIGKILL to the group.
    Kill,
}

/// The world, as the caller sees it.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    pub(crate) jitter: Jitter,
    /// What would hold the job back if it were to start.
    pub(crate) hold: Option<Hold>,
}

impl JobState {
    /// Its name.
    pub(crate) fn name(&self) -> StateName {
        match self {
            Self::Stopped => StateName::Stopped,
            Self::Waiting { .. } => StateName::Waiting,
            Self::Starting { .. } => StateName::Starting,
            Self::Ready { .. } => StateName::Ready,
            Self::BackingOff { .. } => StateName::BackingOff,
            Self::Stopping { .. } => StateName::Stopping,
            Self::Exited { .. } => StateName::Exited,
            Self::Fatal { .. } => StateName::Fatal,
        }
    }

    /// Its process, if it has one.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Starting { pid, .. } | Self::Stopping { pid, .. } => *pid,
            Self::Ready { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    /// Whether it has no process and will get none by itself.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Self::Stopped | Self::Exited { .. } | Self::Fatal { .. })
    }

    /// When [`Event::Tick`] would change something.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self {
            Self::Starting { ready_by, .. } => Some(*ready_by),
            Self::Ready { beat_due, progress_due, age_due, .. } => {
                [*progress_due, *age_due].into_iter().flatten().chain([*beat_due]).min()
            }
            Self::BackingOff { until, .. } => Some(*until),
            Self::Stopping { next_at, .. } => Some(*next_at),
            Self::Stopped | Self::Waiting { .. } | Self::Exited { .. } | Self::Fatal { .. } => None,
        }
    }

    /// The supervisor was held up for so long: what a job is to say in time it may say that much later.
    pub(crate) fn postpone(&mut self, by: Duration) {
        match self {
            Self::Starting { ready_by, .. } => *ready_by += by,
            Self::Ready { beat_due, progress_due, .. } => {
                *beat_due += by;
                *progress_due = progress_due.map(|due| due + by);
            }
            Self::Stopped
            | Self::Waiting { .. }
            | Self::BackingOff { .. }
            | Self::Stopping { .. }
            | Self::Exited { .. }
            | Self::Fatal { .. } => {}
        }
    }

    /// What an event makes of it, and what is to be done.
    pub(crate) fn step(
        self,
        event: Event,
        policy: &Supervise,
        history: &mut History,
        now: &Now,
    ) -> (Self, Option<Effect>) {
        if let Self::Ready { since, .. } = &self {
            history.note_ready_for(now.at.duration_since(*since), policy);
        }
        match event {
            Event::Start => self.on_start(policy, now),
            Event::Restart => self.on_restart(policy, now),
            Event::Stop => self.on_stop(policy, now),
            Event::KillNow => self.on_kill(policy, now),
            Event::Spawned { pid } => self.on_spawned(pid, policy, now),
            Event::SpawnFailed { error, is_permanent } => {
                let outcome = if is_permanent { Outcome::Hopeless } else { Outcome::Failed };
                self.on_gone(None, outcome, error, policy, history, now)
            }
            Event::Ready => self.on_ready(policy, now),
            Event::Beat { progress } => self.on_beat(progress, policy, now),
            Event::Overgrown { why, is_failure } => self.on_overgrown(why, is_failure, policy, history, now),
            Event::Held => self.on_held(policy, now),
            Event::Look => self.on_look(policy, now),
            Event::LeaderEnded => self.on_leader_ended(policy, now),
            Event::Gone { end, outcome } => self.on_gone(Some(end), outcome, why(end), policy, history, now),
            Event::Tick => self.on_tick(policy, now),
        }
    }

    fn starting(policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        if let Some(hold) = now.hold.clone() {
            return (Self::Waiting { hold }, None);
        }
        (Self::Starting { pid: None, ready_by: now.at + policy.startup_timeout, is_ready: false }, Some(Effect::Spawn))
    }

    fn ready(pid: u32, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        let beat_due = now.at + policy.liveness_timeout;
        let progress_due = due_after(now, policy.watchdog_timeout);
        let age_due = due_after(now, policy.max_age);
        (Self::Ready { pid, since: now.at, beat_due, progress: 0, progress_due, age_due }, None)
    }

    fn stopping(pid: Option<u32>, step: Step, then: Then, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        let effect = match step {
            Step::Asked => Effect::Ask,
            Step::Terminated => Effect::Terminate,
            Step::Killed => Effect::Kill,
        };
        (Self::Stopping { pid, step, next_at: now.at + policy.stop_timeout, then }, Some(effect))
    }

    fn on_start(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Stopped
            | Self::Waiting { .. }
            | Self::BackingOff { .. }
            | Self::Exited { .. }
            | Self::Fatal { .. } => Self::starting(policy, now),
            Self::Stopping { pid, step, next_at, .. } => {
                (Self::Stopping { pid, step, next_at, then: Then::Start }, None)
            }
            Self::Starting { .. } | Self::Ready { .. } => (self, None),
        }
    }

    fn on_restart(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            // A job that is not ready yet does not hear messages yet.
            Self::Starting { pid, .. } => Self::stopping(pid, Step::Terminated, Then::Start, policy, now),
            Self::Ready { pid, .. } => Self::stopping(Some(pid), Step::Asked, Then::Start, policy, now),
            other => other.on_start(policy, now),
        }
    }

    fn on_stop(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Starting { pid, .. } => Self::stopping(pid, Step::Terminated, Then::Stop, policy, now),
            Self::Ready { pid, .. } => Self::stopping(Some(pid), Step::Asked, Then::Stop, policy, now),
            Self::Stopping { pid, step, next_at, .. } => {
                (Self::Stopping { pid, step, next_at, then: Then::Stop }, None)
            }
            Self::Stopped
            | Self::Waiting { .. }
            | Self::BackingOff { .. }
            | Self::Exited { .. }
            | Self::Fatal { .. } => (Self::Stopped, None),
        }
    }

    fn on_kill(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self.on_stop(policy, now) {
            (Self::Stopping { pid, then, .. }, _) => Self::stopping(pid, Step::Killed, then, policy, now),
            settled => settled,
        }
    }

    fn on_spawned(self, pid: u32, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Starting { pid: None, is_ready: true, .. } => Self::ready(pid, policy, now),
            Self::Starting { pid: None, ready_by, is_ready } => {
                (Self::Starting { pid: Some(pid), ready_by, is_ready }, None)
            }
            // It was to stop before it had a process: no message can reach it yet, a signal can.
            Self::Stopping { pid: None, step, then, .. } => {
                Self::stopping(Some(pid), if step == Step::Killed { step } else { Step::Terminated }, then, policy, now)
            }
            other => (other, None),
        }
    }

    fn on_ready(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Starting { pid: Some(pid), .. } => Self::ready(pid, policy, now),
            // The news of its process is slower than the process itself.
            Self::Starting { pid: None, ready_by, .. } => {
                (Self::Starting { pid: None, ready_by, is_ready: true }, None)
            }
            other => (other, None),
        }
    }

    fn on_beat(self, new: u64, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Ready { pid, since, progress, progress_due, age_due, .. } => {
                let progress_due = if new == progress { progress_due } else { due_after(now, policy.watchdog_timeout) };
                let beat_due = now.at + policy.liveness_timeout;
                (Self::Ready { pid, since, beat_due, progress: new, progress_due, age_due }, None)
            }
            other => (other, None),
        }
    }

    fn on_held(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Starting { pid, is_ready, .. } => {
                (Self::Starting { pid, ready_by: now.at + policy.startup_timeout, is_ready }, None)
            }
            other => (other, None),
        }
    }

    fn on_overgrown(
        self,
        why: String,
        is_failure: bool,
        policy: &Supervise,
        history: &mut History,
        now: &Now,
    ) -> (Self, Option<Effect>) {
        let is_up = matches!(self, Self::Starting { .. } | Self::Ready { .. });
        if is_up && !is_failure {
            history.note_overgrown(now.at, policy);
        }
        let then = if is_failure { Then::Decide(Some(why)) } else { Then::StartLater(why) };
        match self {
            Self::Starting { pid, .. } => Self::stopping(pid, Step::Terminated, then, policy, now),
            Self::Ready { pid, .. } => Self::stopping(Some(pid), Step::Asked, then, policy, now),
            other => (other, None),
        }
    }

    fn on_look(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Waiting { .. } => Self::starting(policy, now),
            other => (other, None),
        }
    }

    fn on_leader_ended(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        match self {
            Self::Starting { pid, .. } => Self::stopping(pid, Step::Terminated, Then::Decide(None), policy, now),
            Self::Ready { pid, .. } => Self::stopping(Some(pid), Step::Terminated, Then::Decide(None), policy, now),
            Self::Stopping { pid, step: Step::Asked, then, .. } => {
                Self::stopping(pid, Step::Terminated, then, policy, now)
            }
            other => (other, None),
        }
    }

    fn on_tick(self, policy: &Supervise, now: &Now) -> (Self, Option<Effect>) {
        if self.due().is_none_or(|due| now.at < due) {
            return (self, None);
        }
        let seconds = |time: Duration| time.as_secs_f64();
        match self {
            Self::Starting { pid, .. } => {
                let why = format!("not ready within {} s", seconds(policy.startup_timeout));
                Self::stopping(pid, Step::Terminated, Then::Decide(Some(why)), policy, now)
            }
            Self::Ready { pid, beat_due, progress_due, .. } => {
                let why = if now.at >= beat_due {
                    format!("no heartbeat for {} s", seconds(policy.liveness_timeout))
                } else if progress_due.is_some_and(|due| now.at >= due) {
                    format!("no progress for {} s", policy.watchdog_timeout.map_or(0.0, seconds))
                } else {
                    let why = format!("it has run for {} s", policy.max_age.map_or(0.0, seconds));
                    return Self::stopping(Some(pid), Step::Asked, Then::StartFor(why), policy, now);
                };
                Self::stopping(Some(pid), Step::Terminated, Then::Decide(Some(why)), policy, now)
            }
            Self::BackingOff { .. } => Self::starting(policy, now),
            Self::Stopping { pid, step: Step::Asked, then, .. } => {
                Self::stopping(pid, Step::Terminated, then, policy, now)
            }
            Self::Stopping { pid, then, .. } => Self::stopping(pid, Step::Killed, then, policy, now),
            settled => (settled, None),
        }
    }

    fn on_gone(
        self,
        end: Option<ChildEnd>,
        outcome: Outcome,
        why: String,
        policy: &Supervise,
        history: &mut History,
        now: &Now,
    ) -> (Self, Option<Effect>) {
        let (outcome, why) = match self {
            Self::Stopping { then: Then::Stop, .. } => return (Self::Stopped, None),
            Self::Stopping { then: Then::Start | Then::StartFor(_), .. } => return Self::starting(policy, now),
            Self::Stopping { then: Then::StartLater(why), .. } => {
                let until = now.at + history.pause_for_memory(policy, now.jitter);
                return (Self::BackingOff { until, why }, None);
            }
            Self::Stopping { then: Then::Decide(Some(why)), .. } => (Outcome::Failed, why),
            Self::Stopping { then: Then::Decide(None), .. } | Self::Starting { .. } | Self::Ready { .. } => {
                (outcome, why)
            }
            settled @ (Self::Stopped
            | Self::Waiting { .. }
            | Self::BackingOff { .. }
            | Self::Exited { .. }
            | Self::Fatal { .. }) => return (settled, None),
        };
        let state = match verdict(policy, history, outcome, now.at, now.jitter) {
            Verdict::RestartIn(delay) => Self::BackingOff { until: now.at + delay, why },
            // Until its next time.
            Verdict::Leave if policy.schedule.is_some() => return Self::starting(policy, now),
            Verdict::Leave => match end {
                Some(end) => Self::Exited { end },
                None => Self::Fatal { reason: why },
            },
            Verdict::GiveUp => Self::Fatal {
                reason: format!(
                    "{why}; it was restarted {} times within {} s, more is not allowed",
                    policy.max_restarts.unwrap_or(0),
                    policy.restart_window.as_secs_f64()
                ),
            },
            Verdict::Hopeless => Self::Fatal { reason: format!("{why}; another try cannot help") },
        };
        (state, None)
    }
}

/// An end, as a reason.
pub(crate) fn why(end: ChildEnd) -> String {
    match end {
        ChildEnd::Code(_) => format!("it ended with {end}"),
        ChildEnd::Signal { .. } => format!("it was {end}"),
    }
}

/// A time limit that may be switched off.
fn due_after(now: &Now, timeout: Option<Duration>) -> Option<Instant> {
    timeout.map(|timeout| now.at + timeout)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::policy::outcome;
    use super::*;
    use crate::config::{Kind, Restart};

    /// A job under test, with its policy, its history and a clock that only moves when told.
    struct Subject {
        state: JobState,
        policy: Supervise,
        history: History,
        at: Instant,
        hold: Option<Hold>,
    }

    impl Subject {
        fn new() -> Self {
            let policy = Supervise::default();
            Self { state: JobState::Stopped, policy, history: History::default(), at: Instant::now(), hold: None }
        }

        fn on(&mut self, event: Event) -> Option<Effect> {
            let now = Now { at: self.at, jitter: Jitter::from_random(u32::MAX / 2), hold: self.hold.clone() };
            let (state, effect) = self.state.clone().step(event, &self.policy, &mut self.history, &now);
            self.state = state;
            effect
        }

        fn all(&mut self, events: impl IntoIterator<Item = Event>) -> &mut Self {
            for event in events {
                self.on(event);
            }
            self
        }

        fn after(&mut self, seconds: f64) -> Option<Effect> {
            self.at += Duration::from_secs_f64(seconds);
            self.on(Event::Tick)
        }
    }

    fn ready() -> Subject {
        let mut subject = Subject::new();
        subject.all([Event::Start, Event::Spawned { pid: 7 }, Event::Ready]);
        subject
    }

    fn failed() -> Event {
        gone(ChildEnd::Code(1))
    }

    fn gone(end: ChildEnd) -> Event {
        Event::Gone { end, outcome: outcome(Kind::Source, end, &Supervise::default()) }
    }

    #[test]
    fn a_job_starts_works_and_stops() {
        let mut subject = Subject::new();

        assert_eq!(subject.on(Event::Start), Some(Effect::Spawn));
        subject.all([Event::Spawned { pid: 7 }, Event::Ready]);
        assert_eq!(subject.state.name(), StateName::Ready);
        assert_eq!(subject.on(Event::Stop), Some(Effect::Ask));
        subject.on(gone(ChildEnd::Code(0)));
        assert_eq!(subject.state, JobState::Stopped);
    }

    #[test]
    fn a_failed_job_comes_back_after_its_delay() {
        let mut subject = ready();
        subject.on(failed());
        assert_eq!(subject.state.name(), StateName::BackingOff);

        assert_eq!(subject.after(0.9), None);
        assert_eq!(subject.after(0.2), Some(Effect::Spawn));
    }

    #[test]
    fn a_stop_wins_over_a_pending_restart() {
        let mut subject = ready();
        subject.all([failed(), Event::Stop]);
        assert_eq!(subject.state, JobState::Stopped);
        assert_eq!(subject.after(1000.0), None);

        let mut subject = ready();
        subject.all([Event::Restart, Event::Stop, failed()]);
        assert_eq!(subject.state, JobState::Stopped);
    }

    #[test]
    fn a_stop_escalates_from_message_to_sigterm_to_sigkill() {
        let mut subject = ready();

        assert_eq!(subject.on(Event::Stop), Some(Effect::Ask));
        assert_eq!(subject.after(10.0), Some(Effect::Terminate));
        assert_eq!(subject.after(10.0), Some(Effect::Kill));
        assert_eq!(subject.after(10.0), Some(Effect::Kill));
    }

    #[test]
    fn a_job_that_was_to_stop_before_it_had_a_process_is_ended_when_it_has_one() {
        let mut subject = Subject::new();
        subject.all([Event::Start, Event::Stop]);

        assert_eq!(subject.on(Event::Spawned { pid: 7 }), Some(Effect::Terminate));
        assert_eq!(subject.state.pid(), Some(7));
    }

    #[test]
    fn silence_ends_a_ready_job_and_says_so() {
        let mut subject = ready();
        subject.after(29.0);
        subject.on(Event::Beat { progress: 0 });
        assert_eq!(subject.after(29.0), None);
        assert_eq!(subject.after(1.5), Some(Effect::Terminate));

        subject.on(gone(ChildEnd::Code(0)));
        assert!(matches!(&subject.state, JobState::BackingOff { why, .. } if why == "no heartbeat for 30 s"));
    }

    #[test]
    fn a_watchdog_bites_only_where_it_is_asked_for() {
        let mut beats = ready();
        beats.after(20.0);
        beats.on(Event::Beat { progress: 0 });
        assert_eq!(beats.after(20.0), None);

        let mut watched = Subject::new();
        watched.policy.watchdog_timeout = Some(Duration::from_secs(25));
        watched.all([Event::Start, Event::Spawned { pid: 7 }, Event::Ready]);
        watched.after(20.0);
        watched.on(Event::Beat { progress: 0 });
        assert_eq!(watched.after(6.0), Some(Effect::Terminate));
    }

    #[test]
    fn a_job_that_is_never_ready_is_tried_again() {
        let mut subject = Subject::new();
        subject.all([Event::Start, Event::Spawned { pid: 7 }]);

        assert_eq!(subject.after(30.0), Some(Effect::Terminate));
        subject.on(failed());
        assert!(matches!(&subject.state, JobState::BackingOff { why, .. } if why == "not ready within 30 s"));
    }

    #[test]
    fn a_job_that_is_quicker_than_the_news_of_it_is_ready_all_the_same() {
        let mut subject = Subject::new();
        subject.all([Event::Start, Event::Ready, Event::Spawned { pid: 7 }]);

        assert_eq!(subject.state.name(), StateName::Ready);
    }

    #[test]
    fn a_supervisor_that_was_held_up_does_not_blame_its_jobs() {
        let mut subject = ready();
        subject.at += Duration::from_secs(100);
        subject.state.postpone(Duration::from_secs(100));

        assert_eq!(subject.on(Event::Tick), None);
        assert_eq!(subject.after(31.0), Some(Effect::Terminate));
    }

    #[test]
    fn whatever_holds_a_job_back_holds_every_start_and_a_stop_wins_over_it() {
        let hold = || Some(Hold::Needs { job: "a".into(), is_coming: true });
        let mut subject = Subject { hold: hold(), ..Subject::new() };
        assert_eq!(subject.on(Event::Start), None);
        assert_eq!(subject.state.name(), StateName::Waiting);
        assert_eq!((subject.on(Event::Restart), subject.on(Event::Look)), (None, None));
        subject.hold = None;
        assert_eq!(subject.on(Event::Look), Some(Effect::Spawn));

        let mut subject = ready();
        subject.hold = hold();
        subject.all([Event::Restart, gone(ChildEnd::Code(0))]);
        assert_eq!(subject.state.name(), StateName::Waiting);
        subject.on(Event::Stop);
        assert_eq!(subject.state, JobState::Stopped);
        subject.hold = None;
        assert_eq!(subject.on(Event::Look), None);
    }

    #[test]
    fn a_job_that_is_old_is_asked_to_end_and_starts_again_at_once_as_no_failure() {
        let mut subject = Subject::new();
        subject.policy.max_age = Some(Duration::from_secs(20));
        subject.policy.max_restarts = Some(1);
        subject.all([Event::Start, Event::Spawned { pid: 7 }, Event::Ready]);
        for _ in 0..3 {
            subject.at += Duration::from_secs(20);
            subject.on(Event::Beat { progress: 0 });
            assert_eq!(subject.on(Event::Tick), Some(Effect::Ask));
            assert_eq!(subject.on(gone(ChildEnd::Code(0))), Some(Effect::Spawn));
            subject.all([Event::Spawned { pid: 7 }, Event::Ready]);
        }
    }

    #[test]
    fn a_job_that_is_too_large_starts_again_after_a_pause_that_doubles_and_as_no_failure() {
        let mut subject = Subject::new();
        subject.policy.max_restarts = Some(1);
        subject.on(Event::Start);
        for pause in [1.0, 2.0, 4.0] {
            subject.all([Event::Spawned { pid: 7 }, Event::Ready]);
            let overgrown = Event::Overgrown { why: "large".into(), is_failure: false };
            assert_eq!(subject.on(overgrown), Some(Effect::Ask));
            assert_eq!(subject.after(10.0), Some(Effect::Terminate));
            assert_eq!(subject.after(10.0), Some(Effect::Kill));
            assert_eq!(subject.on(failed()), None);
            assert_eq!(subject.state.name(), StateName::BackingOff);
            assert_eq!(subject.after(pause * 0.9), None);
            assert_eq!(subject.after(pause * 0.2), Some(Effect::Spawn));
        }
        // Before it is ready it hears no message.
        subject.on(Event::Spawned { pid: 7 });
        let overgrown = |is_failure| Event::Overgrown { why: "large".into(), is_failure };
        assert_eq!(subject.on(overgrown(false)), Some(Effect::Terminate));
        subject.on(failed());
        assert_eq!(subject.after(30.0), Some(Effect::Spawn));

        subject.all([Event::Spawned { pid: 7 }, Event::Ready, overgrown(true), failed()]);
        assert_eq!(subject.state.name(), StateName::BackingOff);
    }

    #[test]
    fn a_job_that_waits_for_what_another_supervisor_has_is_not_late() {
        let mut subject = Subject::new();
        subject.all([Event::Start, Event::Spawned { pid: 7 }]);
        for _ in 0..3 {
            subject.at += Duration::from_secs(29);
            assert_eq!((subject.on(Event::Held), subject.on(Event::Tick)), (None, None));
        }

        assert_eq!(subject.after(31.0), Some(Effect::Terminate));
    }

    #[test]
    fn a_start_that_finds_no_process_is_given_up_whatever_it_waits_for() {
        let failed = || Event::SpawnFailed { error: "x".into(), is_permanent: false };
        let mut subject = Subject::new();
        subject.on(Event::Start);
        assert_eq!(subject.on(Event::KillNow), Some(Effect::Kill), "what it waits for is given up");
        subject.on(failed());
        assert_eq!(subject.state, JobState::Stopped);

        subject.on(Event::Start);
        assert_eq!(subject.after(30.0), Some(Effect::Terminate));
        subject.on(failed());
        assert!(matches!(&subject.state, JobState::BackingOff { why, .. } if why == "not ready within 30 s"));
    }

    #[test]
    fn a_scheduled_job_that_is_done_waits_for_its_next_time() {
        let mut subject = ready();
        subject.policy.schedule = "every 1 h".parse().ok();
        subject.hold = Some(Hold::NotYet { until: "later".into() });
        subject.on(gone(ChildEnd::Code(0)));
        assert_eq!(subject.state.name(), StateName::Waiting);

        subject.hold = None;
        assert_eq!(subject.on(Event::Look), Some(Effect::Spawn));
    }

    #[test]
    fn a_bad_configuration_is_fatal_at_once() {
        let mut subject = ready();
        subject.on(gone(ChildEnd::Code(78)));
        assert_eq!(subject.state.name(), StateName::Fatal);

        let mut subject = Subject::new();
        subject.all([Event::Start, Event::SpawnFailed { error: "no such file".into(), is_permanent: true }]);
        assert_eq!(subject.state.name(), StateName::Fatal);
    }

    #[test]
    fn a_source_that_ended_cleanly_is_done() {
        let mut subject = ready();
        subject.on(gone(ChildEnd::Code(0)));

        assert_eq!(subject.state, JobState::Exited { end: ChildEnd::Code(0) });
    }

    #[test]
    fn a_group_that_outlives_its_leader_is_ended_before_anything_follows() {
        let mut subject = ready();
        assert_eq!(subject.on(Event::LeaderEnded), Some(Effect::Terminate));
        assert_eq!(subject.after(10.0), Some(Effect::Kill));

        subject.on(gone(ChildEnd::Code(0)));
        assert_eq!(subject.state, JobState::Exited { end: ChildEnd::Code(0) });
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Start),
            Just(Event::Stop),
            Just(Event::Restart),
            Just(Event::Ready),
            Just(Event::Beat { progress: 1 }),
            Just(Event::LeaderEnded),
            Just(Event::Tick),
            Just(Event::KillNow),
            Just(Event::Look),
            Just(Event::Held),
            Just(Event::Overgrown { why: "x".into(), is_failure: false }),
            Just(Event::Spawned { pid: 7 }),
            Just(Event::SpawnFailed { error: "x".into(), is_permanent: false }),
            Just(failed()),
            Just(gone(ChildEnd::Code(0))),
        ]
    }

    proptest! {
        /// The model counts processes: one is there from `Spawn` to `Gone` or `SpawnFailed`; only what can happen in that
        /// situation is let happen.
        #[test]
        fn there_are_never_two_processes(
            events in proptest::collection::vec((any_event(), 0.0f64..40.0, any::<bool>()), 0..200)
        ) {
            let mut subject = Subject::new();
            subject.policy.restart = Restart::Always;
            let (mut asked, mut running) = (false, false);
            for (event, pause, is_held) in events {
                subject.hold = is_held.then(|| Hold::NotYet { until: "later".into() });
                let possible = match event {
                    Event::Spawned { .. } | Event::SpawnFailed { .. } => asked && !running,
                    Event::Ready | Event::Beat { .. } | Event::LeaderEnded | Event::Gone { .. } => running,
                    _ => true,
                };
                if !possible {
                    continue;
                }
                match event {
                    Event::Spawned { .. } => running = true,
                    Event::Gone { .. } | Event::SpawnFailed { .. } => (asked, running) = (false, false),
                    _ => {}
                }
                subject.at += Duration::from_secs_f64(pause);
                if subject.on(event) == Some(Effect::Spawn) {
                    prop_assert!(!asked, "a second process was asked for");
                    asked = true;
                }
                prop_assert_eq!(subject.state.pid().is_some(), running, "{:?}", subject.state);
                prop_assert!(!(asked && subject.state.is_settled()), "{:?} has a process", subject.state);
            }
        }
    }
}
