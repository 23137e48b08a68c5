//! A record as its descriptor says it: eight words, and the bytes that they own.
//!
//! ```text
//!   word 0 position   1 epoch   2 seq   3 mask   4 routed by   5 bytes   6 payload length   7 envelope length
//!
//!   bytes:  offset/64 in the high half, length/64 in the low half: one word names a range, so that a pin can too
//!   data:   [envelope ··][payload ····]      both begin at a multiple of 64
//! ```
//! *Mask* has a bit for each reader entry that the topics matched; *routed by* is the version of the topic table that
//! said so. A reader that joined later than that under the same entry is somebody else: see [`Route::leads_to`].
//! Invariant: what comes out of [`Record::checked`] lies inside the data area, whatever the words said.

use crate::layout::{ALIGNMENT, DESCRIPTOR_WORDS, Descriptor};
use crate::position::is_before;

/// A range of the data area, in units of 64 bytes. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes {
    pub(crate) offset: u32,
    pub(crate) units: u32,
}

impl Bytes {
    /// The one word that names the range; never 0.
    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.offset) << 32 | u64::from(self.units)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        let [offset, units] = halves(word);
        Self { offset, units }
    }

    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.units)
    }

    /// Offset in bytes.
    pub(crate) fn start_byte(self) -> usize {
        self.offset as usize * ALIGNMENT
    }
}

/// The high and the low half of a word.
pub(crate) fn halves(word: u64) -> [u32; 2] {
    [word >> 32, word & u64::from(u32::MAX)].map(|half| u32::try_from(half).expect("32 bits are left"))
}

/// How much a record needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Length of the envelope, bytes.
    pub envelope: usize,
    /// Length of the payload, bytes.
    pub payload: usize,
}

impl Size {
    /// Units of the data area that it takes, at least one; `None` if no region could hold it.
    pub(crate) fn units(self) -> Option<u32> {
        let units = self.envelope.div_ceil(ALIGNMENT).checked_add(self.payload.div_ceil(ALIGNMENT))?;
        u32::try_from(units.max(1)).ok()
    }

    /// Where the payload begins, from the beginning of the record's bytes.
    pub(crate) fn payload_start(self) -> usize {
        self.envelope.next_multiple_of(ALIGNMENT)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) position: u64,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) route: Route,
    pub(crate) bytes: Bytes,
    pub(crate) size: Size,
}

/// For whom a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// One bit for each reader entry.
    pub(crate) mask: u64,
    /// The version of the topic table that said so.
    pub(crate) version: u64,
}

impl Route {
    /// Whether it leads to the reader that joined `entry` at table version `since`, not to a predecessor.
    pub(crate) fn leads_to(self, entry: usize, since: u64) -> bool {
        self.mask >> entry & 1 == 1 && !is_before(self.version, since)
    }
}

impl Record {
    pub(crate) fn write(&self, descriptor: &Descriptor) {
        let words = [
            self.position,
            self.epoch,
            self.seq,
            self.route.mask,
            self.route.version,
            self.bytes.to_word(),
            self.size.payload as u64,
            self.size.envelope as u64,
        ];
        for (word, value) in descriptor.0.iter().zip(words) {
            word.set(value);
        }
    }

    /// Copies the words out; nothing is believed yet.
    pub(crate) fn copy_out(descriptor: &Descriptor) -> [u64; DESCRIPTOR_WORDS] {
        std::array::from_fn(|i| descriptor.0[i].get())
    }

    /// Believes the words if they describe the record at `position` and lie in a data area of `data_units`.
    pub(crate) fn checked(words: [u64; DESCRIPTOR_WORDS], position: u64, data_units: u64) -> Option<Self> {
        let [said_position, epoch, seq, mask, version, bytes, payload, envelope] = words;
        let bytes = Bytes::from_word(bytes);
        let size = Size { envelope: usize::try_from(envelope).ok()?, payload: usize::try_from(payload).ok()? };
        let fits = size.units()? <= bytes.units && bytes.end() <= data_units;
        (said_position == position && fits).then_some(Self {
            position,
            epoch,
            seq,
            route: Route { mask, version },
            bytes,
            size,
        })
    }
}

/// The numbers of the bits that are set.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: Bytes, payload: u64, envelope: u64) -> [u64; DESCRIPTOR_WORDS] {
        [7, 1, 0, 1, 1, bytes.to_word(), payload, envelope]
    }

    #[test]
    fn a_range_is_one_word_and_back() {
        let bytes = Bytes { offset: u32::MAX, units: 3 };

        assert_eq!(Bytes::from_word(bytes.to_word()), bytes);
        assert_eq!(bytes.end(), u64::from(u32::MAX) + 3);
    }

    #[test]
    fn words_that_leave_the_data_area_or_their_own_bytes_are_refused() {
        let bytes = Bytes { offset: 8, units: 2 };

        assert!(Record::checked(words(bytes, 64, 64), 7, 10).is_some());
        assert!(Record::checked(words(bytes, 64, 64), 8, 10).is_none());
        assert!(Record::checked(words(bytes, 64, 64), 7, 9).is_none());
        assert!(Record::checked(words(bytes, 65, 64), 7, 10).is_none());
        assert!(Record::checked(words(bytes, u64::MAX, 1), 7, 10).is_none());
        assert!(Record::checked(words(Bytes { offset: u32::MAX, units: u32::MAX }, 1, 1), 7, 10).is_none());
    }

    #[test]
    fn bits_are_listed_from_the_lowest() {
        assert_eq!(bits(1 | 1 << 5 | 1 << 63).collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(bits(0).count(), 0);
    }
}
