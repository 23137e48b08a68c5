//! The figures of a moment: what the status says of sources, store and edges, summed up.

use serde_json::Value;

use super::plan::Plan;
use super::site::{STORE, is_source};
use crate::control::{JobStatus, Status};

/// Sums over all sources. Of a store that verifies nothing they are the counts of the edges.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    /// Messages that the sources sent.
    pub(super) sent: f64,
    /// Messages that came, each once.
    pub(super) received: f64,
    /// Bytes of them.
    pub(super) bytes: f64,
    pub(super) lost: f64,
    pub(super) wrong: f64,
    pub(super) swapped: f64,
    pub(super) repeated: f64,
    /// When the store said so, in seconds of its own; `None`: it is as of now.
    pub(super) at_s: Option<f64>,
    /// p50, p95, p99, max in microseconds, over the run; `None` where none was measured.
    pub(super) latency_us: Option<[f64; 4]>,
}

impl Figures {
    pub(super) fn of(status: &Status, plan: &Plan) -> Self {
        match plan.store.verifies() {
            true => Self::verified(status),
            false => Self::of_edges(status, plan),
        }
    }

    fn verified(status: &Status) -> Self {
        let job = |name: &str| status.jobs.iter().find(|job| job.name == name);
        let figures = job(STORE).map(figures).unwrap_or_default();
        let figure = |name: &str| figures[name].as_f64();
        let count = |name: &str| figure(name).unwrap_or(0.0);
        let sources = status.jobs.iter().filter(|job| is_source(&job.name));
        let sent: f64 = sources.map(|job| self::figures(job)["sent"].as_f64().unwrap_or(0.0)).sum();
        let received = count("messages") - count("repeated") - count("redelivered");
        let latency = ["latency_us_p50", "latency_us_p95", "latency_us_p99", "latency_us_max"].map(figure);
        Self {
            sent,
            received,
            bytes: count("verified_bytes"),
            lost: count("lost"),
            wrong: count("wrong"),
            swapped: count("swapped"),
            repeated: count("repeated"),
            at_s: figure("at_ns").map(|ns| ns / 1e9),
            latency_us: latency.iter().all(Option::is_some).then(|| latency.map(Option::unwrap_or_default)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³")]
    fn of_edges(status: &Status, plan: &Plan) -> Self {
        let edges = status.edges.iter().filter(|edge| is_source(&edge.writer) && edge.reader == STORE);
        let (produced, arrived) = edges.fold((0, 0), |(p, a), edge| (p + edge.produced, a + edge.arrived));
        let refused = status.jobs.iter().find(|job| job.name == STORE).map_or(0, |job| job.stats.message_in_refused);
        let arrived = arrived.saturating_sub(refused);
        Self {
            sent: produced as f64,
            received: arrived as f64,
            bytes: arrived as f64 * plan.message.bytes() as f64,
            ..Self::default()
        }
    }

    /// Whether every message is accounted for.
    pub(super) fn add_up(&self) -> bool {
        self.sent > 0.0 && self.sent == self.received + self.lost
    }

    /// What was sent and is neither here nor known to be lost, is lost: to be asked when nothing is under way any more.
    pub(super) fn settled(self) -> Self {
        Self { lost: self.lost.max(self.sent - self.received), ..self }
    }
}

/// The figures of the job's own.
fn figures(job: &JobStatus) -> Value {
    serde_json::to_value(&job.stats).map(|stats| stats["figures"].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_came_is_lost_although_no_gap_was_seen() {
        let figures = Figures { sent: 100.0, received: 97.0, lost: 1.0, ..Figures::default() };

        assert!(!figures.add_up());
        assert_eq!(figures.settled().lost, 3.0);
        assert!(figures.settled().add_up());
        assert_eq!(Figures { received: 101.0, ..figures }.settled().lost, 1.0);
    }
}
