//! Child processes: their ends, their groups, and what a child does to itself before it begins.
//!
//! A [`Process`] is signalled only until it is reaped, so its pid and its group's number cannot be somebody else's then.

#![expect(unsafe_code, reason = "prctl, close_range, registering a pidfd")]

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getpgrp, getpid, getppid, getrlimit,
    kill_process_group, pidfd_open, set_child_subreaper, setrlimit, waitid,
};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

/// How often an end is looked for where it cannot be watched, for want of descriptors.
const BLIND_POLL: Duration = Duration::from_millis(100);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChildEnd {
    /// By itself, with this status.
    Code(i32),
    /// By this signal; a core may have been written.
    Signal {
        /// Its number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

impl ChildEnd {
    /// Whether it was SIGTERM that ended it: so ends who is asked before it can hear.
    pub(crate) fn is_terminated(self) -> bool {
        matches!(self, Self::Signal { signal: libc::SIGTERM, .. })
    }
}

impl fmt::Display for ChildEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal { signal, core_dumped } => {
                write!(f, "killed by {}", signal_name(signal))?;
                if core_dumped { f.write_str(", core dumped") } else { Ok(()) }
            }
        }
    }
}

fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// What is done to a whole process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupSignal {
    /// SIGTERM: please end.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A child of ours that leads its own process group, not yet reaped.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    fd: OwnedFd,
    /// Held while the group is signalled, and while it is reaped: never both at once.
    is_reaped: Mutex<bool>,
}

impl Process {
    /// Takes charge of a child that was just spawned with a process group of its own.
    ///
    /// # Errors
    /// `pidfd_open`'s: no descriptor left, or a kernel before 5.3.
    pub(crate) fn adopt(pid: u32) -> std::io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, fd, is_reaped: Mutex::new(false) })
    }

    /// Its process id, also the number of its group.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it has ended, without reaping it. An end that cannot be read, as somebody else reaped it, comes as
    /// signal 0. To be called on a tokio runtime.
    pub(crate) async fn ended(&self) -> ChildEnd {
        const UNKNOWN: ChildEnd = ChildEnd::Signal { signal: 0, core_dumped: false };
        let watched = self.fd.try_clone().ok().and_then(|fd| {
            // SAFETY: the `AsyncFd` owns this descriptor, and an `OwnedFd` keeps its number until it is dropped.
            unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
        });
        loop {
            match self.peek_end() {
                Ok(Some(end)) => return end,
                Ok(None) => {}
                Err(_) => return UNKNOWN,
            }
            match &watched {
                Some(watched) => match watched.readable().await {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(_) => tokio::time::sleep(BLIND_POLL).await,
                },
                None => tokio::time::sleep(BLIND_POLL).await,
            }
        }
    }

    /// How it ended, without reaping it; `None` while it runs.
    fn peek_end(&self) -> std::io::Result<Option<ChildEnd>> {
        self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }

    /// Reaps it; only when its group is empty, as the number is free afterwards.
    ///
    /// # Errors
    /// `waitid`'s: somebody else has reaped it.
    pub(crate) fn reap(&self) -> std::io::Result<Option<ChildEnd>> {
        let mut is_reaped = self.is_reaped.lock();
        *is_reaped = true;
        self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    fn wait(&self, options: WaitIdOptions) -> std::io::Result<Option<ChildEnd>> {
        let Some(status) = waitid(WaitId::PidFd(self.fd.as_fd()), options)? else { return Ok(None) };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ChildEnd::Code(code),
            (None, signal) => ChildEnd::Signal { signal: signal.unwrap_or(0), core_dumped: status.dumped() },
        };
        Ok(Some(end))
    }

    /// Signals it alone; `false` if it is gone, or may not be signalled.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        rustix::process::pidfd_send_signal(&self.fd, signal).is_ok()
    }

    /// Signals all of its group, itself included.
    pub(crate) fn signal_group(&self, signal: GroupSignal) {
        let signal = match signal {
            GroupSignal::Terminate => Signal::TERM,
            GroupSignal::Kill => Signal::KILL,
        };
        let is_reaped = self.is_reaped.lock();
        if !*is_reaped {
            kill_process_group(self.pid, signal).ok();
        }
    }
}

/// In a child: SIGTERM to us when the thread that spawned us dies; `false` if our parent is already another one.
pub(crate) fn die_with_parent(expected_parent: u32) -> bool {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    has_parent(expected_parent)
}

/// Whether the process that started us is still there.
pub(crate) fn has_parent(expected_parent: u32) -> bool {
    getppid().is_some_and(|parent| parent.as_raw_nonzero().get().unsigned_abs() == expected_parent)
}

/// In a child, before anything is opened: closes all descriptors but the standard three.
pub(crate) fn close_other_descriptors() {
    // SAFETY: no descriptor above 2 belongs to any value of this process yet; the caller runs first thing in `main`.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Raises this process's limit of descriptors as far as the system allows.
///
/// # Errors
/// What is allowed, where that is less than needed.
pub(crate) fn raise_descriptor_limit(needed: u64) -> Result<(), u64> {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if allowed < needed {
        return Err(allowed);
    }
    // As many as allowed, within reason: some programs close them all one by one.
    let wanted = allowed.min(needed.max(65_536));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).map_err(|_| allowed)?;
    }
    Ok(())
}

/// Makes this process the parent of what its descendants leave behind.
///
/// # Errors
/// The system's: a kernel before 3.4.
pub(crate) fn adopt_orphans() -> std::io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Reaps a child that has ended and whose end nobody waits for; `false` if it has not ended, or is no child of ours.
pub(crate) fn reap_orphan(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    matches!(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG), Ok(Some(_)))
}

/// Kills this process and all of its group.
pub(crate) fn kill_own_group() {
    kill_process_group(getpgrp(), Signal::KILL).ok();
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[expect(clippy::zombie_processes, reason = "each test reaps it by its pidfd")]
    fn shell(script: &str) -> Process {
        let child = Command::new("sh").args(["-c", script]).process_group(0).stdin(Stdio::null()).spawn().unwrap();
        Process::adopt(child.id()).unwrap()
    }

    fn wait_for_end(process: &Process) -> ChildEnd {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(process.ended())
    }

    #[test]
    fn an_end_is_seen_before_it_is_reaped() {
        let process = shell("exit 7");

        assert_eq!(wait_for_end(&process), ChildEnd::Code(7));
        assert_eq!(process.reap().unwrap(), Some(ChildEnd::Code(7)));
    }

    #[test]
    fn a_group_is_empty_only_when_grandchildren_are_gone() {
        let process = shell("sleep 1000 & exit 0");
        let group = || {
            let rows = crate::os::processes().unwrap();
            rows.into_iter().filter(|row| row.group == process.pid() && row.runs()).count()
        };
        wait_for_end(&process);
        assert_eq!(group(), 1);

        process.signal_group(GroupSignal::Kill);

        while group() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(process.reap().unwrap(), Some(ChildEnd::Code(0)));
    }

    #[test]
    fn a_killed_process_names_its_signal() {
        let process = shell("kill -9 $$");

        assert_eq!(wait_for_end(&process).to_string(), "killed by SIGKILL");
    }
}
