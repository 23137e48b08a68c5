//! The table of processes, as `/proc` shows it, and signals that reach the one that is meant and no other.
//!
//! Invariant: a pid alone names nobody, since numbers come back; with the time of its start it is an [`Identity`], and a
//! signal goes through a descriptor of the process whose identity was looked at again after it was opened.

use std::fs::{self, File};
use std::io::{self, Read};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// More than this of a line of `/proc/PID/stat` nobody needs here; a name has at most 64 bytes.
const STAT_BYTES: usize = 1024;

/// A process, and none that has its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its number.
    pub(crate) pid: u32,
    /// When it began, in ticks since the system did.
    pub(crate) start_time: u64,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Who.
    pub(crate) identity: Identity,
    /// Its parent.
    pub(crate) parent: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// Its session.
    pub(crate) session: u32,
    /// What it does: `R`, `S`, `D`, `T`, `Z` …
    pub(crate) state: char,
    /// How many threads it has.
    threads: u32,
    /// The first 15 bytes of its program's name.
    pub(crate) name: String,
}

impl Row {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Whether it still does something. A process whose first thread has ended looks like a zombie, but its others work.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }

    /// Whether it has ended and waits for its parent to hear of it.
    pub(crate) fn is_zombie(&self) -> bool {
        self.state == 'Z' && !self.runs()
    }

    /// The line of a process; `None` if there is none of that number, or it cannot be read.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::read(pid).ok().flatten()
    }

    /// `pid (name) state ppid pgrp session …`; field 20 counts the threads, 22 is the start.
    fn read(pid: u32) -> io::Result<Option<Self>> {
        let mut bytes = [0; STAT_BYTES];
        let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut bytes));
        match read {
            Ok(count) => Ok(Self::parse(&String::from_utf8_lossy(&bytes[..count]))),
            Err(error) if is_none_of_ours(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(stat: &str) -> Option<Self> {
        let (head, tail) = stat.rsplit_once(')')?;
        let (pid, name) = head.split_once(" (")?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        Some(Self {
            identity: Identity { pid: pid.parse().ok()?, start_time: fields.get(19)?.parse().ok()? },
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            state: fields.first()?.chars().next()?,
            threads: number(17)?,
            name: name.to_owned(),
        })
    }
}

impl Identity {
    /// Of the process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Row::of(pid).map(|row| row.identity)
    }
}

/// An end while it was being read, or a stranger's process where `/proc` is mounted with `hidepid`.
fn is_none_of_ours(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EPERM | libc::EACCES))
}

/// All processes that can be seen. What forks while this reads can be missed.
///
/// # Errors
/// `/proc` cannot be read: no descriptors. Nothing is known then.
pub(crate) fn processes() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        rows.extend(Row::read(pid)?);
    }
    Ok(rows)
}

/// Sends a signal to this process; `false` if it is gone, or may not be signalled.
pub(crate) fn signal(who: Identity, signal: Signal) -> bool {
    let send = || {
        let pid = i32::try_from(who.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        // It ran before the descriptor was opened and has run since: the descriptor is its.
        if Identity::of(who.pid) != Some(who) {
            return Err(Errno::SRCH);
        }
        pidfd_send_signal(&fd, signal)
    };
    send().is_ok()
}

/// The environment with which a process's program was started.
#[derive(Debug)]
pub(crate) struct Environment(Vec<u8>);

impl Environment {
    /// Of the process of this number; empty where it cannot be read, and for a moment while the process starts a program.
    pub(crate) fn of(pid: u32) -> Self {
        Self(fs::read(format!("/proc/{pid}/environ")).unwrap_or_default())
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.split(|&byte| byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok()
        })
    }
}

/// Where in the kernel it waits, as far as that is told.
pub(crate) fn kernel_wait_of(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/wchan")).ok()?;
    Some(text).filter(|text| !text.is_empty() && text != "0")
}

/// Whether a process holds this file open; `false` too where its descriptors cannot be seen.
pub(crate) fn holds_open(pid: u32, is_it: impl Fn(&std::path::Path) -> bool) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|path| is_it(&path))
}

/// New at every start of the machine; empty where it is not told.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_hides_nothing() {
        let numbers = (9..22).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let row = Row::parse(&format!("42 (a) S (b 7) S 1 40 41 {} {numbers} 99 100", 0)).unwrap();

        assert_eq!((row.pid(), row.name.as_str(), row.state), (42, "a) S (b 7", 'S'));
        assert_eq!((row.parent, row.group, row.session), (1, 40, 41));
    }

    #[test]
    fn a_process_is_signalled_by_its_identity_only() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let who = Identity::of(child.id()).unwrap();
        let stranger = Identity { start_time: who.start_time + 1, ..who };

        assert!(!signal(stranger, Signal::KILL));
        assert!(Row::of(who.pid).unwrap().runs());
        assert!(signal(who, Signal::KILL));

        child.wait().unwrap();
        assert!(!signal(who, Signal::KILL));
    }

    #[test]
    fn the_table_has_this_process_and_its_environment() {
        let me = Row::of(std::process::id()).unwrap();

        assert!(processes().unwrap().iter().any(|row| row.identity == me.identity));
        assert_eq!(Environment::of(me.pid()).get("PATH"), std::env::var("PATH").ok().as_deref());
    }
}
