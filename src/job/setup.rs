//! What a job's process does to itself first, while it has one thread: its control group, directory, umask, priority, cores,
//! limits.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::spec::JobSpec;
use crate::config::Rlimits;
use crate::os::{Cgroup, Resource, hard_limit, set_cores, set_limit, set_nice, set_umask};

/// A step that the system refused.
#[derive(Debug, Error)]
pub(super) enum SetupError {
    /// The working directory.
    #[error("`cwd` {dir} cannot be entered")]
    Cwd {
        /// What was asked.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The priority.
    #[error("`nice = {nice}` is refused: only root may have a higher priority than it was given")]
    Nice {
        /// What was asked.
        nice: i32,
        /// Why not.
        source: io::Error,
    },
    /// The cores.
    #[error("`cpu_affinity = {cores:?}` is refused: none of these cores may be used here")]
    Cores {
        /// What was asked.
        cores: Vec<u16>,
        /// Why not.
        source: io::Error,
    },
    /// A limit.
    #[error("`rlimits.{key}` = {value} is refused: the system allows at most {allowed}")]
    Limit {
        /// Which.
        key: &'static str,
        /// What was asked, as the system counts it.
        value: u64,
        /// The hard limit.
        allowed: String,
        /// Why not.
        source: io::Error,
    },
}

/// How far a process has come with itself.
#[derive(Debug)]
pub(super) struct Setup {
    /// Without its control group it works too; its descendants can hide then.
    pub(super) outside: Option<io::Error>,
    /// Without the rest it is not what was asked for.
    pub(super) result: Result<(), SetupError>,
}

/// Sets this process up. `has_limits`: the limits are for this process, not for a program that it starts.
pub(super) fn set_up(spec: &JobSpec, has_limits: bool) -> Setup {
    let cgroup = spec.cgroup.clone().map(Cgroup::at);
    let outside = cgroup.and_then(|cgroup| cgroup.enter().err());
    Setup { outside, result: set_rest(spec, has_limits) }
}

fn set_rest(spec: &JobSpec, has_limits: bool) -> Result<(), SetupError> {
    let setup = &spec.process;
    // Here and not in the supervisor: a directory of a server that is gone holds up whoever enters it.
    if let Some(dir) = &setup.cwd {
        std::env::set_current_dir(dir).map_err(|source| SetupError::Cwd { dir: dir.clone(), source })?;
    }
    if let Some(mask) = setup.umask {
        set_umask(mask);
    }
    if let Some(nice) = setup.nice {
        set_nice(nice).map_err(|source| SetupError::Nice { nice, source })?;
    }
    if !setup.cpu_affinity.is_empty() {
        let cores = setup.cpu_affinity.clone();
        set_cores(&cores).map_err(|source| SetupError::Cores { cores, source })?;
    }
    if has_limits { set_limits(&setup.rlimits) } else { Ok(()) }
}

impl SetupError {
    /// What the system said.
    pub(super) fn cause(&self) -> &io::Error {
        match self {
            Self::Cwd { source, .. }
            | Self::Nice { source, .. }
            | Self::Cores { source, .. }
            | Self::Limit { source, .. } => source,
        }
    }
}

/// Gives this process its limits; what runs a program of others calls it in that program's process.
///
/// # Errors
/// The first that is refused.
pub(super) fn set_limits(limits: &Rlimits) -> Result<(), SetupError> {
    let mib = |size: Option<u64>| size.map(|size| size.saturating_mul(1 << 20));
    let all = [
        ("open_files", Resource::Nofile, limits.open_files),
        ("processes", Resource::Nproc, limits.processes),
        ("address_space_mb", Resource::As, mib(limits.address_space_mb)),
        ("core_mb", Resource::Core, mib(limits.core_mb)),
        ("file_size_mb", Resource::Fsize, mib(limits.file_size_mb)),
        ("locked_memory_mb", Resource::Memlock, mib(limits.locked_memory_mb)),
        ("stack_mb", Resource::Stack, mib(limits.stack_mb)),
        ("cpu_seconds", Resource::Cpu, limits.cpu_seconds),
        ("realtime_priority", Resource::Rtprio, limits.realtime_priority),
    ];
    all.into_iter().filter_map(|(key, resource, value)| Some((key, resource, value?))).try_for_each(
        |(key, resource, value)| {
            set_limit(resource, value).map_err(|source| {
                let allowed = hard_limit(resource).map_or_else(|| "any".into(), |limit| limit.to_string());
                SetupError::Limit { key, value, allowed, source }
            })
        },
    )
}
