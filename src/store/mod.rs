//! The base of every store: what stands between a message that was received and one that is safe.
//!
//! ```text
//!            job's thread                                    backend's thread
//!  inbox ──▶ put: encode into a batch ──▶ commit(batch, marks) ──▶ sync
//!    │         (pure: touches nothing)        │ all of it or nothing, as `resume` will tell
//!    │                                        ▼
//!    └── the backend is away or slow ──▶ spool ──▶ put, commit … in the order of arrival
//! ```
//!
//! A backend implements [`Sink`]; [`Store`] makes a job of it. A message is acknowledged when it is where
//! [`Keeping::durability`] promises it to be: in the backend, or in the spool, which outlives the process too.
//!
//! **Exactly once.** Every message has an [id](crate::message::MessageId), and those of one epoch come in the order of
//! their numbers. A batch is committed together with the [`Marks`] that it leads to: of each epoch, the number up to which
//! all is stored. After a crash, an error or a lost connection the backend is asked what it has
//! ([`resume`](Sink::resume)), and what comes again up to there is passed over. So nobody else has to remember anything:
//! the spool is read from its beginning, the ring delivers again what was not acknowledged, and neither asks whether the
//! answer to a commit was lost on its way.
//!
//! Invariants: [`put`](Sink::put) waits for nothing, so that a backend that hangs holds up no source while the spool has
//! room; messages reach the backend in the order of their arrival; nothing is dropped but what was refused, which is
//! counted, and told once a stream.

pub mod conformance;
mod desk;
pub mod files;
mod job;
mod keeper;
mod marks;
mod outage;
mod pile;
mod refusals;
mod settings;
mod shelter;
mod sink;
pub(crate) mod spool;
mod teller;

pub use job::Store;
pub use marks::Marks;
pub use settings::{Durability, Keeping, StoreSettings};
pub use sink::{Home, Lost, Refused, Report, Sink, Trouble};
