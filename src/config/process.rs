//! What the process of a job is given: environment, directory, user, priority, limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::supervise::SuperviseKeys;

/// A signal with which a program is told to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// Please end.
    #[default]
    Term,
    /// As Ctrl-C.
    Int,
    /// The terminal is closed.
    Hup,
    /// End with a core dump.
    Quit,
    /// As the program understands it.
    Usr1,
    /// As the program understands it.
    Usr2,
    /// End now.
    Kill,
}

/// Limits that the kernel keeps for a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rlimits {
    /// Files that it may have open.
    pub open_files: Option<u64>,
    /// Processes and threads that its user may have.
    pub processes: Option<u64>,
    /// Address space in MiB. Much of it is never used: give several times the memory that is meant.
    pub address_space_mb: Option<u64>,
    /// Largest core dump in MiB; 0: none.
    pub core_mb: Option<u64>,
    /// Largest file that it may write, in MiB.
    pub file_size_mb: Option<u64>,
    /// Memory that it may lock, in MiB.
    pub locked_memory_mb: Option<u64>,
    /// Largest stack in MiB.
    pub stack_mb: Option<u64>,
    /// Processor time in seconds; then it is killed.
    pub cpu_seconds: Option<u64>,
    /// Highest priority for real-time scheduling.
    pub realtime_priority: Option<u64>,
}

/// What a job's process is given: all keys decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSetup {
    /// Variables besides those of the supervisor.
    pub env: BTreeMap<String, String>,
    /// A file of such variables, read at every start.
    pub env_file: Option<PathBuf>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Permissions that new files do not get.
    pub umask: Option<u32>,
    /// `user` or `user:group` of a program.
    pub user: Option<String>,
    /// Priority.
    pub nice: Option<i32>,
    /// Cores; empty: all.
    pub cpu_affinity: Vec<u16>,
    /// Limits.
    pub rlimits: Rlimits,
    /// How a program is told to end.
    pub stop_signal: StopSignal,
}

impl ProcessSetup {
    /// The job's own keys over those of `supervisor.toml`; variables one by one, all else key by key. Each with the folder
    /// of its file.
    #[must_use]
    pub fn resolve((job, job_dir): (&SuperviseKeys, &Path), (node, node_dir): (&SuperviseKeys, &Path)) -> Self {
        let both = [&node.env, &job.env].into_iter().flatten().flatten();
        let umask = job.umask.as_ref().or(node.umask.as_ref());
        let env_file = |keys: &SuperviseKeys, dir: &Path| keys.env_file.as_ref().map(|path| dir.join(path));
        Self {
            env: both.map(|(name, value)| (name.clone(), value.clone())).collect(),
            env_file: env_file(job, job_dir).or_else(|| env_file(node, node_dir)),
            cwd: job.cwd.clone().or_else(|| node.cwd.clone()),
            umask: umask.and_then(|text| octal(text)),
            user: job.user.clone().or_else(|| node.user.clone()),
            nice: job.nice.or(node.nice),
            cpu_affinity: job.cpu_affinity.clone().or_else(|| node.cpu_affinity.clone()).unwrap_or_default(),
            rlimits: job.rlimits.clone().or_else(|| node.rlimits.clone()).unwrap_or_default(),
            stop_signal: job.stop_signal.or(node.stop_signal).unwrap_or_default(),
        }
    }
}

/// Three or four octal digits.
pub(super) fn octal(text: &str) -> Option<u32> {
    let is_digits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(text, 8).ok().filter(|mask| is_digits && *mask <= 0o777)
}
