//! Commands to a running supervisor: typed once, executed in one place, parsed and printed by each way in.
//!
//! The supervisor executes; to this module it is a desk at which inquiries are handed in.
//!
//! Invariants: a way in (today the local socket) builds a [`Command`] and prints a [`Reply`], and decides nothing; what
//! a command may do in which state stands in one exhaustive table.

mod admission;
mod changes;
mod client;
mod command;
pub(crate) mod local;
mod logs;
mod signal;
mod status;
mod wire;

pub(crate) use admission::{Admitted, admit};
pub use changes::{Change, Changes, JobChange};
pub use client::{Client, ClientError};
pub use command::{Command, Order, Refusal, Reply};
pub(crate) use command::{Desk, Inquiry};
pub(crate) use logs::DEFAULT_LINES;
pub use logs::{LogCounts, LogQuery, LoggedLine, parse_since};
pub use signal::SignalNumber;
pub use status::{Edge, JobStatus, RegionStatus, StateName, Status, SupervisorStatus};
pub use wire::{Call, WireError, parse_line};
