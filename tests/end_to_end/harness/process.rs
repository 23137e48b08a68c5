//! Processes as the system shows them.

use std::fs;

use rustix::process::{Pid, kill_process};

pub(crate) use rustix::process::Signal;

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) group: u32,
    pub(crate) name: String,
}

/// Signals a process that the test has started, or that a process of its has.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

/// All processes that run with this variable.
pub(super) fn with_environment(variable: &str) -> Vec<Process> {
    let has_it = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
    };
    let entries = fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| has_it(pid)).filter_map(look).collect()
}

/// A variable of the environment with which a process was started.
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let of = |entry: &[u8]| {
        String::from_utf8_lossy(entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?).into_owned().into()
    };
    environment.split(|&byte| byte == 0).find_map(of)
}

/// `pid (name) state ppid pgrp …`; `None` for one that has ended.
fn look(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let (state, group) = (fields.next()?, fields.nth(1)?.parse().ok()?);
    let name = head.split_once('(')?.1.to_owned();
    (!matches!(state, "Z" | "X")).then_some(Process { pid, group, name })
}

/// The most memory that a process ever had, in 10⁶ bytes.
pub(crate) fn memory_peak_mb(pid: u32) -> u64 {
    memory_mb(pid, "VmHWM:")
}

/// What a process has of its own: without the program's text, which all processes share. In 10⁶ bytes.
pub(crate) fn private_memory_mb(pid: u32) -> u64 {
    memory_mb(pid, "RssAnon:")
}

fn memory_mb(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") * 1024 / 1_000_000
}

/// Whether a process is suspended: SIGSTOP takes effect some time after it was sent.
pub(crate) fn is_suspended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, tail)| tail.trim_start().starts_with('T'))
}
