//! The front of an envelope: what differs from message to message, first and in fixed widths, so that it can be written
//! over a copy of the last message and read without a decoder. What follows is the same for all messages of a stream.
//!
//! Invariant: [`read`] accepts exactly what [`write`] makes; any other bytes are for the decoder of MessagePack.

use smallvec::SmallVec;

use super::envelope::{FORMAT_VERSION, MessageId};
use super::payload::{PayloadInfo, PayloadKind};

/// The payloads of a message; nearly always one.
pub type PayloadList = SmallVec<[PayloadInfo; 1]>;

/// What differs from message to message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) id: MessageId,
    pub(super) ts: i64,
    pub(super) payload: PayloadList,
}

/// A map whose number of fields has two bytes.
const MAP16: u8 = 0xde;

/// The fields of the front: v, id, ts, epoch, seq, payload.
pub(super) const FIELDS: u16 = 6;

const V: &[u8] = &[0xa1, b'v', FORMAT_VERSION];
const ID: &[u8] = b"\xa2id\xc4\x10";
const TS: &[u8] = b"\xa2ts\xd3";
const EPOCH: &[u8] = b"\xa5epoch\xcf";
const SEQ: &[u8] = b"\xa3seq\xcf";
const PAYLOAD: &[u8] = b"\xa7payload";
const KIND: &[u8] = b"\xa4kind";
const LEN: &[u8] = b"\xa3len\xcf";
const OFFSET: &[u8] = b"\xa6offset\xcf";

/// The most payloads that a list of one head byte holds; no message has more.
pub(super) const MAX_PAYLOADS: usize = 15;

/// How many bytes the front has.
pub(super) fn len(payload: &[PayloadInfo]) -> usize {
    let scalars = 3 + V.len() + ID.len() + 16 + TS.len() + 8 + EPOCH.len() + 8 + SEQ.len() + 8 + PAYLOAD.len() + 1;
    let one = |info: &PayloadInfo| {
        let offset = if info.offset.is_some() { OFFSET.len() + 8 } else { 0 };
        1 + KIND.len() + 1 + info.kind.as_str().len() + LEN.len() + 8 + offset
    };
    scalars + payload.iter().map(one).sum::<usize>()
}

/// Writes the front of an envelope of so many fields in all; gives how much it wrote.
///
/// # Panics
/// If `out` is shorter than [`len`], or there are over [`MAX_PAYLOADS`].
pub(super) fn write(out: &mut [u8], fields: u16, id: MessageId, ts: i64, payload: &[PayloadInfo]) -> usize {
    let mut pen = Pen { out, at: 0 };
    pen.put(&[MAP16]);
    pen.put(&fields.to_be_bytes());
    pen.put(V);
    pen.put(ID);
    pen.put(&id.epoch.to_be_bytes());
    pen.put(&id.seq.to_be_bytes());
    pen.put(TS);
    pen.put(&ts.to_be_bytes());
    pen.put(EPOCH);
    pen.put(&id.epoch.to_be_bytes());
    pen.put(SEQ);
    pen.put(&id.seq.to_be_bytes());
    pen.put(PAYLOAD);
    assert!(payload.len() <= MAX_PAYLOADS, "a message has at most {MAX_PAYLOADS} payloads");
    pen.put(&[head(0x90, payload.len())]);
    for info in payload {
        let kind = info.kind.as_str();
        pen.put(&[if info.offset.is_some() { 0x83 } else { 0x82 }]);
        pen.put(KIND);
        pen.put(&[head(0xa0, kind.len())]);
        pen.put(kind.as_bytes());
        pen.put(LEN);
        pen.put(&info.len.to_be_bytes());
        if let Some(offset) = info.offset {
            pen.put(OFFSET);
            pen.put(&offset.to_be_bytes());
        }
    }
    pen.at
}

/// A head byte with a small length in it.
fn head(of: u8, len: usize) -> u8 {
    of | u8::try_from(len).expect("lengths in head bytes are small")
}

/// Reads a front: the number of fields, what it says, and what follows it. `None` for anything that [`write`] does not
/// make; a decoder may still understand it.
pub(super) fn read(bytes: &[u8]) -> Option<(u16, Front, &[u8])> {
    let mut eye = Eye(bytes);
    eye.skip(&[MAP16])?;
    let fields = u16::from_be_bytes(eye.take()?);
    eye.skip(V)?;
    eye.skip(ID)?;
    let id = MessageId { epoch: u64::from_be_bytes(eye.take()?), seq: u64::from_be_bytes(eye.take()?) };
    eye.skip(TS)?;
    let ts = i64::from_be_bytes(eye.take()?);
    eye.skip(EPOCH)?;
    eye.skip(&id.epoch.to_be_bytes())?;
    eye.skip(SEQ)?;
    eye.skip(&id.seq.to_be_bytes())?;
    eye.skip(PAYLOAD)?;
    let [list] = eye.take()?;
    if list & 0xf0 != 0x90 {
        return None;
    }
    let mut payload = PayloadList::new();
    for _ in 0..list & 0x0f {
        payload.push(eye.info()?);
    }
    Some((fields, Front { id, ts, payload }, eye.0))
}

/// Writes one thing after the other.
struct Pen<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Pen<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Reads one thing after the other.
struct Eye<'a>(&'a [u8]);

impl Eye<'_> {
    /// What must stand here.
    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn info(&mut self) -> Option<PayloadInfo> {
        let [map] = self.take()?;
        self.skip(KIND)?;
        let kind = PayloadKind::ALL.into_iter().find(|kind| {
            let name = kind.as_str();
            self.0.first() == Some(&head(0xa0, name.len())) && self.0[1..].starts_with(name.as_bytes())
        })?;
        self.0 = &self.0[1 + kind.as_str().len()..];
        self.skip(LEN)?;
        let len = u64::from_be_bytes(self.take()?);
        let offset = match map {
            0x82 => None,
            0x83 => {
                self.skip(OFFSET)?;
                Some(u64::from_be_bytes(self.take()?))
            }
            _ => return None,
        };
        Some(PayloadInfo { kind, len, offset })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_info() -> impl Strategy<Value = PayloadInfo> {
        (0usize..3, any::<u64>(), any::<Option<u64>>()).prop_map(|(kind, len, offset)| PayloadInfo {
            kind: PayloadKind::ALL[kind],
            len,
            offset,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (epoch, seq, ts) in any::<(u64, u64, i64)>(),
            fields in 0u16..,
            payload in proptest::collection::vec(any_info(), 0..=MAX_PAYLOADS),
        ) {
            let id = MessageId { epoch, seq };
            let mut bytes = vec![0; len(&payload) + 2];
            let written = write(&mut bytes, fields, id, ts, &payload);

            let (read_fields, front, rest) = read(&bytes).unwrap();

            prop_assert_eq!(written, len(&payload));
            prop_assert_eq!((read_fields, rest), (fields, &[0u8, 0][..]));
            prop_assert_eq!(front, Front { id, ts, payload: payload.into() });
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _either = read(&bytes);
        }

        #[test]
        fn a_changed_byte_never_panics(at in 0usize..120, to in any::<u8>()) {
            let info = PayloadInfo { kind: PayloadKind::Raw, len: 1, offset: Some(0) };
            let mut bytes = vec![0; len(&[info])];
            write(&mut bytes, 9, MessageId { epoch: 1, seq: 2 }, 3, &[info]);
            let at = at % bytes.len();
            bytes[at] = to;
            let _either = read(&bytes);
        }
    }
}
