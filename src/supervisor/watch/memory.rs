//! The watch over memory: which jobs hold too much, and which is to give way when all together do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::sample::{free_memory, own_memory};
use crate::config::{MemoryConfig, MemoryLimits};
use crate::supervisor::dispatcher::{Mail, Mailbox};
use crate::supervisor::orphans::{Families, Key};

/// A start of a job whose memory is looked at.
#[derive(Debug, Clone)]
pub(in crate::supervisor) struct Watched {
    pub(in crate::supervisor) job: usize,
    pub(in crate::supervisor) generation: u64,
    /// Under which its processes are found.
    pub(in crate::supervisor) key: Key,
    pub(in crate::supervisor) stage: Stage,
    pub(in crate::supervisor) limits: MemoryLimits,
}

/// How far a start of a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Stage {
    /// Its memory rises as it should, but not above what it may hold.
    Starting,
    Ready,
    /// It gives its memory back already.
    Ending,
}

/// Has memory looked at from time to time.
#[derive(Debug)]
pub(in crate::supervisor) struct MemoryWatch {
    interval: Duration,
    due: Instant,
    has_node_limits: bool,
    node: Node,
    families: Arc<Families>,
    mailbox: Mailbox,
    /// The way to the thread; there is one as soon as something is limited.
    orders: Option<mpsc::SyncSender<Vec<Watched>>>,
}

impl MemoryWatch {
    /// Watches nothing yet; verdicts come as mail. `families` know what belongs to a job.
    pub(in crate::supervisor) fn new(config: &MemoryConfig, families: Arc<Families>, mailbox: Mailbox) -> Self {
        let node = Node::of(config);
        let interval = Duration::try_from_secs_f64(config.interval_seconds).unwrap_or(Duration::from_secs(10));
        let has_node_limits = node != Node::default();
        Self { interval, due: Instant::now() + interval, has_node_limits, node, families, mailbox, orders: None }
    }

    /// The way to the thread, which is started if there is none; `None` if the system gives none.
    fn orders(&mut self) -> Option<&mpsc::SyncSender<Vec<Watched>>> {
        if self.orders.is_none() {
            // One look at a time: what comes while it lasts is left out.
            let (orders, to_do) = mpsc::sync_channel::<Vec<Watched>>(1);
            let (mut judge, families, mailbox) = (Judge::new(self.node), self.families.clone(), self.mailbox.clone());
            let work = move || look_and_judge(&mut judge, &to_do, &families, &mailbox);
            thread::Builder::new().name("memory".into()).spawn(work).ok()?;
            self.orders = Some(orders);
        }
        self.orders.as_ref()
    }

    /// When the next look is due; only asked where something is limited.
    pub(in crate::supervisor) fn due(&self) -> Instant {
        self.due
    }

    /// Has these looked at if it is time; jobs without limits count only for those of all.
    pub(in crate::supervisor) fn pass_time(&mut self, now: Instant, jobs: impl Iterator<Item = Watched>) {
        if now < self.due {
            return;
        }
        // Aligned to the interval, however late this is.
        while self.due <= now {
            self.due += self.interval;
        }
        let is_limited = |job: &Watched| job.limits.max_bytes.is_some() || job.limits.growth_bytes.is_some();
        let watched: Vec<_> = jobs.filter(|job| self.has_node_limits || is_limited(job)).collect();
        if !watched.is_empty()
            && let Some(orders) = self.orders()
        {
            orders.try_send(watched).ok();
        }
    }
}

fn look_and_judge(judge: &mut Judge, to_do: &mpsc::Receiver<Vec<Watched>>, families: &Families, mailbox: &Mailbox) {
    for watched in to_do {
        let Some(samples) = sample(watched, families) else { continue };
        for Verdict { job, generation, why } in judge.judge(&samples, free_memory()) {
            if mailbox.blocking_send(Mail::Overgrown { job, generation, why }).is_err() {
                return;
            }
        }
    }
}

/// What a start of a job holds.
#[derive(Debug, Clone)]
struct Sample {
    of: Watched,
    bytes: u64,
}

/// `None`: the process table cannot be read now.
fn sample(watched: Vec<Watched>, families: &Families) -> Option<Vec<Sample>> {
    let survey = families.look_and_wait()?;
    let bytes = |key| survey.of(key).iter().map(|row| own_memory(row.pid())).sum();
    Some(watched.into_iter().map(|of| Sample { bytes: bytes(of.key), of }).collect())
}

/// A job that is to be restarted.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    job: usize,
    generation: u64,
    why: String,
}

/// Limits of all jobs together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Node {
    total_max: Option<u64>,
    free_min: Option<u64>,
}

impl Node {
    fn of(config: &MemoryConfig) -> Self {
        let bytes = |mb: u32| (mb > 0).then(|| u64::from(mb) << 20);
        Self { total_max: bytes(config.total_max_mb), free_min: bytes(config.host_free_min_mb) }
    }
}

/// How the memory of one start has risen.
#[derive(Debug, Clone, Copy)]
struct Growth {
    highest: u64,
    rises: u32,
}

/// Decides; it knows no clock and no process.
#[derive(Debug)]
struct Judge {
    node: Node,
    growth: HashMap<(usize, u64), Growth>,
    /// Told to give way, and not gone yet.
    condemned: HashSet<(usize, u64)>,
}

impl Judge {
    fn new(node: Node) -> Self {
        Self { node, growth: HashMap::new(), condemned: HashSet::new() }
    }

    fn judge(&mut self, samples: &[Sample], free: Option<u64>) -> Vec<Verdict> {
        let is_there = |key: &(usize, u64)| samples.iter().any(|sample| key_of(sample) == *key);
        self.growth.retain(|key, _| is_there(key));
        self.condemned.retain(is_there);
        let mut verdicts: Vec<_> = samples.iter().filter_map(|sample| self.judge_one(sample)).collect();
        // Memory is free only when its holder is gone: one after the other.
        if verdicts.is_empty() && self.condemned.is_empty() {
            verdicts.extend(self.judge_all(samples, free));
        }
        self.condemned.extend(verdicts.iter().map(|verdict| (verdict.job, verdict.generation)));
        verdicts
    }

    fn judge_one(&mut self, sample: &Sample) -> Option<Verdict> {
        let Sample { of: Watched { limits, .. }, bytes } = sample;
        let has_leaked = self.has_leaked(sample);
        if sample.of.stage == Stage::Ending || self.condemned.contains(&key_of(sample)) {
            return None;
        }
        let held = mebibytes(*bytes);
        if let Some(most) = limits.max_bytes.filter(|most| bytes > most) {
            let why = format!("memory: it holds {held} MiB, and may hold {} (memory_max_mb)", mebibytes(most));
            return Some(verdict(sample, why));
        }
        let step = limits.growth_bytes.filter(|_| has_leaked)?;
        let (step, count) = (mebibytes(step), limits.growth_count);
        let why = format!("memory: it leaks: {held} MiB after {count} rises by more than {step} (memory_growth_mb)");
        Some(verdict(sample, why))
    }

    /// Notes how it rises.
    fn has_leaked(&mut self, sample: &Sample) -> bool {
        let MemoryLimits { growth_bytes: Some(step), growth_count, .. } = sample.of.limits else { return false };
        // Until it is ready it rises as it should.
        let first = Growth { highest: sample.bytes, rises: 0 };
        let growth = self.growth.entry(key_of(sample)).or_insert(first);
        if sample.of.stage != Stage::Ready {
            *growth = first;
        } else if sample.bytes > growth.highest.saturating_add(step) {
            *growth = Growth { highest: sample.bytes, rises: growth.rises + 1 };
        }
        growth.rises >= growth_count
    }

    fn judge_all(&self, samples: &[Sample], free: Option<u64>) -> Option<Verdict> {
        let largest =
            samples.iter().filter(|sample| sample.of.stage == Stage::Ready).max_by_key(|sample| sample.bytes)?;
        let held = mebibytes(largest.bytes);
        let sum: u64 = samples.iter().map(|sample| sample.bytes).sum();
        if let Some(most) = self.node.total_max.filter(|most| sum > *most) {
            let (sum, most) = (mebibytes(sum), mebibytes(most));
            let why =
                format!("memory: all jobs hold {sum} MiB, and may hold {most} (total_max_mb); this one most, {held}");
            return Some(verdict(largest, why));
        }
        let (least, free) = self.node.free_min.zip(free).filter(|(least, free)| free < least)?;
        let (least, free) = (mebibytes(least), mebibytes(free));
        let why = format!(
            "memory: the host has {free} MiB left, less than {least} (host_free_min_mb); this job holds most, {held}"
        );
        Some(verdict(largest, why))
    }
}

fn key_of(sample: &Sample) -> (usize, u64) {
    (sample.of.job, sample.of.generation)
}

fn verdict(sample: &Sample, why: String) -> Verdict {
    Verdict { job: sample.of.job, generation: sample.of.generation, why }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limits(max: Option<u64>, growth: Option<u64>) -> MemoryLimits {
        let [max_bytes, growth_bytes] = [max, growth].map(|mib| mib.map(|mib| mib * MIB));
        MemoryLimits { max_bytes, growth_bytes, growth_count: 3, counts_as_failure: false }
    }

    fn sample(job: usize, mib: u64, limits: MemoryLimits) -> Sample {
        Sample { of: Watched { job, generation: 1, key: 1, stage: Stage::Ready, limits }, bytes: mib * MIB }
    }

    fn jobs(verdicts: &[Verdict]) -> Vec<usize> {
        verdicts.iter().map(|verdict| verdict.job).collect()
    }

    #[test]
    fn a_job_above_its_limit_is_condemned_once() {
        let mut judge = Judge::new(Node::default());
        let samples = [sample(0, 100, limits(Some(100), None)), sample(1, 101, limits(Some(100), None))];

        let (first, second) = (judge.judge(&samples, None), judge.judge(&samples, None));

        assert_eq!((jobs(&first), second), (vec![1], vec![]));
        assert!(first[0].why.contains("holds 101 MiB, and may hold 100"), "{first:?}");
    }

    #[test]
    fn a_job_that_starts_is_held_to_its_limit_but_may_grow() {
        let at = |stage, mib| {
            let sample = sample(0, mib, limits(Some(100), Some(10)));
            Sample { of: Watched { stage, ..sample.of }, ..sample }
        };
        let verdicts = |stage| {
            let mut judge = Judge::new(Node::default());
            [20, 40, 60, 80, 101].map(|mib| judge.judge(&[at(stage, mib)], None).len())
        };

        assert_eq!(verdicts(Stage::Starting), [0, 0, 0, 0, 1]);
        assert_eq!(verdicts(Stage::Ready), [0, 0, 0, 1, 0], "it leaks");
        assert_eq!(verdicts(Stage::Ending), [0; 5]);
    }

    #[test]
    fn only_new_heights_count_as_growth() {
        let mut judge = Judge::new(Node::default());
        let found: Vec<_> = [50, 61, 50, 61, 70, 72, 90, 100, 101]
            .map(|mib| judge.judge(&[sample(0, mib, limits(None, Some(10)))], None).len())
            .into();

        assert_eq!(found, [0, 0, 0, 0, 0, 0, 1, 0, 0], "rises to 61, 72 and 90");
    }

    #[test]
    fn of_all_jobs_the_largest_gives_way_and_the_next_only_when_it_is_gone() {
        let mut judge = Judge::new(Node { total_max: Some(100 * MIB), free_min: None });
        let all = [40, 60, 50].into_iter().enumerate();
        let all: Vec<_> = all.map(|(job, mib)| sample(job, mib, limits(None, None))).collect();

        assert_eq!(jobs(&judge.judge(&all, None)), [1]);
        assert_eq!(jobs(&judge.judge(&all, None)), [0; 0], "it still ends");
        let without = [all[0].clone(), all[2].clone(), sample(3, 20, limits(None, None))];
        assert_eq!(jobs(&judge.judge(&without, None)), [2]);
    }

    #[test]
    fn little_memory_of_the_host_makes_the_largest_give_way() {
        let mut judge = Judge::new(Node { total_max: None, free_min: Some(200 * MIB) });
        let all = [sample(0, 1, limits(None, None)), sample(1, 2, limits(None, None))];

        assert_eq!(jobs(&judge.judge(&all, None)), [0; 0], "nobody knows how much is free");
        assert_eq!(jobs(&judge.judge(&all, Some(200 * MIB))), [0; 0]);
        assert_eq!(jobs(&judge.judge(&all, Some(199 * MIB))), [1]);
    }

    #[test]
    fn a_new_start_begins_anew() {
        let mut judge = Judge::new(Node::default());
        let old = sample(0, 200, limits(Some(100), None));
        judge.judge(std::slice::from_ref(&old), None);
        let new = Sample { of: Watched { generation: 2, ..old.of }, bytes: 101 * MIB };

        assert_eq!(judge.judge(&[new], None).len(), 1);
    }
}
