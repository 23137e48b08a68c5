//! The wire contract: envelope, topics, payloads, message types.
//!
//! A message on the bus is a list of frames, `[topic] [envelope] [payload 0] … [payload n]`, one copy a topic. The
//! bytes are drawn in `envelope`; the names of topics are all made in `topic`.
//!
//! Invariants: nothing here opens a socket or a file; decoding arbitrary bytes gives a value or an error, never a panic.

mod body;
mod decoder;
mod envelope;
mod frame;
mod front;
mod kind;
mod payload;
mod records;
mod stamp;
mod stats;
mod store_config;
mod topic;

pub use body::{
    Alert, AlertInfo, Body, CombinedTraces, Heartbeat, JobInfo, JobReady, JobStarted, Receipt, Request, Response,
    RunStart, RunStop, Severity, Stop, StoreRaw, StoreRecords, StoreTable, StoreTabular, SupervisorInfo, TraceEvent,
    TraceReport,
};
pub use decoder::Decoder;
pub use envelope::{DecodeError, EncodeError, Envelope, FORMAT_VERSION, Head, Message, MessageId, Origin, Prepared};
pub use frame::{AlignedBytes, Columns, FixedWidth, Frame, TableShape};
pub use front::PayloadList;
pub use kind::{BadField, MessageKind};
pub use payload::{Payload, PayloadError, PayloadInfo, PayloadKind, decode_table, encode_table, table_in_place};
pub use records::{RecordPack, Records, records};
pub use stamp::Received;
pub(crate) use stamp::Stamping;
pub use stats::{
    CombinedRemoteStats, CombinedStats, Count, JobStats, LatencyStats, RemoteStats, ResourceStats, StatsReport,
};
pub use store_config::StoreConfig;
pub use topic::{Plane, Topic, TopicError, covers};
