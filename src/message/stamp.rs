//! When a message came from another node: two fields of fixed width at the end of its envelope.
//!
//! ```text
//!   ab 72 65 63 65 69 76 65 64 5f 61 74          d3 …8 bytes    "received_at"   ns since the Unix epoch, by the clock here
//!   ac 63 6c 6f 63 6b 5f 6f 66 66 73 65 74       d3 …8 bytes    "clock_offset"  to be added to `ts` for the clock here, ns
//! ```
//!
//! Invariant: an envelope has one stamp at most; the last node to receive it has written it.

/// What the node that received a message says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// When, ns since the Unix epoch, by the clock of the node that received it.
    pub at: i64,
    /// What is to be added to `ts` so that it is by that clock too, in ns; an estimate.
    pub clock_offset: i64,
}

/// How many bytes a stamp has.
pub(crate) const STAMP_LEN: usize = AT.len() + 8 + OFFSET.len() + 8;

const AT: &[u8] = b"\xabreceived_at\xd3";
const OFFSET: &[u8] = b"\xacclock_offset\xd3";

/// A map whose number of fields has two bytes, as every envelope of ours begins.
const MAP16: u8 = 0xde;

/// The fields of a stamp.
const FIELDS: u16 = 2;

/// What stands before the stamp, and the stamp, if there is one.
pub(super) fn split(bytes: &[u8]) -> (&[u8], Option<Received>) {
    let read = || {
        let (before, stamp) = bytes.split_at(bytes.len().checked_sub(STAMP_LEN)?);
        let (at, rest) = stamp.strip_prefix(AT)?.split_first_chunk()?;
        let (clock_offset, _) = rest.strip_prefix(OFFSET)?.split_first_chunk()?;
        Some((before, Received { at: i64::from_be_bytes(*at), clock_offset: i64::from_be_bytes(*clock_offset) }))
    };
    read().map_or((bytes, None), |(before, received)| (before, Some(received)))
}

/// An envelope without `ord` that is to carry a stamp.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamping<'e> {
    before: &'e [u8],
    fields: u16,
}

impl<'e> Stamping<'e> {
    /// `None` for what is no envelope of our writers.
    pub(crate) fn of(envelope: &'e [u8]) -> Option<Self> {
        let &[MAP16, high, low, ..] = envelope else { return None };
        let fields = u16::from_be_bytes([high, low]);
        let (before, old) = split(envelope);
        let fields = if old.is_some() { Some(fields) } else { fields.checked_add(FIELDS) };
        Some(Self { before, fields: fields? })
    }

    /// How many bytes it has with the stamp.
    pub(crate) fn len(&self) -> usize {
        self.before.len() + STAMP_LEN
    }

    /// Writes it with the stamp.
    ///
    /// # Panics
    /// If `out` has another length than [`len`](Self::len).
    pub(crate) fn write(&self, out: &mut [u8], received: Received) {
        let (before, stamp) = out.split_at_mut(self.before.len());
        before.copy_from_slice(self.before);
        before[1..3].copy_from_slice(&self.fields.to_be_bytes());
        let parts: [&[u8]; 4] = [AT, &received.at.to_be_bytes(), OFFSET, &received.clock_offset.to_be_bytes()];
        stamp.copy_from_slice(&parts.concat());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Envelope, Message, MessageId, Origin, Prepared, StoreRaw};
    use super::*;

    fn stamped(envelope: &[u8], received: Received) -> Vec<u8> {
        let stamping = Stamping::of(envelope).unwrap();
        let mut out = vec![0; stamping.len()];
        stamping.write(&mut out, received);
        out
    }

    fn plain(seq: u64) -> Vec<u8> {
        let prepared = Prepared::new(&Message::of(&StoreRaw {}).unwrap(), &Origin::default(), &[]).unwrap();
        let mut bytes = vec![0; prepared.size(&[])];
        prepared.write(&mut bytes, MessageId { epoch: 7, seq }, 1000, &[]);
        bytes
    }

    #[test]
    fn a_stamp_is_read_back_and_the_next_node_replaces_it() {
        let (first, second) = (Received { at: 5, clock_offset: -3 }, Received { at: -9, clock_offset: 250 });
        let once = stamped(&plain(1), first);
        let twice = stamped(&once, second);

        let mut decoder = Decoder::default();
        for (bytes, received) in [(&once, first), (&twice, second), (&stamped(&plain(2), first), first)] {
            let envelope = decoder.decode(bytes).unwrap();
            assert_eq!(envelope, Envelope::decode(bytes).unwrap());
            assert_eq!(envelope.received, Some(received));
            assert_eq!(envelope.committed_at(), 1000 + received.clock_offset);
        }
        assert_eq!(once.len(), twice.len());
        assert_eq!(decoder.decode(&plain(1)).unwrap().received, None);
    }

    #[test]
    fn what_is_no_envelope_of_ours_gets_no_stamp() {
        assert!(Stamping::of(&[]).is_none() && Stamping::of(&[0x80]).is_none());
    }
}
