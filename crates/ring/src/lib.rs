//! The data plane of enrgdaq: payloads go from job to job through shared memory, written once and read in place.
//!
//! Kill -9 any process: nothing that was committed is lost, no wrong byte is delivered, and every loss has a number.
//!
//! ```text
//!                        supervisor: Control ── makes, finds again, removes, sweeps, counts
//!                                       │
//!   control segment   who reads what, who writes, what each reader has acknowledged, bells
//!                                       │
//!   job: Writer ──claim, fill, commit──▶ region ──read in place──▶ job: Reader ──Delivery──▶ ack
//!                                      (one a writer)
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `layout` | where each shared word lies, who its author is |
//! | `sync`, `protocol` | the one door to atomics; which word moves when |
//! | `segment`, `lock`, `maps` | shared memory by name; proof of death; typed views |
//! | `record`, `position`, `topics`, `routes`, `ledger` | what the words mean |
//! | `allocator`, `room`, `writer`, `claim` | the writing side |
//! | `front`, `lane`, `delivery`, `reader` | the reading side |
//! | `waiting` | bells, spins, stops, wakers |
//! | `control`, `plan`, `status` | the supervisor's side |
//!
//! Invariants, each tested: (1) a record's bytes change only before its commit or after its reclaim, by its writer
//! alone; (2) no reader delivers bytes of a record that was reclaimed; (3) `head`, `acked`, `reclaimed` only rise and
//! have one author each; (4) positions of a writer rise at each reader; (5) no step waits for another process to be
//! alive, and waiting for room ends with stop; (6) at rest all memory is free, after any number of kills; (7) what
//! another process wrote is copied out, then checked, then used.
//!
//! The ring knows no socket, no async runtime and no job. Linux only (futex, open-file-description locks).
//!
//! ```
//! use enrgdaq_ring::*;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The supervisor makes the ring and says who writes and who reads.
//! let ring = RingName::new(&format!("example-{}", std::process::id()))?;
//! let (mut control, _found) = Control::open(&ring, Leftovers::Keep)?;
//! control.add_writer(&WriterPlan::new(1, 1 << 20))?;
//! let topics = vec!["store.csv".to_owned()];
//! control.add_reader(&ReaderPlan { unique_id: 2, policy: Policy::Lossless, topics })?;
//!
//! // Each job opens its side, usually in a process of its own.
//! let stop = Stop::new();
//! let mut writer = Writer::open(&WriterSpec { ring: ring.clone(), unique_id: 1, spin: Spin::default() })?;
//! let mut reader = Reader::open(&ReaderSpec { ring, unique_id: 2, spin: Spin::default() })?;
//! stop.wakes(reader.waker());
//!
//! let mut claim = writer.claim(&["store.csv.run7"], Size { envelope: 2, payload: 3 }, Until::stopped(&stop))?;
//! claim.envelope_mut().copy_from_slice(b"hi");
//! claim.payload_mut().copy_from_slice(b"abc");
//! claim.commit(); // From here on, kill -9 loses nothing.
//!
//! let delivery = reader.next(Until::stopped(&stop).or_after(Duration::from_secs(1)))?.expect("it was committed");
//! assert_eq!((delivery.envelope(), delivery.payload()), (&b"hi"[..], &b"abc"[..]));
//! delivery.ack();
//! assert!(control.owed().is_empty());
//! control.remove()?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it is proven
//!
//! | what | where |
//! |---|---|
//! | the protocol under kills at every step, with sixteen faults planted | `tests/model` |
//! | its memory orderings, each taken away in turn | `src/loom_tests.rs` (`RUSTFLAGS="--cfg loom" cargo test -p enrgdaq-ring --release --lib loom`) |
//! | the code, killed before each of its shared stores | `tests/ring/kills.rs` |
//! | the code against queues, in any sequence, across the wrap of positions | `tests/ring/queue.rs` |
//! | real processes under load, killed and stopped at random | `tests/ring/chaos.rs` |
//! | every shared word changed to anything | `tests/ring/corruption.rs` |
//! | no allocation a message, constant memory for any number of topics | `tests/allocations.rs` |
//!
//! Longer: `ENRGDAQ_RING_MODEL_STATES`, `ENRGDAQ_RING_KILLS`, `ENRGDAQ_RING_REUSES`, `ENRGDAQ_RING_TOPICS`,
//! `PROPTEST_CASES`.

mod allocator;
mod claim;
mod control;
mod delivery;
mod front;
#[cfg(feature = "kill-points")]
pub mod kill_points;
mod lane;
mod layout;
mod ledger;
mod lock;
#[cfg(all(test, loom))]
mod loom_tests;
mod maps;
mod plan;
mod position;
mod protocol;
mod reader;
mod record;
mod room;
mod routes;
mod segment;
mod status;
mod sync;
mod topics;
mod waiting;
mod writer;

pub use crate::{
    claim::{Claim, ClaimError},
    control::Control,
    delivery::Delivery,
    layout::{ALIGNMENT, READERS, WRITERS},
    lock::OpenError,
    plan::{Added, ControlError, Found, Leftovers, ReaderPlan, WriterPlan},
    reader::{Reader, ReaderSpec},
    record::Size,
    segment::{RingName, SegmentError},
    status::{EdgeStatus, RingStatus, WriterStatus},
    topics::{Policy, matches},
    waiting::{Spin, Stop, Until, Waker},
    writer::{Writer, WriterSpec},
};
