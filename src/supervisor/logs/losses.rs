//! Lines that the files did not take: told once when it begins, and once, with their number, when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::message::Severity;
use crate::supervisor::dispatcher::{Mail, Mailbox};
use crate::telemetry::with_commas;

/// It is over when no line was lost for so long, and the files take lines again.
const QUIET: Duration = Duration::from_secs(5);

/// Jobs that are named with their losses.
const NAMED: usize = 5;

/// What was lost since it began.
#[derive(Debug)]
pub(super) struct Losses {
    now: Mutex<Option<Losing>>,
    mailbox: Mailbox,
}

#[derive(Debug)]
struct Losing {
    by_job: BTreeMap<Arc<str>, u64>,
    why: String,
    last: Instant,
    is_told: bool,
}

impl Losses {
    pub(super) fn new(mailbox: Mailbox) -> Self {
        Self { now: Mutex::new(None), mailbox }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Losing>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines of a job were lost.
    pub(super) fn note(&self, job: &Arc<str>, lines: u64, why: impl FnOnce() -> String) {
        let mut now = self.lock();
        let losing = now.get_or_insert_with(|| Losing {
            by_job: BTreeMap::new(),
            why: why(),
            last: Instant::now(),
            is_told: false,
        });
        losing.last = Instant::now();
        match losing.by_job.get_mut(job) {
            Some(count) => *count += lines,
            None => drop(losing.by_job.insert(job.clone(), lines)),
        }
        if !losing.is_told {
            losing.is_told = self.tell(Severity::Warning, begin(&losing.why));
        }
    }

    /// Tells what could not be told before, and that it is over.
    pub(super) fn pass_time(&self, are_files_well: bool, at: Instant) {
        let mut now = self.lock();
        let Some(losing) = now.as_mut() else { return };
        if !losing.is_told {
            losing.is_told = self.tell(Severity::Warning, begin(&losing.why));
            return;
        }
        let is_over = are_files_well && at.saturating_duration_since(losing.last) >= QUIET;
        if is_over && self.tell(Severity::Info, end(&losing.by_job)) {
            *now = None;
        }
    }

    /// `false` if the dispatcher cannot take it now.
    fn tell(&self, severity: Severity, message: String) -> bool {
        self.mailbox.try_send(Mail::Raise { severity, message }).is_ok()
    }
}

fn begin(why: &str) -> String {
    format!("log files: lines are dropped and counted, {why}; the jobs go on, and `enrgdaq logs` has the newest")
}

fn end(by_job: &BTreeMap<Arc<str>, u64>) -> String {
    let mut jobs: Vec<_> = by_job.iter().collect();
    jobs.sort_by_key(|(_, lines)| std::cmp::Reverse(**lines));
    let mut named: Vec<_> =
        jobs.iter().take(NAMED).map(|(job, lines)| format!("{job} {}", with_commas(**lines))).collect();
    if jobs.len() > NAMED {
        named.push("…".into());
    }
    let sum = by_job.values().sum();
    format!("log files are written again; {} lines were dropped ({})", with_commas(sum), named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_once_at_their_begin_and_once_at_their_end() {
        let (mailbox, mut mail) = tokio::sync::mpsc::channel(10);
        let losses = Losses::new(mailbox);
        let job: Arc<str> = "hv".into();

        losses.note(&job, 1000, || "full".into());
        losses.note(&job, 234, || unreachable!("it is told once"));
        let now = Instant::now();
        losses.pass_time(true, now);
        losses.pass_time(false, now + QUIET * 2);
        losses.pass_time(true, now + QUIET * 2);
        losses.pass_time(true, now + QUIET * 4);

        let told: Vec<_> = std::iter::from_fn(|| mail.try_recv().ok()).collect();
        let [Mail::Raise { message: begin, .. }, Mail::Raise { message: end, .. }] = &told[..] else {
            panic!("{told:?}")
        };
        assert!(begin.contains("full") && end.contains("1,234 lines were dropped (hv 1,234)"), "{begin} {end}");
    }
}
