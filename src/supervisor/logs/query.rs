//! What `enrgdaq logs` asks for: the newest lines, those since a time, those after one that was seen.

use super::kept::Kept;
use super::{JobLog, Logs};
use crate::control::{LogQuery, LoggedLine, Reply};

/// Lines of an answer.
const MOST_LINES: usize = 10_000;

impl Logs {
    /// Finds lines of these logs, in the order in which they came.
    pub(in crate::supervisor) fn find(&self, logs: &[&JobLog], query: &LogQuery) -> Reply {
        let last = self.shared.numbers.hold();
        let kept: Vec<_> = logs.iter().map(|log| (log.name().clone(), log.snapshot())).collect();
        let last_number = *last;
        drop(last);
        let pages = kept.iter().flat_map(|(job, kept)| kept.said.iter().map(move |(first, said)| (*first, job, said)));
        let mut pages: Vec<_> = pages.collect();
        pages.sort_by_key(|(first, ..)| *first);
        let all: u64 = kept.iter().map(|(_, kept)| kept.forgotten + kept.lines).sum();
        let is_meant = |at_ns: i64| query.since.is_none_or(|since| at_ns / 1_000_000 >= since);
        let seen = query.after.unwrap_or(0);
        // Which lines, before any of them is read: the first number and how many to pass over, of each page.
        let pages =
            pages.into_iter().filter(|(first, _, said)| is_meant(said.at_ns) && first + said.lines() > seen + 1);
        let mut pages: Vec<_> =
            pages.map(|(first, job, said)| (first.max(seen + 1) - first, first, job, said)).collect();
        let count: u64 = pages.iter().map(|(skip, _, _, said)| said.lines() - skip).sum();
        let wanted = query.lines.min(MOST_LINES);
        // Whoever follows gets the next lines, whoever asks once the newest.
        let mut surplus = if query.after.is_some() { 0 } else { count.saturating_sub(wanted as u64) };
        for (skip, _, _, said) in &mut pages {
            let passed_over = surplus.min(said.lines() - *skip);
            *skip += passed_over;
            surplus -= passed_over;
        }
        let lines = pages.iter().flat_map(|(skip, first, job, said)| {
            let numbered = (*first..).zip(said.each());
            numbered.skip(usize::try_from(*skip).unwrap_or(usize::MAX)).map(move |(number, line)| LoggedLine {
                number,
                job: job.to_string(),
                line: line.to_record(),
            })
        });
        let lines: Vec<_> = lines.take(wanted).collect();
        let older = lines.first().map_or(all, |first| all - lines_from(&kept, first.number));
        let next = lines.last().map_or_else(|| query.after.unwrap_or(last_number), |line| line.number);
        let forgotten = forgotten(&kept, query);
        let is_one = logs.len() == 1;
        let file = self.shared.files.as_ref().map(|files| match (is_one, kept.first()) {
            (true, Some((job, _))) => files.path(job),
            _ => files.path(crate::telemetry::OWN),
        });
        Reply::Logs { lines, older, next, forgotten, file, begins: self.begins }
    }
}

/// Lines in memory from that number on.
fn lines_from(kept: &[(std::sync::Arc<str>, Kept)], number: u64) -> u64 {
    let said = kept.iter().flat_map(|(_, kept)| kept.said.iter());
    said.map(|(first, said)| (first + said.lines()).saturating_sub(number.max(*first))).sum()
}

/// Lines that were asked for, and are perhaps in the file, but not in memory any more.
fn forgotten(kept: &[(std::sync::Arc<str>, Kept)], query: &LogQuery) -> u64 {
    if query.after.is_some() {
        return 0;
    }
    match query.since {
        Some(since) => {
            let oldest = |kept: &Kept| kept.said.front().map_or(i64::MAX, |(_, said)| said.at_ns / 1_000_000);
            kept.iter().filter(|(_, kept)| oldest(kept) >= since).map(|(_, kept)| kept.forgotten).sum()
        }
        None => {
            let in_memory: u64 = kept.iter().map(|(_, kept)| kept.lines).sum();
            let all: u64 = kept.iter().map(|(_, kept)| kept.forgotten).sum();
            all.min((query.lines as u64).saturating_sub(in_memory))
        }
    }
}
