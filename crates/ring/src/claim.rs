//! The right to fill a record: a value that borrows the writer, is consumed by the commit and undone by dropping it.
//!
//! ```text
//!   [envelope ··][payload ················]      both begin at a multiple of 64, both are filled in place
//! ```
//! Invariant: the bytes belong to this claim alone until it is committed or dropped.
#![expect(unsafe_code, reason = "lends out the bytes of a claim")]

use crate::record::{Bytes, Record, Size};
use crate::writer::Writer;

/// Why nothing was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Nobody subscribes to the topics; counted.
    #[error("nobody subscribes")]
    Unrouted,
    /// The record would take more than half of the region: send it over the bus.
    #[error("a record of {bytes} bytes is over half of the region ({limit})")]
    TooLarge {
        /// What it would take.
        bytes: usize,
        /// The most that a record may take.
        limit: usize,
    },
    /// No room before the deadline: a lossless reader is behind. Try again, or count it with [`Writer::count_dropped`].
    #[error("no room before the deadline")]
    NoRoom,
    /// Stop was asked for while waiting for room.
    #[error("stopped")]
    Stopped,
}

/// The right to fill a record. Dropped without [`Claim::commit`], it leaves no trace.
#[derive(Debug)]
#[must_use = "a claim that is not committed is given up"]
pub struct Claim<'w> {
    writer: &'w mut Writer,
    record: Record,
}

impl<'w> Claim<'w> {
    pub(crate) fn new(writer: &'w mut Writer, record: Record) -> Self {
        Self { writer, record }
    }

    /// The writer's epoch: with [`Claim::seq`] it names the record for ever.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.record.epoch
    }

    /// The record's number within its epoch.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.record.seq
    }

    /// The bytes of the envelope; what an older record left there is still in them.
    pub fn envelope_mut(&mut self) -> &mut [u8] {
        self.bytes_mut(0, self.record.size.envelope)
    }

    /// The bytes of the payload, 64-byte aligned; what an older record left there is still in them.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.bytes_mut(self.record.size.payload_start(), self.record.size.payload)
    }

    /// Envelope and payload at once.
    pub fn parts_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        let Size { envelope, payload } = self.record.size;
        let start = self.record.size.payload_start();
        let (head, tail) = self.bytes_mut(0, start + payload).split_at_mut(start);
        (&mut head[..envelope], tail)
    }

    /// Gives back the end of the payload: only its first `payload` bytes are sent.
    ///
    /// # Panics
    /// If the payload is shorter than that.
    pub fn shorten_payload(&mut self, payload: usize) {
        assert!(payload <= self.record.size.payload, "a payload can be shortened only");
        self.record.size.payload = payload;
        let units = self.record.size.units().expect("less than what fitted");
        let rest = self.record.bytes.units - units;
        if rest > 0 {
            self.record.bytes.units = units;
            self.writer.give_back(Bytes { offset: self.record.bytes.offset + units, units: rest });
        }
    }

    /// Sends the record and returns its position. From here on, kill -9 loses nothing.
    pub fn commit(self) -> u64 {
        // The bytes belong to the record now, so the claim must not give them back.
        let mut claim = std::mem::ManuallyDrop::new(self);
        let record = claim.record;
        claim.writer.commit(record)
    }

    fn bytes_mut(&mut self, start: usize, length: usize) -> &mut [u8] {
        let base = self.writer.data(self.record.bytes);
        // SAFETY: the range lies inside the data area, and `start + length` inside the range: the range was taken for
        // this size, which can only shrink.
        let at = unsafe { base.add(start) };
        // SAFETY: mapped and initialized (zeros or older bytes); no reader looks at bytes that are neither committed
        // nor pinned, and the allocator lends them to this claim alone, which is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), length) }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.writer.give_back(self.record.bytes);
    }
}
