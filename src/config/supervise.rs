//! `[supervise]`: when a job runs and is restarted, how long the supervisor waits for it, and what its process is given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use toml::de::DeTable;

use super::diagnostics::Diagnostic;
use super::document::Source;
use super::process::{Rlimits, StopSignal, octal};
use super::schedule::Schedule;
use super::supervisor::place_of;
use crate::os::ChildEnd;

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
    #[schemars(extend("default" = 30.0, "format" = "seconds"), range(min = 3))]
    pub liveness_timeout_seconds: Option<f64>,
    /// A job that makes no progress for so long hangs, and is restarted; 0: off, since no beam is no hang. Progress
    /// is looked at each second, so less than 2.5 is refused. A job that waits for room for what it publishes does not hang.
    /// In `supervisor.toml` it does not count for programs by which no progress can be seen.
    #[schemars(extend("default" = 0.0, "format" = "seconds"), range(min = 0))]
    pub watchdog_timeout_seconds: Option<f64>,
    /// Without this job nothing makes sense: if it is given up, the whole supervisor ends with an error.
    #[schemars(extend("default" = false))]
    pub essential: Option<bool>,
    /// The job starts with the supervisor; `false`: only by `enrgdaq start`.
    #[schemars(extend("default" = true))]
    pub autostart: Option<bool>,
    /// Jobs that must be ready before this one starts, besides those that the order of kinds puts before it. They end
    /// after it. If one of them ends, this one goes on. In a job's file only.
    #[schemars(extend("default" = []))]
    pub depends_on: Option<Vec<String>>,
    /// Jobs with the same word here, of any supervisor of this user on this machine, never run together: for a crate, a
    /// port, a card that only one program can drive. The second waits until the first is gone. The locks lie in
    /// `/tmp/enrgdaq-<uid>/exclusive`. In a job's file only.
    #[schemars(length(min = 1, max = 64))]
    pub exclusive: Option<String>,
    /// How many copies of the job run, called `name_00`, `name_01` …; not for stores, which would each write all. In a
    /// job's file only.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<u16>,
    /// When a source starts: `"every 10 min"` (s, min, h, d; the first time with the supervisor), or five fields as in
    /// crontab, in local time: `"30 2 * * *"`. It ends by itself, or by `max_age_seconds`. A time at which it still runs is
    /// passed over; times that were missed while the machine slept are made up for once. In a job's file only.
    pub schedule: Option<String>,
    /// A job that has been ready for so long is stopped and started again, or, with a `schedule`, stopped; 0: never. It does
    /// not count as a failure.
    #[schemars(extend("default" = 0.0, "format" = "seconds"), range(min = 0))]
    pub max_age_seconds: Option<f64>,
    /// Exit codes of a job that ended as it should.
    #[schemars(extend("default" = [0]), inner(range(min = 0, max = 255)))]
    pub success_exit_codes: Option<Vec<i32>>,
    /// The signal with which the program of a `DAQJobExec` is told to end; all other jobs get a message.
    #[schemars(extend("default" = "TERM"))]
    pub stop_signal: Option<StopSignal>,
    /// A job that holds more memory than this, all that it has started included, is restarted, after a pause that doubles if it
    /// happens again within `restart_window_seconds`; 0: no limit. Where the supervisor can hand on the memory controller of
    /// cgroup v2 (not as a unit of systemd) the kernel holds the job to this too.
    #[schemars(extend("default" = 0))]
    pub memory_max_mb: Option<u32>,
    /// A job leaks if its memory has risen above the highest seen by more than this `memory_growth_count` times; it is
    /// restarted then. 0: not watched.
    #[schemars(extend("default" = 0))]
    pub memory_growth_mb: Option<u32>,
    /// How many times: see `memory_growth_mb`.
    #[schemars(extend("default" = 10), range(min = 1))]
    pub memory_growth_count: Option<u32>,
    /// A restart for its memory counts as a failure: `max_restarts` counts it.
    #[schemars(extend("default" = false))]
    pub memory_counts_as_failure: Option<bool>,
    /// Environment variables of the job, added to those of the supervisor.
    #[schemars(extend("default" = {}))]
    pub env: Option<BTreeMap<String, String>>,
    /// A file of lines `NAME=value`, no pipe, read at every start of the job; `env` wins over it. Relative to the folder of
    /// the file in which this key stands.
    pub env_file: Option<PathBuf>,
    /// Working directory, relative to that of the supervisor. Without it: that of the supervisor.
    pub cwd: Option<PathBuf>,
    /// Permissions that new files do not get, in octal: `"027"`. Without it: that of the supervisor.
    pub umask: Option<String>,
    /// User, or `user:group`, as whom the program of a `DAQJobExec` runs; only root can have that.
    pub user: Option<String>,
    /// Less (19) or more (-20; only root may) of the processor than others.
    #[schemars(range(min = -20, max = 19))]
    pub nice: Option<i32>,
    /// Processor cores, from 0, on which the job may run. Without it: all.
    #[schemars(inner(range(max = 1023)))]
    pub cpu_affinity: Option<Vec<u16>>,
    /// Limits that the kernel keeps, as of `ulimit`; for a `DAQJobExec` those of its program.
    pub rlimits: Option<Rlimits>,
}

/// Keys that say something about one job, and nothing about all.
pub(super) const OF_ONE_JOB: [&str; 4] = ["depends_on", "exclusive", "replicas", "schedule"];

/// How the supervisor looks after one job: all keys decided.
#[derive(Debug, Clone, PartialEq)]
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
    /// It starts with the supervisor.
    pub autostart: bool,
    /// Who must be ready before it starts.
    pub depends_on: Vec<String>,
    /// What only one job may hold.
    pub exclusive: Option<String>,
    /// When it starts, if not at once and for good.
    pub schedule: Option<Schedule>,
    /// Ready for so long: started again.
    pub max_age: Option<Duration>,
    /// Exit codes of an end as it should be.
    pub success_exit_codes: Vec<i32>,
    /// Limits of its memory.
    pub memory: MemoryLimits,
}

/// What memory a job may hold, its children included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLimits {
    /// More than this, in bytes, and it is restarted.
    pub max_bytes: Option<u64>,
    /// A rise by more than this above the highest seen counts.
    pub growth_bytes: Option<u64>,
    /// So many such rises, and it is restarted.
    pub growth_count: u32,
    /// Such a restart counts as a failure.
    pub counts_as_failure: bool,
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
            autostart: true,
            depends_on: Vec::new(),
            exclusive: None,
            schedule: None,
            max_age: None,
            success_exit_codes: vec![0],
            memory: MemoryLimits { max_bytes: None, growth_bytes: None, growth_count: 10, counts_as_failure: false },
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
            autostart: job.autostart.or(node.autostart).unwrap_or(default.autostart),
            depends_on: job.depends_on.clone().unwrap_or_default(),
            exclusive: job.exclusive.clone(),
            schedule: job.schedule.as_deref().and_then(|text| text.parse().ok()),
            max_age: Some(seconds(|keys| keys.max_age_seconds, Duration::ZERO)).filter(|age| !age.is_zero()),
            success_exit_codes: job
                .success_exit_codes
                .clone()
                .or_else(|| node.success_exit_codes.clone())
                .unwrap_or(default.success_exit_codes),
            memory: MemoryLimits {
                max_bytes: mebibytes(job.memory_max_mb.or(node.memory_max_mb)),
                growth_bytes: mebibytes(job.memory_growth_mb.or(node.memory_growth_mb)),
                growth_count: job
                    .memory_growth_count
                    .or(node.memory_growth_count)
                    .unwrap_or(default.memory.growth_count),
                counts_as_failure: job.memory_counts_as_failure.or(node.memory_counts_as_failure).unwrap_or(false),
            },
        }
    }

    /// Whether a process that ended so ended as it should.
    pub(crate) fn is_success(&self, end: ChildEnd) -> bool {
        matches!(end, ChildEnd::Code(code) if self.success_exit_codes.contains(&code))
    }

    /// Keys that contradict each other, named by the one to change first.
    pub(super) fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        if self.restart_max < self.restart_base {
            found.push(Contradiction {
                keys: &["restart_base_seconds", "restart_max_seconds"],
                is_of_one_file: false,
                message: format!(
                    "`restart_base_seconds` ({}) is above `restart_max_seconds` ({})",
                    self.restart_base.as_secs_f64(),
                    self.restart_max.as_secs_f64()
                ),
                help: "raise the second or lower the first",
            });
        }
        if self.watchdog_timeout.is_some_and(|timeout| timeout < Duration::from_millis(2500)) {
            found.push(Contradiction {
                keys: &["watchdog_timeout_seconds"],
                is_of_one_file: false,
                message: "`watchdog_timeout_seconds` is too short: progress is looked at each second".into(),
                help: "give at least 2.5, or 0 to switch the watchdog off",
            });
        }
        if self.restart == Restart::Never && self.max_restarts.is_some() {
            found.push(Contradiction {
                keys: &["max_restarts", "restart"],
                is_of_one_file: true,
                message: "`max_restarts` limits restarts, but `restart = \"never\"` allows none".into(),
                help: "remove one of the two",
            });
        }
        if self.schedule.is_some() && self.restart == Restart::Always {
            found.push(Contradiction {
                keys: &["schedule", "restart"],
                is_of_one_file: false,
                message:
                    "`schedule` says when the job starts, but `restart = \"always\"` starts it whenever it has ended"
                        .into(),
                help: "remove one of the two",
            });
        }
        found
    }
}

/// A size in MiB where 0 means none.
fn mebibytes(count: Option<u32>) -> Option<u64> {
    count.filter(|&count| count > 0).map(|count| u64::from(count) << 20)
}

/// Texts among the keys that mean nothing, at their places.
pub(super) fn wrong_texts(source: &Source, root: &DeTable<'_>, keys: &SuperviseKeys) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut refuse = |key: &str, message: String, help: &str| {
        if let Some((key, at)) = place_of(root, &[key]) {
            found.push(source.error(at, key, message).with_help(help));
        }
    };
    if let Some(Err(why)) = keys.schedule.as_deref().map(str::parse::<Schedule>) {
        refuse(
            "schedule",
            format!("`schedule` is no schedule: {why}"),
            "for example \"every 10 min\" or \"30 2 * * *\"",
        );
    }
    if keys.umask.as_deref().is_some_and(|text| octal(text).is_none()) {
        refuse("umask", "`umask` is not three octal digits".into(), "for example \"027\"");
    }
    let is_bad = |name: &str| name.is_empty() || name.contains(['=', '\0']);
    for (name, value) in keys.env.iter().flatten() {
        if is_bad(name) || value.contains('\0') {
            refuse("env", format!("`env`: {name:?} cannot be an environment variable"), "no `=` and no NUL in a name");
        }
    }
    found
}

/// Keys of `[supervise]` that cannot all hold.
#[derive(Debug)]
pub(super) struct Contradiction {
    /// The keys it takes, the likeliest to be wrong first.
    pub(super) keys: &'static [&'static str],
    /// A job's key against the default of all jobs is none: the job's file wins.
    is_of_one_file: bool,
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl Contradiction {
    /// Where a file is to blame: at the first of its keys; `None` if it is not.
    pub(super) fn place_in(&self, root: &DeTable<'_>) -> Option<(String, usize)> {
        let is_whole = self.keys.iter().all(|key| place_of(root, &[key]).is_some());
        place_of(root, self.keys).filter(|_| is_whole || !self.is_of_one_file)
    }
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
            .filter_map(|(key, node)| Some((key.to_owned(), node.default()?.clone())))
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
