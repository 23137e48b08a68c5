//! How much memory processes hold, and how much is left.
//!
//! Counted is what is a process's own: its anonymous memory, resident (`RssAnon`) or swapped out (`VmSwap`). Shared memory
//! is not, as the ring is mapped by every job that reads it; nor are mapped files, which the kernel can drop. A page that
//! a process shares with its forked child until one of them writes it counts for both.

use std::collections::{HashMap, HashSet};
use std::fs;

/// All processes, each with its parent and its group.
#[derive(Debug, Default)]
pub(super) struct Processes(HashMap<u32, (u32, u32)>);

impl Processes {
    /// As they are now.
    pub(super) fn now() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(pids.filter_map(|pid| Some((pid, look(pid)?))).collect())
    }

    /// A leader, its group, and all that descend from these.
    pub(super) fn tree_of(&self, leader: u32) -> HashSet<u32> {
        let mut tree: HashSet<u32> =
            self.0.iter().filter(|(_, (_, group))| *group == leader).map(|(&pid, _)| pid).collect();
        loop {
            let children = self.0.iter().filter(|(pid, (parent, _))| tree.contains(parent) && !tree.contains(pid));
            let children: Vec<u32> = children.map(|(&pid, _)| pid).collect();
            if children.is_empty() {
                return tree;
            }
            tree.extend(children);
        }
    }
}

/// Parent and group, by `/proc/PID/stat`: `pid (name) state ppid pgrp …`.
fn look(pid: u32) -> Option<(u32, u32)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// What of a process's memory is its own, in bytes; 0 for one that is gone.
pub(super) fn own_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    ["RssAnon:", "VmSwap:"].into_iter().filter_map(|key| kilobytes(&status, key)).sum::<u64>() << 10
}

/// What can still be given to processes: of the machine, or of the control group that we are in, if that is less.
pub(super) fn free_memory() -> Option<u64> {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemAvailable:"));
    let of_group = free_of_group();
    host.map(|kilobytes| kilobytes << 10).into_iter().chain(of_group).min()
}

/// The least that a control group above us (version 2) still allows; what the kernel can drop counts as free.
fn free_of_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let number = |text: String| text.trim().parse::<u64>().ok();
    let parents = std::path::Path::new(path).ancestors().map(|path| std::path::Path::new("/sys/fs/cgroup").join(path));
    let free = parents.filter_map(|group| {
        let read = |file: &str| fs::read_to_string(group.join(file)).ok();
        let most = read("memory.max").and_then(number)?;
        let used = read("memory.current").and_then(number)?;
        let stat = read("memory.stat").unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
        Some(most.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
    });
    free.min()
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_a_group_and_all_that_descend_from_it() {
        let list = [(10, (1, 10)), (11, (10, 10)), (12, (11, 12)), (13, (12, 12)), (14, (1, 10)), (20, (1, 20))];
        let processes = Processes(list.into_iter().collect());

        assert_eq!(processes.tree_of(10), HashSet::from([10, 11, 12, 13, 14]));
        assert_eq!(processes.tree_of(99), HashSet::new());
    }

    #[test]
    fn this_process_holds_memory_and_the_machine_has_some() {
        let pid = std::process::id();

        assert!(Processes::now().0.contains_key(&pid));
        assert!(own_memory(pid) > 10_000 && free_memory() > Some(10_000));
        assert_eq!(own_memory(u32::MAX), 0);
    }
}
