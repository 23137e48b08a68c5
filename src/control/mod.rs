//! Commands to a running supervisor: typed once, executed in one place, parsed and printed by each way in.
//!
//! Invariants: a way in (today the local socket) builds a [`Command`] and prints a [`Reply`], and decides nothing; what
//! a command may do in which state stands in one exhaustive table.

mod admission;
mod client;
mod command;
pub(crate) mod local;
mod status;
mod wire;

pub(crate) use admission::{Admitted, admit};
pub use client::{Client, ClientError};
pub use command::{Command, Order, Refusal, Reply};
pub use status::{JobStatus, Status, SupervisorStatus};
pub use wire::{Call, WireError, parse_line};
