//! Command and control between supervisors: nodes report to a server, and are asked through it.
//!
//! ```text
//! node    DEALER, identity = supervisor_id ──▶ ROUTER    server
//!         heartbeat (1 s), log lines       ──▶           registry: who, since when, the newest lines
//!         answers ◀── requests with req_id ◀──▶          pending: an answer, or silence after 5 s
//!                                   thread │ outbox
//!                        tasks on "control"│◀────────────  Nodes: REST and all who ask
//! ```
//!
//! Each message is one MessagePack map (`message`, `body`). A request becomes a command (`answering`), or carries one in
//! the words of the control socket (`CNCMessageReqCommand`).
//!
//! Invariants: bytes from elsewhere are looked over before anything is made of them; all that waits is bounded; one thread
//! a socket, which waits for nobody.

mod answering;
mod body;
mod client;
mod comings;
mod delayed;
mod drops;
mod exchange;
mod listening;
mod log_lines;
mod message;
mod nodes;
mod outbox;
mod pending;
mod picture;
mod places;
mod registry;
mod server;
#[cfg(test)]
mod tests;
mod workshop;

pub(crate) use body::is_message;
pub(crate) use client::{Reporting, Reports};
pub(crate) use listening::{Listening, Serving};
pub(crate) use message::{ClientLog, Message, NodeStatus};
pub(crate) use nodes::{ClientInfo, NodeError, Nodes};
