//! The difference between jobs that run and jobs that the files say. Pure.
//!
//! Invariant: a job is only touched if its resolved configuration differs: comments, the order of keys and the place of a
//! file are nothing to a job; what only the supervisor needs to know it learns without disturbing the job.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Deployment, FederationConfig, JobConfig, Overrides, SupervisorConfig};
use crate::control::{Change, Changes, JobChange};

/// What differs between two configurations of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) change: Change,
    pub(super) keys: Vec<String>,
}

/// The changes that lead from some jobs to a deployment.
pub(super) fn between<'e>(
    running: impl Iterator<Item = &'e JobConfig> + Clone,
    (before, after): (&SupervisorConfig, &Deployment),
    overrides: &Overrides,
) -> Changes {
    let change = |name: &str, change, keys| JobChange { name: name.to_owned(), change, keys };
    let is_there = |job: &&JobConfig| !after.jobs.iter().any(|other| is_same(job, other));
    let removed = running.clone().filter(is_there).map(|job| change(&job.name, Change::Remove, Vec::new()));
    let others = after.jobs.iter().filter_map(|new| {
        let Some(old) = running.clone().find(|old| is_same(old, new)) else {
            return Some(change(&new.name, Change::Add, Vec::new()));
        };
        let Difference { change: what, keys } = difference(old, new)?;
        Some(change(&new.name, what, keys))
    });
    let notes = after.warnings.iter().map(ToString::to_string).chain(wishes(overrides));
    Changes {
        changes: removed.chain(others).collect(),
        at_once: at_once(before, &after.supervisor),
        later: later(before, &after.supervisor),
        notes: notes.collect(),
    }
}

/// Whether two configurations are of one job: the ring and journals know it by the id. One whose file gives the id and gets
/// another name stays who it is.
pub(super) fn is_same(one: &JobConfig, other: &JobConfig) -> bool {
    one.unique_id == other.unique_id
}

/// What differs; `None`: nothing that matters.
pub(super) fn difference(old: &JobConfig, new: &JobConfig) -> Option<Difference> {
    let (for_job, for_supervisor) = (keys_of_job(old, new), keys_of_supervisor(old, new));
    let change = match (for_job.is_empty(), for_supervisor.is_empty()) {
        (true, true) => return None,
        (true, false) => Change::Adjust,
        (false, _) => Change::Restart,
    };
    Some(Difference { change, keys: [for_job, for_supervisor].concat() })
}

/// Keys whose new value only a new process can have.
fn keys_of_job(old: &JobConfig, new: &JobConfig) -> Vec<String> {
    let (a, b) = (&old.process, &new.process);
    let common = [
        ("daq_job_type", old.job_type != new.job_type),
        ("verbosity", old.verbosity != new.verbosity),
        ("use_shm_when_possible", old.use_shm_when_possible != new.use_shm_when_possible),
        ("ring_mb", old.ring_mb != new.ring_mb),
        ("delivery", old.delivery != new.delivery),
        ("wait", old.wait != new.wait),
        ("topics_to_subscribe", old.topics_to_subscribe != new.topics_to_subscribe),
        ("supervise.exclusive", old.supervise.exclusive != new.supervise.exclusive),
        ("supervise.env", a.env != b.env),
        ("supervise.env_file", a.env_file != b.env_file),
        ("supervise.cwd", a.cwd != b.cwd),
        ("supervise.umask", a.umask != b.umask),
        ("supervise.user", a.user != b.user),
        ("supervise.nice", a.nice != b.nice),
        ("supervise.cpu_affinity", a.cpu_affinity != b.cpu_affinity),
        ("supervise.rlimits", a.rlimits != b.rlimits),
        ("supervise.stop_signal", a.stop_signal != b.stop_signal),
        // They stand in what the job was told, or its control group was given, at its start.
        ("supervise.memory_max_mb", old.supervise.memory.max_bytes != new.supervise.memory.max_bytes),
        ("supervise.watchdog_timeout_seconds", old.supervise.watchdog_timeout != new.supervise.watchdog_timeout),
        (
            "supervise.stop_timeout_seconds",
            old.runs_program && old.supervise.stop_timeout != new.supervise.stop_timeout,
        ),
    ];
    let common = common.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned());
    let name = (old.name != new.name).then(|| format!("its name (it was {})", old.name));
    name.into_iter().chain(common).chain(own_keys(&old.settings, &new.settings)).collect()
}

/// The keys of the job's type that differ.
fn own_keys(old: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Keys that are the supervisor's own business.
fn keys_of_supervisor(old: &JobConfig, new: &JobConfig) -> Vec<String> {
    let is_told = keys_of_job(old, new);
    let (a, b) = (&old.supervise, &new.supervise);
    let table = [
        ("restart", a.restart != b.restart),
        ("restart_base_seconds", a.restart_base != b.restart_base),
        ("restart_max_seconds", a.restart_max != b.restart_max),
        ("stable_after_seconds", a.stable_after != b.stable_after),
        ("max_restarts", a.max_restarts != b.max_restarts),
        ("restart_window_seconds", a.restart_window != b.restart_window),
        ("startup_timeout_seconds", a.startup_timeout != b.startup_timeout),
        ("stop_timeout_seconds", a.stop_timeout != b.stop_timeout),
        ("liveness_timeout_seconds", a.liveness_timeout != b.liveness_timeout),
        ("essential", a.essential != b.essential),
        ("autostart", a.autostart != b.autostart),
        ("depends_on", a.depends_on != b.depends_on),
        ("schedule", a.schedule != b.schedule),
        ("max_age_seconds", a.max_age != b.max_age),
        ("success_exit_codes", a.success_exit_codes != b.success_exit_codes),
        ("memory_growth_mb", a.memory.growth_bytes != b.memory.growth_bytes),
        ("memory_growth_count", a.memory.growth_count != b.memory.growth_count),
        ("memory_counts_as_failure", a.memory.counts_as_failure != b.memory.counts_as_failure),
        ("replicas", old.replica != new.replica),
    ];
    let differing = table.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| format!("supervise.{key}"));
    differing.filter(|key| !is_told.contains(key)).collect()
}

/// The leaves that a hub lists, before and after.
fn lists<'c>(old: &'c SupervisorConfig, new: &'c SupervisorConfig) -> Option<[&'c BTreeMap<String, String>; 2]> {
    Some([old.federation.as_ref()?.listed()?, new.federation.as_ref()?.listed()?])
}

/// A hub's federation as it was, but for the leaves that it lists.
pub(super) fn relisted(old: &SupervisorConfig, new: &SupervisorConfig) -> Option<FederationConfig> {
    let [_, leaves] = lists(old, new)?;
    Some(old.federation.as_ref()?.listing(leaves))
}

/// What of the supervisor's own configuration takes effect at once: which leaves are let in.
fn at_once(old: &SupervisorConfig, new: &SupervisorConfig) -> Vec<String> {
    let Some([before, after]) = lists(old, new) else { return Vec::new() };
    let leaves: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let what = |leaf: &String| match (before.get(leaf), after.get(leaf)) {
        (None, Some(_)) => Some("is let in"),
        (Some(_), None) => Some("is let in no more, and nothing is kept for it"),
        (old, new) => (old != new).then_some("is let in with its new key only"),
    };
    let changed = leaves.into_iter().filter_map(|leaf| Some((leaf, what(leaf)?)));
    changed.map(|(leaf, what)| format!("supervisor.toml: `federation.curve.clients`: {leaf} {what}")).collect()
}

/// What of the supervisor's own configuration can only change with a new start of it.
fn later(old: &SupervisorConfig, new: &SupervisorConfig) -> Vec<String> {
    let table = [
        ("info", old.info != new.info),
        ("verbosity", old.verbosity != new.verbosity),
        ("state_dir", old.state_dir != new.state_dir),
        ("logs", old.logs != new.logs),
        ("memory", old.memory != new.memory),
        ("disk", old.disk != new.disk),
        ("bus", old.bus != new.bus),
        ("ring_buffer_size_mb", old.ring_buffer_size_mb != new.ring_buffer_size_mb),
        ("cnc", old.cnc != new.cnc),
        ("federation", relisted(old, new).as_ref().or(old.federation.as_ref()) != new.federation.as_ref()),
    ];
    let differing = table.into_iter().filter(|(_, differs)| *differs);
    differing
        .map(|(key, _)| format!("supervisor.toml: `{key}` takes effect when the supervisor is restarted"))
        .collect()
}

/// What the operator wants otherwise than the files say.
pub(super) fn wishes(overrides: &Overrides) -> impl Iterator<Item = String> {
    let stopped = overrides.stopped.iter().map(|name| format!("{name}: stopped by hand; enrgdaq start {name}"));
    let scaled = overrides
        .scaled
        .iter()
        .map(|(name, scaled)| format!("{name}: {} copies by hand, the file says {}", scaled.copies, scaled.instead_of));
    let added = overrides.added.iter().map(|path| format!("{}: added by hand", path.display()));
    let removed = overrides.removed.iter().map(|name| format!("{name}: removed by hand; enrgdaq add its file"));
    stopped.chain(scaled).chain(added).chain(removed)
}
