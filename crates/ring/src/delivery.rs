//! A record in a reader's hands: a view of its bytes, and the duty to say when they are done with.
//!
//! ```text
//!   lossless   out ──ack──▶ the writer may reuse the bytes      dropped without: stays unacknowledged, comes again
//!                                                               to the next process under this reader's id
//!   latest     out ──ack or drop──▶ unpinned
//! ```
//! Invariant: the bytes do not change while the delivery lives, whatever the writer does.
#![expect(unsafe_code, reason = "lends out the bytes of a record")]

use crate::lane::Shared;
use crate::record::Record;
use std::sync::Arc;

/// A record, to be looked at in place. Several of one reader may be out, on any threads, and be acknowledged in any
/// order; of a lossy reader, one for each writer.
#[derive(Debug)]
#[must_use = "a delivery that is not acknowledged holds up its writer"]
pub struct Delivery {
    lane: Arc<Shared>,
    record: Record,
    redelivered: bool,
    is_lossless: bool,
}

impl Delivery {
    pub(crate) fn new(lane: Arc<Shared>, record: Record, redelivered: bool, is_lossless: bool) -> Self {
        Self { lane, record, redelivered, is_lossless }
    }

    /// The envelope, as it was filled in.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        self.bytes(0, self.record.size.envelope)
    }

    /// The payload, as it was filled in; begins at a multiple of 64.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes(self.record.size.payload_start(), self.record.size.payload)
    }

    /// The unique id of the writer.
    #[must_use]
    pub fn writer(&self) -> u128 {
        self.lane.owner.unique_id
    }

    /// The record's place in the writer's region history: rises from record to record of one writer.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.record.position
    }

    /// Which start of the writer made it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.record.epoch
    }

    /// Its number within the epoch.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.record.seq
    }

    /// Whether a former process under this reader's id may have had it already.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Done with it: the writer may use the bytes again.
    pub fn ack(self) {
        if self.is_lossless {
            self.lane.acknowledge(self.record.position);
        }
    }

    fn bytes(&self, start: usize, length: usize) -> &[u8] {
        let base = self.lane.region.data(self.record.bytes);
        // SAFETY: `Record::checked` found envelope and payload inside the range, and the range inside the data area.
        let at = unsafe { base.add(start) };
        // SAFETY: mapped for as long as the lane lives, which `self` keeps. The writer does not touch the bytes while
        // the record is neither acknowledged nor unpinned, which ends with `self`. (A process that breaks the protocol
        // could change their values; not where they lie.)
        unsafe { std::slice::from_raw_parts(at.as_ptr(), length) }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_lossless {
            self.lane.release();
        }
    }
}
