//! The message types: what stands under `body` in the envelope, one struct a type.
//!
//! A type's public name keeps the prefix `DAQJobMessage` (`DAQJobMessageStop`). A user's own type is any struct that
//! implements [`Body`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::stats::{CombinedRemoteStats, CombinedStats, StatsReport};

/// A message type: its fields, and the name that stands in the envelope.
pub trait Body: Serialize + DeserializeOwned {
    /// The public name, such as `DAQJobMessageStop`.
    const TYPE: &'static str;
}

/// Gives each struct its public name.
macro_rules! bodies {
    ($($name:ident),* $(,)?) => {
        $(impl Body for $name { const TYPE: &'static str = concat!("DAQJobMessage", stringify!($name)); })*
    };
}

bodies!(
    Stop,
    Heartbeat,
    JobStarted,
    JobReady,
    StatsReport,
    CombinedStats,
    CombinedRemoteStats,
    TraceReport,
    CombinedTraces,
    Alert,
    StoreTable,
    StoreRaw,
    StoreRecords,
    StoreTabular,
    RunStart,
    RunStop,
    Request,
    Response,
    Receipt,
);

/// A job is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Why, for the log.
    #[schemars(example = &"the shift is over")]
    pub reason: String,
}

/// "I am there", from a job or from its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// When the next one comes, in milliseconds from this one.
    pub next_in_ms: u64,
    /// Rises whenever the job got something done.
    pub progress: u64,
    /// The job takes messages.
    #[serde(default)]
    pub is_ready: bool,
}

/// Who a supervisor is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SupervisorInfo {
    /// Name of this supervisor, unique among all that meet. Without a `supervisor.toml`: the host name.
    #[schemars(length(min = 1, max = 64))]
    pub supervisor_id: String,
    /// Words that others may select it by.
    #[serde(default)]
    pub supervisor_tags: Vec<String>,
}

/// What a job says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobInfo {
    /// Its type, such as `DAQJobTest`.
    pub daq_job_type: String,
    /// The same after every restart.
    pub unique_id: String,
    /// New at every start.
    pub instance_id: String,
    /// Its resolved configuration, as TOML text.
    pub config: String,
    /// What it subscribed.
    pub subscribed_topics: Vec<String>,
    /// Whose job it is.
    pub supervisor_info: SupervisorInfo,
}

/// A job's process runs; it is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStarted {
    /// Which job.
    pub info: JobInfo,
}

/// A job takes messages from now on: its subscriptions went round through the proxies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobReady {}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warning,
    /// Data is lost, or a human is needed.
    Error,
}

/// What an alert says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertInfo {
    /// One line for a human.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// Something that a human should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// When it was noticed, ISO 8601 with offset.
    pub date: String,
    /// What.
    pub alert_info: AlertInfo,
    /// Whose supervisor noticed it.
    pub originated_supervisor_id: String,
}

/// Rows for the stores: payload 0 is a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreTable {
    /// How many rows the table has.
    pub rows: u64,
}

/// Bytes for the stores, as they are: payload 0 is raw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreRaw {}

/// Many small byte records for the stores: payload 0 is a pack of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreRecords {
    /// How many.
    pub records: u64,
}

/// Rows in the envelope itself; kept for old senders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreTabular {
    /// Names of the columns.
    pub keys: Vec<String>,
    /// Rows, each as long as `keys`.
    pub data: Vec<Vec<serde_json::Value>>,
}

/// A run begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStart {
    /// Its number.
    pub number: u64,
    /// What kind of run.
    pub run_type: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, serde_json::Value>,
}

/// A run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStop {
    /// Its number.
    pub number: u64,
    /// Why.
    pub reason: String,
}

/// An operation for a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Which call; its responses carry the same.
    pub id: u64,
    /// For which start of the job; empty: for whichever hears it.
    #[serde(default)]
    pub instance_id: String,
    /// What is asked: an object whose `do` is the operation's name; all else are its parameters.
    pub operation: serde_json::Value,
    /// Where the responses go.
    pub reply_topic: String,
}

/// One of the answers to a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// Of which call.
    pub id: u64,
    /// Which of its responses: the first is 1. A gap is a loss; the last one may come again, until there is a [`Receipt`].
    #[serde(default)]
    pub number: u64,
    /// No more follow.
    pub finished: bool,
    /// The operation failed; `data` says why.
    pub failed: bool,
    /// What came back.
    pub data: serde_json::Value,
}

/// What became of the responses to a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Of which call.
    pub id: u64,
    /// Those up to this one have been taken: there is room for as many more.
    pub taken: u64,
    /// Nobody wants more of them.
    pub cancel: bool,
}

/// One message seen by one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceEvent {
    /// Which message, as 32 hex digits.
    pub message_id: String,
    /// Its type.
    pub message_type: String,
    /// `sent` or `received`.
    pub event_type: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// When, ns since the Unix epoch.
    pub timestamp: i64,
    /// Envelope and payloads.
    pub size_bytes: u64,
    /// Who sent it.
    pub source_job: String,
    /// Of which supervisor.
    pub source_supervisor: String,
}

/// What one job sent and received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceReport {
    /// In the order in which it happened.
    pub events: Vec<TraceEvent>,
}

/// The traces of all jobs of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CombinedTraces {
    /// Job by job.
    pub events: Vec<TraceEvent>,
}
