//! The newest lines of each job, in memory, and its counts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control::LogCounts;
use crate::telemetry::Said;

/// Lines that are kept of each job at least, where it has said as many; and what they take at most, in bytes, but for
/// what came at one time.
const KEPT_LINES: u64 = 1000;
const KEPT_BYTES: usize = 256 << 10;

/// Numbers all lines of all jobs, from 1, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<u64>);

impl Numbers {
    /// The number of the last line; no line comes while it is held.
    pub(super) fn hold(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one job said; clones are the same.
#[derive(Debug, Clone)]
pub(in crate::supervisor) struct JobLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    kept: Mutex<Kept>,
    lines: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    /// Dropped on the way to the files, and not told there yet.
    lost: AtomicU64,
    /// The files are to tell of it although nothing else comes.
    is_loser: AtomicBool,
}

/// What is in memory.
#[derive(Debug, Default, Clone)]
pub(super) struct Kept {
    /// Each with the number of its first line.
    pub(super) said: VecDeque<(u64, Arc<Said>)>,
    pub(super) lines: u64,
    /// Lines that there were before.
    pub(super) forgotten: u64,
    bytes: usize,
}

impl JobLog {
    /// An empty one.
    pub(in crate::supervisor) fn of(name: &str) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            kept: Mutex::default(),
            lines: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            is_loser: AtomicBool::new(false),
        }))
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Keeps it as the newest.
    pub(super) fn keep(&self, said: Arc<Said>, numbers: &Numbers) {
        self.0.lines.fetch_add(said.lines(), Relaxed);
        let mut last = numbers.hold();
        let first = *last + 1;
        *last += said.lines();
        self.kept().push(first, said);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in memory now.
    pub(super) fn snapshot(&self) -> Kept {
        self.kept().clone()
    }

    /// What became of its lines.
    pub(in crate::supervisor) fn counts(&self) -> LogCounts {
        let Inner { lines, written, dropped, .. } = &*self.0;
        LogCounts { lines: lines.load(Relaxed), written: written.load(Relaxed), dropped: dropped.load(Relaxed) }
    }

    pub(super) fn note_written(&self, lines: u64) {
        self.0.written.fetch_add(lines, Relaxed);
    }

    pub(super) fn note_dropped(&self, lines: u64) {
        self.0.dropped.fetch_add(lines, Relaxed);
    }

    /// Dropped on the way to the files.
    pub(super) fn note_lost(&self, lines: u64) {
        self.0.lost.fetch_add(lines, Relaxed);
        self.note_dropped(lines);
    }

    /// Takes what was lost on the way to the files since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.0.lost.swap(0, Relaxed)
    }

    /// Notes whether it is on the list of losers; `true` if that is new.
    pub(super) fn list_as_loser(&self, is_loser: bool) -> bool {
        self.0.is_loser.swap(is_loser, Relaxed) != is_loser
    }
}

impl Kept {
    fn push(&mut self, first: u64, said: Arc<Said>) {
        self.bytes += said.bytes();
        self.lines += said.lines();
        self.said.push_back((first, said));
        while let (Some((_, oldest)), Some(_)) = (self.said.front(), self.said.get(1)) {
            let (bytes, lines) = (oldest.bytes(), oldest.lines());
            if self.lines - lines < KEPT_LINES && self.bytes <= KEPT_BYTES {
                break;
            }
            self.bytes -= bytes;
            self.lines -= lines;
            self.forgotten += lines;
            self.said.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_the_others_counted() {
        let (log, numbers) = (JobLog::of("a"), Numbers::default());
        for n in 0..KEPT_LINES + 7 {
            log.keep(Arc::new(Said::now("a".into(), format!("{n}\n").into_bytes())), &numbers);
        }

        let kept = log.snapshot();

        assert_eq!((kept.lines, kept.forgotten), (KEPT_LINES, 7));
        assert_eq!(kept.said.front().map(|(first, _)| *first), Some(8));
        assert_eq!(log.counts().lines, KEPT_LINES + 7);
    }

    #[test]
    fn long_lines_are_forgotten_for_their_bytes() {
        let (log, numbers) = (JobLog::of("a"), Numbers::default());
        for _ in 0..100 {
            log.keep(Arc::new(Said::now("a".into(), [vec![b'x'; 9999], vec![b'\n']].concat())), &numbers);
        }

        assert_eq!(log.snapshot().lines, 26);
    }
}
