//! Commands to a running supervisor: typed once, executed in one place, parsed and printed by each way in.
//!
//! The supervisor executes; to this module it is a desk at which inquiries are handed in.
//!
//! Invariants: a way in (today the local socket) builds a [`Command`] and prints a [`Reply`], and decides nothing; what
//! a command may do in which state stands in one exhaustive table.

mod admission;
pub(crate) mod audit;
mod caller;
mod changes;
mod client;
pub(crate) mod cnc;
mod command;
mod desk;
mod events;
mod http_client;
pub(crate) mod local;
mod logs;
pub(crate) mod network;
pub(crate) mod rest;
mod signal;
mod status;
pub(crate) mod tokens;
pub(crate) mod wire;

pub use crate::bus::KeyError;
pub(crate) use admission::{Admitted, admit};
pub use audit::AuditLine;
pub use caller::{Caller, Reach};
pub use changes::{Change, Changes, JobChange};
pub use client::{Client, ClientError};
pub use command::{Command, JobRef, Order, Refusal, Reply};
pub(crate) use desk::{Desk, Inquiry};
pub(crate) use events::Events;
pub use events::{Event, NodeChange};
pub(crate) use http_client::HttpClient;
pub(crate) use logs::DEFAULT_LINES;
pub use logs::{LogCounts, LogQuery, LoggedLine, parse_since};
pub use network::NetworkError;
pub use rest::{RestError, TlsError};
pub use signal::SignalNumber;
pub use status::{
    Edge, FederationRole, FederationStatus, JobStatus, LinkState, LinkStatus, RegionStatus, StateName, Status,
    SupervisorStatus,
};
pub use wire::{Call, WireError, parse_line};

/// Whether bytes are a message of CNC; any bytes may come.
#[must_use]
pub fn is_cnc_message(body: &[u8]) -> bool {
    cnc::is_message(body)
}
