//! What the machine can do and what processes use of it.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;

/// Copied at a time, and how many of these make the round: more than any cache holds.
const BLOCK: usize = 1 << 20;
const BLOCKS: usize = 256;

/// Rounds, of which the fastest counts.
const ROUNDS: usize = 3;

/// Bytes a second that one thread copies: 1 MiB blocks, walking through 256 MiB of source and of destination.
pub(super) fn memcpy_bytes_per_s() -> f64 {
    // Written once, so that each page has memory of its own.
    let source = vec![1u8; BLOCK * BLOCKS];
    let mut target = vec![2u8; BLOCK * BLOCKS];
    let mut round = || {
        let begin = Instant::now();
        for (to, from) in target.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK)) {
            black_box(to).copy_from_slice(black_box(from));
        }
        begin.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let bytes = (BLOCK * BLOCKS) as f64;
    bytes / best.as_secs_f64().max(1e-9)
}

/// What processes have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Processor time.
    pub(super) cpu: Duration,
    /// Memory of their own: neither shared memory nor what was not touched.
    pub(super) private_bytes: u64,
}

/// What these processes have used together; those that are gone count nothing.
pub(super) fn used_by(pids: impl IntoIterator<Item = u32>) -> Use {
    let read = |pid: u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.into_iter().fold(Use::default(), |sum, pid| Use {
        cpu: sum.cpu + ticks(cpu_ticks(&read(pid, "stat"))),
        private_bytes: sum.private_bytes + private_bytes(&read(pid, "status")),
    })
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_secs(1).saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
        / u32::try_from(clock_ticks_per_second()).unwrap_or(100)
}

/// `pid (name) state ppid …`: utime and stime are the 14th and 15th field.
fn cpu_ticks(stat: &str) -> u64 {
    let Some((_, after_name)) = stat.rsplit_once(')') else { return 0 };
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// `RssAnon` and `RssFile`, in kB.
fn private_bytes(status: &str) -> u64 {
    let of = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let kilobytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
        matches!(name, "RssAnon" | "RssFile").then_some(1024 * kilobytes)
    };
    status.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_it_is() {
        assert_eq!(cpu_ticks("7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20 0"), 154);
        assert_eq!(
            private_bytes("Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t  11 kB\nRssShmem:\t  900 kB\n"),
            111 * 1024
        );
        let own = used_by([std::process::id()]);
        assert!(own.private_bytes > 100_000, "{own:?}");
        assert_eq!(used_by([0]), Use::default());
    }
}
