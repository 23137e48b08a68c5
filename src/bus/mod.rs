//! The bus: ZeroMQ between the processes of a supervisor, by two pairs of proxies.
//!
//! ```text
//!                 control: small, never behind data             data: payloads
//!  publishers ──▶ XSUB ═ forwarding thread ═ XPUB ──▶ readers   XSUB ═ forwarding thread ═ XPUB (NODROP)
//!            XPUB ◀── who subscribed what ─────────── XSUB      same
//! ```
//!
//! Every publisher is an XPUB, so it hears which topics have readers: a message for nobody is not sent, and counted.
//! Nothing that the data plane accepted for jobs is dropped in silence: each hop waits when the next one is full, back to
//! [`Publisher::publish`], which waits until its deadline. For programs outside, which subscribe names without `~`, nobody
//! waits: what one has no room for it misses. The control plane never waits: a reader that does not read
//! its control messages loses them. Each copy carries `ord`, its number among the copies to that topic, so the reader
//! sees and counts every gap.
//!
//! Who has subscribed is known upstream, never behind data: so a job learns that its subscriptions stand from its own
//! publisher, which hears of them by way of the proxy ([`Publisher::has_readers`]).
//!
//! Invariants: the bus names no job; it touches no tokio; one thread a socket at a time; a proxy ends within 100 ms of
//! being told, whatever its readers do.

mod contexts;
mod endpoints;
mod error;
mod keys;
mod monitor;
mod proxy;
mod publisher;
mod subscriber;
mod zap;

pub(crate) use contexts::Contexts;
pub(crate) use endpoints::{Endpoints, Transport};
pub use error::BusError;
pub use keys::KeyError;
pub(crate) use keys::{Keys, read_key, text_of};
pub(crate) use monitor::{Happening, Monitor};
pub(crate) use proxy::Proxies;
pub use publisher::{Deadline, PublishError};
pub(crate) use publisher::{Publisher, Tracked};
pub(crate) use subscriber::{Arrival, Delivery, Subscriber, SubscriberCounts};
pub(crate) use zap::{Gate, Guests, PublicKey, ShutOut, Stranger};

use crate::message::Plane;

/// Messages that each hop holds for one reader before it waits (data) or drops (control).
const DATA_HIGH_WATER: i32 = 1000;
const CONTROL_HIGH_WATER: i32 = 10_000;

fn high_water(plane: Plane) -> i32 {
    match plane {
        Plane::Control => CONTROL_HIGH_WATER,
        Plane::Data => DATA_HIGH_WATER,
    }
}
