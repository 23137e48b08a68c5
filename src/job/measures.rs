//! What a job reports about itself: the counts of its tally, latency, processor and memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::tally::{SetTally, SourceTally, Tally};
use crate::message::{Count, JobStats, LatencyStats, ResourceStats, Topic};
use crate::os::{Usage, iso_now, usage};

/// Latencies from 1 µs to 1 h, to two digits.
const LONGEST_US: u64 = 3_600_000_000;

/// Latencies since the last report.
#[derive(Debug)]
pub(super) struct Latencies(Mutex<Histogram<u64>>);

impl Latencies {
    pub(super) fn new() -> Self {
        let empty = Histogram::new_with_bounds(1, LONGEST_US, 2).expect("these bounds are allowed");
        Self(Mutex::new(empty))
    }

    /// A message took that long from its commit to the job's hands.
    pub(super) fn record(&self, nanoseconds: i64) {
        let us = u64::try_from(nanoseconds / 1000).unwrap_or(0);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(us);
    }

    /// The figures since the last call; `None` if no message came.
    fn take(&self) -> Option<LatencyStats> {
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if histogram.is_empty() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds fits")]
        let ms = |us: u64| us as f64 / 1000.0;
        let stats = LatencyStats {
            count: histogram.len(),
            min_ms: ms(histogram.min()),
            max_ms: ms(histogram.max()),
            avg_ms: histogram.mean() / 1000.0,
            p95_ms: ms(histogram.value_at_quantile(0.95)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
        };
        histogram.reset();
        Some(stats)
    }
}

/// What a job says in figures of its own.
#[derive(Debug, Default)]
pub(super) struct Figures {
    values: Mutex<BTreeMap<String, f64>>,
    last_error: Mutex<Option<String>>,
}

impl Figures {
    /// Names that are kept; what comes beyond is not.
    const MOST: usize = 256;

    pub(super) fn set(&self, name: &str, value: f64) {
        let mut figures = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(figure) = figures.get_mut(name) {
            *figure = value;
        } else if figures.len() < Self::MOST {
            figures.insert(name.to_owned(), value);
        }
    }

    pub(super) fn set_last_error(&self, text: &str) {
        let text = format!("{} {text}", iso_now());
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    fn read(&self) -> BTreeMap<String, f64> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Without news a report comes this often.
const REPORT_AT_LEAST: Duration = Duration::from_secs(5);

/// Makes the reports.
#[derive(Debug)]
pub(super) struct Reporter {
    last: JobStats,
    /// What was reported, and when.
    told: Option<(JobStats, Instant)>,
    usage: Usage,
    at: Instant,
}

impl Reporter {
    pub(super) fn new() -> Self {
        Self { last: JobStats::default(), told: None, usage: usage(), at: Instant::now() }
    }

    /// The figures of now, if they are news: a hundred idle jobs are to cost nobody anything.
    pub(super) fn report(
        &mut self,
        tally: &Tally,
        latencies: &Latencies,
        frames_refused: u64,
        figures: &Figures,
    ) -> Option<JobStats> {
        let counts = tally.read();
        let sum_sets = |of: fn(&SetTally) -> u64| counts.sets.iter().map(of).fold(0, u64::saturating_add);
        // What went to outsiders as a copy is counted where it rode the ring.
        let is_copy = |set: &SetTally| set.topics.first().is_some_and(|topic| Topic::is_copy(topic));
        let published = counts.sets.iter().filter(|set| !is_copy(set)).map(|set| set.messages).sum::<u64>();
        let sum_sources = |of: fn(&SourceTally) -> u64| counts.sources.iter().map(of).fold(0, u64::saturating_add);
        self.last = JobStats {
            message_in_stats: rise(
                &self.last.message_in_stats,
                sum_sources(|source| source.messages) + counts.control_messages + counts.ring.messages_in,
            ),
            message_out_stats: rise(
                &self.last.message_out_stats,
                published + counts.ring.messages_out + counts.ring.unrouted,
            ),
            latency_stats: latencies.take().unwrap_or(self.last.latency_stats),
            resource_stats: self.resources(),
            message_in_bytes: sum_sources(|source| source.bytes) + counts.control_bytes + counts.ring.bytes_in,
            message_out_bytes: sum_sets(|set| set.bytes) + counts.ring.bytes_out,
            message_in_missing: sum_sources(|source| source.missing),
            message_in_refused: counts.refused,
            message_out_dropped: sum_sets(|set| set.dropped) + counts.ring.dropped,
            message_out_unrouted: sum_sets(|set| set.unrouted) + counts.ring.unrouted,
            frames_refused,
            last_error: figures.last_error(),
            figures: figures.read(),
            ..JobStats::default()
        };
        let is_news =
            self.told.as_ref().is_none_or(|(told, at)| at.elapsed() >= REPORT_AT_LEAST || differ(told, &self.last));
        is_news.then(|| {
            self.told = Some((self.last.clone(), Instant::now()));
            self.last.clone()
        })
    }

    fn resources(&mut self) -> ResourceStats {
        let (now, at) = (usage(), Instant::now());
        let elapsed = at.duration_since(self.at).as_secs_f64().max(1e-3);
        let cpu = now.cpu.saturating_sub(self.usage.cpu).as_secs_f64();
        (self.usage, self.at) = (now, at);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rss_mb = now.rss_bytes as f64 / 1e6;
        ResourceStats { cpu_percent: 100.0 * cpu / elapsed, rss_mb }
    }
}

/// Whether figures are other than before; the processor and memory that an idle process uses flicker.
fn differ(told: &JobStats, now: &JobStats) -> bool {
    let flickers = |before: f64, after: f64, by: f64| (before - after).abs() <= by;
    let (a, b) = (told.resource_stats, now.resource_stats);
    let is_quiet = flickers(a.cpu_percent, b.cpu_percent, 1.0) && flickers(a.rss_mb, b.rss_mb, 1.0);
    !is_quiet || *told != JobStats { resource_stats: a, ..now.clone() }
}

/// The count, and when it rose.
fn rise(last: &Count, count: u64) -> Count {
    match count == last.count {
        true => last.clone(),
        false => Count { count, last_updated: Some(iso_now()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flickers_is_no_news_and_what_rises_is() {
        let told = JobStats { resource_stats: ResourceStats { cpu_percent: 0.2, rss_mb: 11.0 }, ..JobStats::default() };
        let quiet = JobStats { resource_stats: ResourceStats { cpu_percent: 0.9, rss_mb: 11.5 }, ..told.clone() };
        let busy = JobStats { resource_stats: ResourceStats { cpu_percent: 5.0, rss_mb: 11.0 }, ..told.clone() };
        let more = JobStats { message_in_bytes: 1, ..told.clone() };

        assert_eq!([quiet, busy, more].map(|now| differ(&told, &now)), [false, true, true]);
    }

    #[test]
    fn latencies_are_in_milliseconds() {
        let latencies = Latencies::new();
        for ms in 1..=100 {
            latencies.record(ms * 1_000_000);
        }

        let stats = latencies.take().unwrap();

        assert_eq!(stats.count, 100);
        assert!((stats.p99_ms - 99.0).abs() < 1.0 && (stats.avg_ms - 50.5).abs() < 1.0, "{stats:?}");
        assert!(latencies.take().is_none());
    }
}
