//! Packs of small records: one payload of many, so that eight bytes do not cost a message.
//!
//! All numbers little-endian:
//!
//! ```text
//! 0        4          4+4n
//! ├ u32 n ─┼ n × u32 ─┼ the records, one after the other ┤
//!   count    lengths    exactly the sum of the lengths
//! ```
//!
//! Invariant: a pack has one form, and what does not have it is refused before the first record is handed out.

use std::iter::FusedIterator;

use super::payload::PayloadError;

/// Bytes of a count, and of a length.
const NUMBER: usize = size_of::<u32>();

/// A pack that is being filled; emptied, it keeps its memory.
#[derive(Debug, Clone, Default)]
pub struct RecordPack {
    /// As they will stand in the payload.
    lengths: Vec<u8>,
    content: Vec<u8>,
}

impl RecordPack {
    /// A pack without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record; a few nanoseconds.
    ///
    /// # Errors
    /// [`PayloadError::Records`] for a record of more than `u32::MAX` bytes, or one after `u32::MAX` others.
    #[inline]
    pub fn push(&mut self, record: &[u8]) -> Result<(), PayloadError> {
        let refuse = || PayloadError::Records(record.len());
        let len = u32::try_from(record.len()).map_err(|_| refuse())?;
        if self.count() >= u32::MAX as usize {
            return Err(refuse());
        }
        self.lengths.extend_from_slice(&len.to_le_bytes());
        self.content.extend_from_slice(record);
        Ok(())
    }

    /// The records in it.
    #[must_use]
    #[inline]
    pub fn count(&self) -> usize {
        self.lengths.len() / NUMBER
    }

    /// The bytes that it needs as a payload.
    #[must_use]
    #[inline]
    pub fn len_bytes(&self) -> usize {
        NUMBER + self.lengths.len() + self.content.len()
    }

    /// Writes it as a payload.
    ///
    /// # Panics
    /// `payload` has not exactly [`len_bytes`](Self::len_bytes) bytes.
    pub fn write_into(&self, payload: &mut [u8]) {
        let (has, needs) = (payload.len(), self.len_bytes());
        assert!(has == needs, "a pack of {needs} bytes cannot be a payload of {has}");
        let count = u32::try_from(self.count()).expect("no record was taken after the last that can be counted");
        let (head, rest) = payload.split_at_mut(NUMBER);
        let (lengths, content) = rest.split_at_mut(self.lengths.len());
        head.copy_from_slice(&count.to_le_bytes());
        lengths.copy_from_slice(&self.lengths);
        content.copy_from_slice(&self.content);
    }

    /// The pack as a payload of its own; copies.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut payload = vec![0; self.len_bytes()];
        self.write_into(&mut payload);
        payload
    }

    /// Takes all records out.
    #[inline]
    pub fn clear(&mut self) {
        self.lengths.clear();
        self.content.clear();
    }
}

/// The records of a pack, in their order; nothing is allocated.
///
/// # Errors
/// [`PayloadError::Records`] where the lengths do not fit the bytes.
pub fn records(bytes: &[u8]) -> Result<Records<'_>, PayloadError> {
    let refuse = || PayloadError::Records(bytes.len());
    let (count, rest) = bytes.split_first_chunk().ok_or_else(refuse)?;
    let lengths = (u32::from_le_bytes(*count) as usize).checked_mul(NUMBER).ok_or_else(refuse)?;
    let (lengths, content) = rest.split_at_checked(lengths).ok_or_else(refuse)?;
    let (lengths, _) = lengths.as_chunks();
    // At most 2³² numbers below 2³²: no overflow.
    let needed: u64 = lengths.iter().map(|len| u64::from(u32::from_le_bytes(*len))).sum();
    match needed == content.len() as u64 {
        true => Ok(Records { lengths: lengths.iter(), content }),
        false => Err(refuse()),
    }
}

/// What [`records`] gives.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    lengths: std::slice::Iter<'a, [u8; NUMBER]>,
    /// The bytes of the records that are still to come.
    content: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(*self.lengths.next()?) as usize;
        let (record, rest) = self.content.split_at_checked(len)?;
        self.content = rest;
        Some(record)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.lengths.size_hint()
    }
}

impl ExactSizeIterator for Records<'_> {}
impl FusedIterator for Records<'_> {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn packed(records: &[Vec<u8>]) -> RecordPack {
        let mut pack = RecordPack::new();
        records.iter().for_each(|record| pack.push(record).unwrap());
        pack
    }

    #[test]
    fn a_pack_has_the_form_that_is_drawn() {
        let pack = packed(&[b"ab".to_vec(), vec![], b"c".to_vec()]);

        assert_eq!(pack.to_vec(), b"\x03\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0abc");
        assert_eq!((pack.count(), pack.len_bytes()), (3, 19));
    }

    #[test]
    fn a_pack_without_records_has_none() {
        let mut pack = packed(&[b"ab".to_vec()]);
        pack.clear();

        assert_eq!(records(&pack.to_vec()).unwrap().len(), 0);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused_before_a_record_is_seen() {
        let whole = packed(&[b"ab".to_vec(), b"c".to_vec()]).to_vec();
        let longer = [&whole[..], b"d"].concat();
        let many = [&[0xff; 4], &whole[4..]].concat();

        for bytes in [&[][..], &whole[..3], &whole[..7], &whole[..whole.len() - 1], &longer, &many] {
            assert!(records(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    #[should_panic(expected = "a pack of 4 bytes cannot be a payload of 5")]
    fn a_payload_of_another_length_is_refused() {
        RecordPack::new().write_into(&mut [0; 5]);
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(first in vec(any::<Vec<u8>>(), 0..20), then in vec(any::<Vec<u8>>(), 0..20)) {
            let mut pack = packed(&first);
            let one = pack.to_vec();
            pack.clear();
            then.iter().for_each(|record| pack.push(record).unwrap());
            let other = pack.to_vec();

            prop_assert_eq!(records(&one).unwrap().collect::<Vec<_>>(), first);
            prop_assert_eq!(records(&other).unwrap().collect::<Vec<_>>(), then);
        }

        #[test]
        fn arbitrary_bytes_are_no_pack_or_the_pack_of_their_records(bytes in any::<Vec<u8>>()) {
            if let Ok(records) = records(&bytes) {
                let records: Vec<_> = records.map(<[u8]>::to_vec).collect();
                prop_assert_eq!(packed(&records).to_vec(), bytes);
            }
        }
    }
}
