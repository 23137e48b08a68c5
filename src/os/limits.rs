//! What a process asks of the kernel for itself before it begins: umask, priority, cores, limits.
//!
//! To be called while there is one thread: priority and cores belong to a thread, and later ones inherit them.

use std::io;

use rustix::fs::Mode;
use rustix::process::{Rlimit, getrlimit, setpriority_process, setrlimit, umask};
use rustix::thread::{CpuSet, sched_setaffinity};

pub(crate) use rustix::process::Resource;

/// Sets the permissions that new files do not get.
pub(crate) fn set_umask(mask: u32) {
    umask(Mode::from_raw_mode(mask));
}

/// Sets the priority.
///
/// # Errors
/// The system's: only root may have a higher one.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    Ok(setpriority_process(None, nice)?)
}

/// Sets the cores on which this process may run.
///
/// # Errors
/// The system's: none of them is there, or allowed.
pub(crate) fn set_cores(cores: &[u16]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores.iter().copied().map(usize::from) {
        if core >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Sets a limit, soft and hard.
///
/// # Errors
/// The system's: only root may have more than the hard limit.
pub(crate) fn set_limit(resource: Resource, value: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?)
}

/// The hard limit; `None`: any.
pub(crate) fn hard_limit(resource: Resource) -> Option<u64> {
    getrlimit(resource).maximum
}
