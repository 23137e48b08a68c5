//! Statistics: what a job reports once a second, and the combined picture that its supervisor sends on.
//!
//! The names of the fields are those that dashboards of ENRGDAQ read. Counts are of this start of the job.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number and when it last rose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// ISO 8601 with offset; none yet: absent.
    pub last_updated: Option<String>,
}

/// From the sender's commit to the job's hands, in milliseconds, over the last second that had messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyStats {
    /// Messages measured.
    pub count: u64,
    /// The fastest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// The mean.
    pub avg_ms: f64,
    /// 95 % were no slower.
    pub p95_ms: f64,
    /// 99 % were no slower.
    pub p99_ms: f64,
}

/// What the job's process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceStats {
    /// Percent of one core since the last report.
    pub cpu_percent: f64,
    /// Resident memory in 10⁶ bytes, without the shared memory of the ring.
    pub rss_mb: f64,
}

/// The statistics of one job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JobStats {
    /// Messages received.
    pub message_in_stats: Count,
    /// Messages published.
    pub message_out_stats: Count,
    /// Messages waiting to be read; the bus cannot tell, so 0 there.
    pub message_in_queue_stats: Count,
    /// Messages waiting to be sent; the bus cannot tell, so 0 there.
    pub message_out_queue_stats: Count,
    /// Restarts; filled in by the supervisor.
    pub restart_stats: Count,
    /// From commit to receipt.
    pub latency_stats: LatencyStats,
    /// CPU and memory.
    pub resource_stats: ResourceStats,
    /// Ready, and heard of within 5 s; filled in by the supervisor.
    pub is_alive: bool,
    /// Bytes received, envelope and payloads.
    pub message_in_bytes: u64,
    /// Bytes published, envelope and payloads, one copy a topic.
    pub message_out_bytes: u64,
    /// Messages that the numbering of the bus shows as lost on the way here.
    pub message_in_missing: u64,
    /// Messages that came and could not be used: no rows, no allowed file, no table in `store_config`.
    pub message_in_refused: u64,
    /// Messages given up by this job's side: the deadline of `publish` passed.
    pub message_out_dropped: u64,
    /// Messages published while nobody subscribed.
    pub message_out_unrouted: u64,
    /// Frames and records that were no messages.
    pub frames_refused: u64,
    /// What went wrong last, and when, as the job tells it.
    pub last_error: Option<String>,
    /// What the job says in figures of its own: name → value.
    pub figures: BTreeMap<String, f64>,
}

/// One job's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsReport {
    /// Its figures.
    pub stats: JobStats,
}

/// All jobs of a supervisor: supervisor id → job name → figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CombinedStats {
    /// The figures.
    pub stats: BTreeMap<String, BTreeMap<String, JobStats>>,
}

/// What one supervisor saw of another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoteStats {
    /// Messages from there.
    pub message_in_count: u64,
    /// Their bytes.
    pub message_in_bytes: u64,
    /// Messages to there.
    pub message_out_count: u64,
    /// Their bytes.
    pub message_out_bytes: u64,
    /// When it was last heard of, ISO 8601 with offset.
    pub last_active: Option<String>,
}

/// What a supervisor saw of the others: supervisor id → figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CombinedRemoteStats {
    /// The figures.
    pub stats: BTreeMap<String, RemoteStats>,
}
