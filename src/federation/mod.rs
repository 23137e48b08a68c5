//! Federation: many nodes, one experiment. A star: leaves connect to the hub, and each end of a link is a reader of its own
//! ring and a writer into the other's.
//!
//! ```text
//!            leaf                                                        hub
//!   source ─▶ ring ─▶ sender ══ data, numbered ══════▶ quay ─▶ ring (a region a leaf) ─▶ store
//!                │       ▲   ◀══ acks, after the commit ══                   │
//!                ▼       │                                                   ▼
//!              spool ────┘                             sender of another leaf, if its jobs want it
//!   bus   ─▶ relay ─▶ sender: statistics, alerts, heartbeats ─▶ quay ─▶ bus
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `frame`, `window`, `interest`, `clock` | pure: words of the link; what is under way; what may cross; the hub's time |
//! | `link`, `node` | what the threads of a link, and of all, share |
//! | `sender` with its `outbox`, `latest`, `relay`, `packing`, `pieces` | out: everything, the newest, what rides the bus |
//! | `incoming`, `quay` | in: in order; into the ring or onto the bus |
//! | `hub` with its `listed`, `leaf`, `peer` | who is let in; sessions, liveness |
//! | `sockets`, `port`, `kept` | ZeroMQ with keys; what survives a restart |
//!
//! Invariants: (1) a message is acknowledged in the ring of its sender when it is in the spool or committed at the other
//! end, so that no death of either end loses it; (2) it keeps the name that its origin gave it (epoch, seq), and messages
//! of one epoch come in order, so that a store knows what it has; (3) a leaf speaks for itself only and the hub sends
//! nothing back to where it came from: no loop, no echo; (4) what nobody at the other end subscribed does not cross;
//! (5) each leaf has a region, a reader, a spool and a session of its own at the hub: a slow one holds up only who writes
//! for it; (6) what comes from elsewhere commands nobody.
//!
//! What crosses more than once: a message that the hub had committed when it was killed, before its leaf heard so. A store
//! drops it by its name.

mod clock;
mod frame;
mod hub;
mod incoming;
mod interest;
mod kept;
mod latest;
mod leaf;
mod link;
mod listed;
mod node;
mod outbox;
mod packing;
mod peer;
mod pieces;
mod port;
mod quay;
mod relay;
mod sender;
mod service;
mod sockets;
mod window;

pub use frame::is_link_frame;
pub(crate) use interest::Interest;
pub(crate) use node::{Home, latest_number, reader_number, writer_number};
pub(crate) use service::{Federation, Guest, Parts, Prepared, guests};
pub use sockets::FederationError;
