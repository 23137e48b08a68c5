//! `[supervise]`: when a job is restarted, and how long the supervisor waits for it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a job is started again after it has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// When it failed or was killed; a job that ended cleanly is done.
    #[default]
    OnFailure,
    /// Whenever it has ended.
    Always,
    /// Never.
    Never,
}

/// How the supervisor looks after a job. In a job's file for that job, in `supervisor.toml` for all jobs; the job's
/// file wins, key by key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuperviseKeys {
    /// When the job is started again after it has ended.
    #[schemars(extend("default" = "on-failure"))]
    pub restart: Option<Restart>,
    /// Delay of the first restart. It doubles with each failure; half to one and a half times as long are waited, by
    /// chance, so that jobs that failed together do not come back together.
    #[schemars(extend("default" = 1.0, "exclusiveMinimum" = 0, "format" = "seconds"))]
    pub restart_base_seconds: Option<f64>,
    /// The delay does not grow beyond this.
    #[schemars(extend("default" = 60.0, "exclusiveMinimum" = 0, "format" = "seconds"))]
    pub restart_max_seconds: Option<f64>,
    /// After being ready for so long a job counts as healthy: the next failure begins at `restart_base_seconds` again.
    #[schemars(extend("default" = 30.0, "format" = "seconds"), range(min = 0))]
    pub stable_after_seconds: Option<f64>,
    /// More restarts than this within `restart_window_seconds`, and the job is given up with an alert; 0: no limit.
    #[schemars(extend("default" = 0))]
    pub max_restarts: Option<u32>,
    /// Restarts older than this are forgotten by `max_restarts`.
    #[schemars(extend("default" = 600.0, "exclusiveMinimum" = 0, "format" = "seconds"))]
    pub restart_window_seconds: Option<f64>,
    /// A job that is not ready after so long is killed, and counts as failed.
    #[schemars(extend("default" = 30.0, "exclusiveMinimum" = 0, "format" = "seconds"))]
    pub startup_timeout_seconds: Option<f64>,
    /// A job that was told to stop gets SIGTERM after so long, and SIGKILL after as long again.
    #[schemars(extend("default" = 10.0, "exclusiveMinimum" = 0, "format" = "seconds"))]
    pub stop_timeout_seconds: Option<f64>,
    /// A job without a heartbeat for so long hangs, and is restarted. A heartbeat comes each second.
    #[schemars(extend("default" = 30.0, "format" = "seconds"), range(min = 2))]
    pub liveness_timeout_seconds: Option<f64>,
    /// A job that makes no progress for so long hangs, and is restarted; 0: off, since no beam is no hang. Progress
    /// is reported each second, so less than 2 is refused.
    #[schemars(extend("default" = 0.0, "format" = "seconds"), range(min = 0))]
    pub watchdog_timeout_seconds: Option<f64>,
    /// Without this job nothing makes sense: if it is given up, the whole supervisor ends with an error.
    #[schemars(extend("default" = false))]
    pub essential: Option<bool>,
}

/// How the supervisor looks after one job: all keys decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervise {
    /// When it is started again.
    pub restart: Restart,
    /// Delay of the first restart.
    pub restart_base: Duration,
    /// Longest delay.
    pub restart_max: Duration,
    /// Ready for so long: healthy.
    pub stable_after: Duration,
    /// Restarts within the window before it is given up; `None`: no limit.
    pub max_restarts: Option<u32>,
    /// The window of `max_restarts`.
    pub restart_window: Duration,
    /// Time to become ready.
    pub startup_timeout: Duration,
    /// Time from the stop message to SIGTERM, and from there to SIGKILL.
    pub stop_timeout: Duration,
    /// Longest silence.
    pub liveness_timeout: Duration,
    /// Longest time without progress; `None`: not watched.
    pub watchdog_timeout: Option<Duration>,
    /// If it is given up, the supervisor ends.
    pub essential: bool,
}

impl Default for Supervise {
    fn default() -> Self {
        Self {
            restart: Restart::OnFailure,
            restart_base: Duration::from_secs(1),
            restart_max: Duration::from_mins(1),
            stable_after: Duration::from_secs(30),
            max_restarts: None,
            restart_window: Duration::from_mins(10),
            startup_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            liveness_timeout: Duration::from_secs(30),
            watchdog_timeout: None,
            essential: false,
        }
    }
}

impl Supervise {
    /// The job's own keys over those of `supervisor.toml` over the defaults. Seconds that are no duration (negative,
    /// not finite) count as not given; [`load`](super::load) refuses them before.
    #[must_use]
    pub fn resolve(job: &SuperviseKeys, node: &SuperviseKeys) -> Self {
        let default = Self::default();
        let seconds = |key: fn(&SuperviseKeys) -> Option<f64>, default: Duration| {
            let given = |keys| key(keys).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            given(job).or_else(|| given(node)).unwrap_or(default)
        };
        let watchdog = seconds(|keys| keys.watchdog_timeout_seconds, Duration::ZERO);
        Self {
            restart: job.restart.or(node.restart).unwrap_or(default.restart),
            restart_base: seconds(|keys| keys.restart_base_seconds, default.restart_base),
            restart_max: seconds(|keys| keys.restart_max_seconds, default.restart_max),
            stable_after: seconds(|keys| keys.stable_after_seconds, default.stable_after),
            max_restarts: job.max_restarts.or(node.max_restarts).filter(|limit| *limit > 0),
            restart_window: seconds(|keys| keys.restart_window_seconds, default.restart_window),
            startup_timeout: seconds(|keys| keys.startup_timeout_seconds, default.startup_timeout),
            stop_timeout: seconds(|keys| keys.stop_timeout_seconds, default.stop_timeout),
            liveness_timeout: seconds(|keys| keys.liveness_timeout_seconds, default.liveness_timeout),
            watchdog_timeout: Some(watchdog).filter(|timeout| !timeout.is_zero()),
            essential: job.essential.or(node.essential).unwrap_or(default.essential),
        }
    }

    /// Keys that contradict each other, named by the one to change first.
    pub(super) fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        if self.restart_max < self.restart_base {
            found.push(Contradiction {
                keys: &["restart_base_seconds", "restart_max_seconds"],
                message: format!(
                    "`restart_base_seconds` ({}) is above `restart_max_seconds` ({})",
                    self.restart_base.as_secs_f64(),
                    self.restart_max.as_secs_f64()
                ),
                help: "raise the second or lower the first",
            });
        }
        if self.watchdog_timeout.is_some_and(|timeout| timeout < Duration::from_secs(2)) {
            found.push(Contradiction {
                keys: &["watchdog_timeout_seconds"],
                message: "`watchdog_timeout_seconds` is shorter than two reports of progress, which come each second"
                    .into(),
                help: "give at least 2, or 0 to switch the watchdog off",
            });
        }
        if self.restart == Restart::Never && self.max_restarts.is_some() {
            found.push(Contradiction {
                keys: &["max_restarts", "restart"],
                message: "`max_restarts` limits restarts, but `restart = \"never\"` allows none".into(),
                help: "remove one of the two",
            });
        }
        found
    }
}

/// Keys of `[supervise]` that cannot all hold.
#[derive(Debug)]
pub(super) struct Contradiction {
    /// The keys it takes, the likeliest to be wrong first.
    pub(super) keys: &'static [&'static str],
    pub(super) message: String,
    pub(super) help: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Node;

    #[test]
    fn the_defaults_in_the_reference_are_those_that_hold() {
        let schema = schemars::schema_for!(SuperviseKeys);
        let defaults: serde_json::Map<_, _> = Node::root(&schema)
            .properties()
            .into_iter()
            .map(|(key, node)| (key.to_owned(), node.default().expect(key).clone()))
            .collect();

        let documented: SuperviseKeys = serde_json::from_value(defaults.into()).unwrap();

        assert_eq!(Supervise::resolve(&documented, &SuperviseKeys::default()), Supervise::default());
    }

    #[test]
    fn the_job_wins_over_the_supervisor_key_by_key() {
        let job = SuperviseKeys { restart_base_seconds: Some(2.0), ..Default::default() };
        let node = SuperviseKeys {
            restart_base_seconds: Some(3.0),
            restart: Some(Restart::Always),
            max_restarts: Some(5),
            ..Default::default()
        };

        let resolved = Supervise::resolve(&job, &node);

        assert_eq!(resolved.restart_base, Duration::from_secs(2));
        assert_eq!(resolved.restart, Restart::Always);
        assert_eq!(resolved.max_restarts, Some(5));
        assert_eq!(resolved.restart_max, Duration::from_mins(1));
    }

    #[test]
    fn seconds_that_are_no_duration_count_as_not_given() {
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            let keys = SuperviseKeys { stop_timeout_seconds: Some(seconds), ..Default::default() };
            assert_eq!(Supervise::resolve(&keys, &keys), Supervise::default());
        }
    }
}
