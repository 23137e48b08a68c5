//! The supervisor: keeps jobs running, and answers for them.
//!
//! ```text
//!   spawner thread ──┐                                    ┌──▶ spawner: make a process
//!   a task a process ┤ mail   ┌────────────┐    effects   ├──▶ bus: stop, heartbeat, statistics
//!   link thread (bus)├──────▶ │ dispatcher │ ────────────▶├──▶ signals to process groups
//!   control socket ──┤        └────────────┘              └──▶ replies
//!   time ────────────┘   one event after the other
//! ```
//!
//! Invariants: all events are put in one order by one dispatcher, which never waits for a job; the states ([`StateName`](crate::control::StateName))
//! and the restart policy are pure tables; events of an earlier start of a job are dropped; a job never has two processes.

mod answers;
mod beat;
mod changes;
mod child;
mod dispatcher;
mod edges;
mod elsewhere;
mod embed;
mod entry;
mod forward;
mod holds;
mod link;
mod links;
mod logs;
mod messages;
mod operator;
mod orders;
mod origin;
mod orphans;
mod phases;
mod policy;
mod reload;
mod ring;
mod roll;
mod shutdown;
mod state;
mod sweep;
mod systemd;
mod tap;
mod timetable;
mod tree;
mod watch;

pub use crate::os::DirectoryError;
pub use embed::{Ended, Handle, Supervisor, SupervisorError};
pub use operator::OperatorError;
