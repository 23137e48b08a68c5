//! The picture of a supervisor and its jobs, as `status` gives it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::logs::LogCounts;
use crate::message::{Alert, JobStats, SupervisorInfo};

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The supervisor itself.
    pub supervisor: SupervisorStatus,
    /// Its jobs, in the order of their names.
    pub jobs: Vec<JobStatus>,
    /// Writer → reader, where something was produced or arrived.
    pub edges: Vec<Edge>,
    /// The newest alerts, oldest first.
    pub alerts: Vec<Alert>,
    /// The links to other nodes, where there are any.
    #[serde(default)]
    pub federation: Option<FederationStatus>,
}

/// The links to other nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FederationStatus {
    /// What this node is to the others.
    pub role: FederationRole,
    /// Connections and names that were turned away.
    pub strangers: u64,
    /// Frames that were none of this protocol, or in another's name; dropped.
    pub bad_frames: u64,
    /// Words of a connection that is over, or was never agreed; dropped. What they carried comes again over the next one.
    pub late_words: u64,
    /// One for each node at the other end.
    pub links: Vec<LinkStatus>,
}

/// What a node is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FederationRole {
    /// The leaves connect to it.
    Hub,
    /// It connects to the hub.
    Leaf,
}

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Not heard of yet.
    Connecting,
    /// Connected.
    Up,
    /// Connected, and what goes over it is more than 5 s late.
    Lagging,
    /// Not heard of any more.
    Down,
}

/// The link to another node. Counts are of this start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkStatus {
    /// The other node's supervisor id; `hub` before it is known.
    pub peer: String,
    /// Where it stands.
    pub state: LinkState,
    /// Seconds in this state.
    pub since_s: f64,
    /// Seconds since the other node was heard of.
    pub heard_s: Option<f64>,
    /// Messages that the other node has acknowledged.
    pub sent: u64,
    /// Their bytes, as they went over the link.
    pub sent_bytes: u64,
    /// Messages from there that were committed here.
    pub received: u64,
    /// Their bytes, as they came over the link.
    pub received_bytes: u64,
    /// Messages that came once more, and were dropped.
    pub duplicates: u64,
    /// Messages that may not come in: of another origin, for nobody here, damaged.
    pub refused: u64,
    /// Messages that were sent once more.
    pub resent: u64,
    /// Messages that waited for the other node and are not wanted there any more, or here.
    pub unwanted: u64,
    /// Messages given up: of what is worth nothing later, or of a node that stays away.
    pub dropped: u64,
    /// Messages that wait here for the other node's acknowledgement.
    pub lag_messages: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// The age of the oldest.
    pub lag_s: f64,
    /// Messages that wait there for this node, as it says.
    pub lag_there_messages: u64,
    /// Their bytes.
    pub lag_there_bytes: u64,
    /// The age of the oldest.
    pub lag_there_s: f64,
    /// What waits on the disk.
    pub spool_bytes: u64,
    /// The hub's clock minus the leaf's, as estimated.
    pub clock_offset_ms: Option<f64>,
    /// There and back; the offset is wrong by half of it at most.
    pub round_trip_ms: Option<f64>,
    /// Whether CURVE keys protect it.
    pub is_encrypted: bool,
}

/// The supervisor itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SupervisorStatus {
    /// Id and tags.
    #[serde(flatten)]
    pub info: SupervisorInfo,
    /// Its process.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_s: f64,
    /// The program's version.
    pub version: String,
    /// The folder of its configuration.
    pub config_dir: String,
    /// Whether it is about to end.
    pub is_stopping: bool,
    /// Percent of one core since the last second.
    pub cpu_percent: f64,
    /// Resident memory in 10⁶ bytes.
    pub rss_mb: f64,
    /// How often programs outside, which subscribe data on the bus, had no room for a message. One that stops to take them
    /// counts once; what it misses until it goes on it sees by the messages' numbers.
    pub outside_full: u64,
    /// Lines of the log that the terminal or pipe did not take.
    pub log_lines_dropped: u64,
    /// What became of the supervisor's own lines.
    pub log: LogCounts,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// Its type.
    pub daq_job_type: String,
    /// The same after every restart.
    pub unique_id: String,
    /// This start.
    pub instance_id: Option<String>,
    /// Where it stands.
    pub state: StateName,
    /// Why, where that is not plain.
    pub reason: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Seconds since it was ready.
    pub uptime_s: Option<f64>,
    /// Seconds until it is started again.
    pub restart_in_s: Option<f64>,
    /// How often it was started again.
    pub restarts: u64,
    /// The shared memory that it publishes into.
    pub region: Option<RegionStatus>,
    /// What became of what it said.
    pub log: LogCounts,
    /// How its last process ended.
    pub last_end: Option<String>,
    /// Its figures; of this start.
    pub stats: JobStats,
}

/// The name of a state, as people and programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    /// Not running, and not to be started by itself.
    Stopped,
    /// To start by itself as soon as nothing holds it back: another job, a lock, its schedule.
    Waiting,
    /// Not ready yet.
    Starting,
    /// Working.
    Ready,
    /// Waiting to be started again.
    BackingOff,
    /// Ending.
    Stopping,
    /// Ended by itself, and left so.
    Exited,
    /// Only a human can help.
    Fatal,
}

/// The shared memory of one writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegionStatus {
    /// Its size for payloads and envelopes.
    pub size_bytes: u64,
    /// What of it is in use.
    pub used_bytes: u64,
    /// Most records that it can hold, whatever their size.
    pub places: u64,
    /// Records in it.
    pub records: u64,
    /// Share of the last second, or of the last seconds where there are more than 20 jobs, in which the writer waited for room:
    /// its dead time.
    pub dead_time_percent: f64,
    /// All its waiting for room, in seconds, over all its starts.
    pub dead_time_s: f64,
    /// Messages that nobody had subscribed.
    pub unrouted: u64,
}

/// The messages from one writer to one reader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Edge {
    /// The writer's name.
    pub writer: String,
    /// The reader's name.
    pub reader: String,
    /// What the writer published for the reader.
    pub produced: u64,
    /// What the reader has: acknowledged, or, where it came over the bus, handed to it.
    pub arrived: u64,
    /// What waits in the ring for the reader.
    pub waiting: u64,
    /// All the rest: lost, or on its way over the bus.
    pub missing: u64,
    /// Of `missing`: given up by the writer for want of room, or lost with a reader that was removed.
    pub dropped: u64,
    /// Of `missing`: passed over by a reader that takes the latest.
    pub skipped: u64,
    /// Handed to the reader once more after a death; counted once in `arrived`.
    pub redelivered: u64,
}
