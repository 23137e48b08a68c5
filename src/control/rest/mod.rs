//! The REST API of a server: HTTP in, a [`Command`](super::Command) out, its [`Reply`](super::Reply) printed.
//!
//! ```text
//!   listener ──▶ places ──▶ TLS ──▶ hyper ──▶ gate ──▶ router ──▶ route ──▶ desk of this node, or nodes
//!                (bounded)                    host     (one table,  (parses, prints)
//!                                             origin    also the
//!                                             rate      OpenAPI
//!                                             token     document)
//!                                             body
//! ```
//!
//! Invariants: it runs on a thread of its own, so that neither data nor the dispatcher feels it; nothing of a request
//! but its head is read before the gate has let it in; all that a stranger can make it keep is bounded: connections,
//! heads, bodies, streams, addresses; one table holds all routes, for the router and for the OpenAPI document.

mod allowance;
mod app;
mod asked;
mod audit;
mod call;
mod clients;
mod connection;
mod events;
mod exposition;
mod fault;
mod figures;
mod gate;
mod health;
mod hosts;
mod jobs;
mod link_metrics;
mod listen;
mod log_feed;
mod logs;
mod metrics;
mod nodes;
mod openapi;
mod origins;
mod page;
mod places;
mod route;
mod routes;
mod server;
mod shapes;
mod stream;
mod tls;

pub use server::RestError;
pub(crate) use server::{Rest, RestGuard, RestParts, descriptors};
pub use tls::TlsError;
