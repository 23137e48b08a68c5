//! What jobs say: read without ever making them wait, kept for `enrgdaq logs`, passed on to the supervisor's own log.
//!
//! Invariants: a line has at most 16 KiB, a longer one comes in pieces; of each job the newest lines are kept, older
//! ones are forgotten and counted; bytes that are no UTF-8 are shown as such, never refused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::job::LogLine;
use crate::telemetry::JobSaid;

/// Lines that are kept of each job, and their text in bytes.
const KEPT_LINES: usize = 1000;
const KEPT_BYTES: usize = 256 << 10;

/// The longest line, in bytes.
const MAX_LINE: usize = 16 << 10;

/// The newest lines of one job; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct JobLog(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    forgotten: u64,
}

impl JobLog {
    fn push(&self, line: LogLine) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += line.message.len();
        kept.lines.push_back(line);
        while kept.lines.len() > KEPT_LINES || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.message.len();
            kept.forgotten += 1;
        }
    }

    /// The newest lines, at most so many, oldest first; and how many older ones there were.
    pub(super) fn newest(&self, count: usize) -> (Vec<LogLine>, u64) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = kept.lines.len().saturating_sub(count);
        (kept.lines.iter().skip(skipped).cloned().collect(), kept.forgotten + skipped as u64)
    }
}

/// Reads one pipe of a job until nobody holds its other end.
pub(super) async fn capture(mut pipe: pipe::Receiver, job: Arc<str>, log: JobLog) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; 8 << 10];
    let note = |bytes: &[u8]| {
        let line = LogLine::parse(&String::from_utf8_lossy(bytes));
        JobSaid { job: &job, line: &line }.emit();
        log.push(line);
    };
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        lines.take(&buffer[..count], note);
        // A job that never stops talking must not keep the supervisor's one thread.
        tokio::task::yield_now().await;
    }
    lines.end(note);
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], mut note: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for part in text.chunks(MAX_LINE) {
                if self.begun.len() + part.len() > MAX_LINE {
                    note(&std::mem::take(&mut self.begun));
                }
                self.begun.extend_from_slice(part);
            }
            if is_whole {
                note(&std::mem::take(&mut self.begun));
            }
        }
    }

    /// What stands after the last line's end.
    fn end(self, mut note: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            note(&self.begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.take(chunk, |line| found.push(line.to_vec()));
        }
        lines.end(|line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn a_line_may_come_in_pieces_and_the_last_without_its_end() {
        assert_eq!(lines_of(&[b"ab", b"c\n\nde", b"f"]), [&b"abc"[..], b"", b"def"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; 3 * MAX_LINE + 5];

        let lengths: Vec<_> = lines_of(&[&long]).iter().map(Vec::len).collect();

        assert_eq!(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 5]);
    }

    #[test]
    fn the_newest_lines_are_kept_and_the_others_counted() {
        let log = JobLog::default();
        for n in 0..KEPT_LINES + 7 {
            log.push(LogLine::parse(&n.to_string()));
        }

        let (lines, older) = log.newest(2);

        assert_eq!(lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["1005", "1006"]);
        assert_eq!(older, 1005);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..10)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut all = chunks.concat();
            if all.last() == Some(&b'\n') {
                all.pop();
            } else if all.is_empty() {
                prop_assert!(lines_of(&chunks).is_empty());
                return Ok(());
            }
            prop_assert_eq!(lines_of(&chunks).join(&b'\n'), all);
        }
    }
}
