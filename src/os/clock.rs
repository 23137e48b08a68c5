//! Clocks, and what this process has used of the machine.

use std::fs;
use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the Unix epoch, as the envelope carries them.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A time as people read it: ISO 8601 in local time with its offset, to the millisecond.
fn iso(time: &Zoned) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// A time, as [`iso`] writes it.
pub(crate) fn iso_at(time: Timestamp) -> String {
    iso(&time.to_zoned(TimeZone::system()))
}

/// Now, as [`iso`] writes it.
pub(crate) fn iso_now() -> String {
    iso_at(Timestamp::now())
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time of all its threads.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes, without the shared memory of the ring.
    pub(crate) rss_bytes: u64,
}

/// What this process has used so far. Where `/proc` is missing, its memory is given as 0.
pub(crate) fn usage() -> Usage {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
    };
    Usage {
        cpu: Duration::new(u64::try_from(cpu.tv_sec).unwrap_or(0), u32::try_from(cpu.tv_nsec).unwrap_or(0)),
        rss_bytes: bytes("VmRSS:").saturating_sub(bytes("RssShmem:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let usage = usage();

        assert!(usage.rss_bytes > 100_000, "{usage:?}");
        assert!(usage.cpu > Duration::ZERO, "{usage:?}");
    }

    #[test]
    fn a_time_is_written_with_its_offset() {
        let time = Timestamp::from_millisecond(1_790_000_000_123).unwrap().to_zoned(TimeZone::UTC);

        assert_eq!(iso(&time), "2026-09-21T14:13:20.123+00:00");
    }
}
