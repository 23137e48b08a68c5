//! How much memory processes hold, and how much is left.
//!
//! Counted is what is a process's own: its anonymous memory, resident (`RssAnon`) or swapped out (`VmSwap`). Shared memory
//! is not, as the ring is mapped by every job that reads it; nor are mapped files, which the kernel can drop. A page that
//! a process shares with its forked child until one of them writes it counts for both.

use std::fs;

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
    fn this_process_holds_memory_and_the_machine_has_some() {
        let pid = std::process::id();

        assert!(own_memory(pid) > 10_000 && free_memory() > Some(10_000));
        assert_eq!(own_memory(u32::MAX), 0);
    }
}
