//! Facts about processes: orphans, control groups, the roll, and what a former supervisor has left.

use std::io;
use std::path::Path;

/// A process whose parent has died, and which is our child now.
pub(crate) enum OrphanSeen<'a> {
    /// A job's, which runs.
    Adopted { job: &'a str, process: &'a str, pid: u32 },
    /// A job's that has ended: it is killed.
    Late { job: &'a str, process: &'a str, pid: u32 },
    /// Nobody can tell whose.
    Unknown { process: &'a str, pid: u32 },
}

impl OrphanSeen<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Adopted { job, process, pid } => {
                tracing::info!(
                    "[{job}] {process} (pid {pid}) runs on without the process that started it; it ends with the job"
                );
            }
            Self::Late { job, process, pid } => {
                tracing::warn!("[{job}] {process} (pid {pid}) is still there, though the job has ended: killing it");
            }
            Self::Unknown { process, pid } => {
                tracing::warn!(
                    "{process} (pid {pid}) was left by a process that has ended, and no job can be told: it is not touched"
                );
            }
        }
    }
}

/// The process table cannot be read.
pub(crate) struct TableUnreadable<'a> {
    pub(crate) error: &'a io::Error,
}

impl TableUnreadable<'_> {
    pub(crate) fn emit(self) {
        tracing::error!(
            "the table of processes cannot be read, so that nobody can say whether what a job has started has ended: no \
             job that ends is gone until it can: {}",
            self.error
        );
    }
}

/// Whether the processes of jobs are held together by the kernel.
pub(crate) enum CgroupsUsed<'a> {
    Yes { dir: &'a Path, has_memory: bool },
    No { why: &'a str },
}

impl CgroupsUsed<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Yes { dir, has_memory } => {
                let memory = if has_memory { "and limits of memory" } else { "without limits of memory" };
                tracing::debug!("jobs have control groups below {}, {memory}", dir.display());
            }
            Self::No { why } => tracing::info!("jobs have no control groups: {why}"),
        }
    }
}

/// A start of a job has no control group.
pub(crate) struct CgroupRefused<'a> {
    pub(crate) job: &'a str,
    pub(crate) error: &'a io::Error,
}

impl CgroupRefused<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!("[{}] no control group could be made, it starts without: {}", self.job, self.error);
    }
}

/// The file that names the processes, for the case that the supervisor dies.
pub(crate) enum RollTrouble<'a> {
    Unwritable { path: &'a Path, error: &'a io::Error },
    Unreadable { path: &'a Path, error: &'a io::Error },
}

impl RollTrouble<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Unwritable { path, error } => tracing::warn!(
                "cannot write {}, which names the processes of the jobs, and try again: {error}",
                path.display()
            ),
            Self::Unreadable { path, error } => tracing::warn!(
                "cannot read {}, which names the processes of a former start: looking for them without it: {error}",
                path.display()
            ),
        }
    }
}

/// What a former start of the supervisor, which died, has left.
pub(crate) enum Swept<'a> {
    /// These were found.
    Found { what: &'a str, count: usize },
    /// They are gone.
    Gone { ended: usize, killed: usize },
    /// They do not go.
    Left { what: &'a str },
    /// It cannot be told.
    Blind { error: &'a io::Error },
}

impl Swept<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Found { what, count } => {
                tracing::warn!(
                    "a former start of this supervisor has left {count} processes, waiting for their end: {what}"
                );
            }
            Self::Gone { ended, killed } => {
                tracing::info!("what a former start had left is gone: {ended} ended, {killed} killed");
            }
            Self::Left { what } => tracing::error!(
                "of a former start these do not go, not even by SIGKILL; jobs wait for what they hold: {what}"
            ),
            Self::Blind { error } => {
                tracing::error!("cannot look for what a former start has left, jobs wait for what it holds: {error}");
            }
        }
    }
}
