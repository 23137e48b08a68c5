//! Reading envelopes one after the other, without decoding twice what is the same.
//!
//! Invariant: what [`Decoder::decode`] gives is what [`Envelope::decode`] would give.

use std::sync::Arc;

use super::envelope::{DecodeError, Envelope, Head, ORD, ORD_LEN};
use super::front::{self, Front};
use super::stamp;

/// Streams whose constant part a decoder remembers, and how long one may be.
const REMEMBERED: usize = 32;
const LONGEST: usize = 64 << 10;

/// Reads envelopes one after the other, and remembers the constant parts that it has seen.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The one that was seen last comes first.
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    fields: u16,
    /// What follows the front, without stamp and `ord`.
    rest: Box<[u8]>,
    has_ord: bool,
    has_stamp: bool,
    head: Arc<Head>,
}

impl Decoder {
    /// Reads an envelope; any bytes may come.
    ///
    /// # Errors
    /// As [`Envelope::decode`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Envelope, DecodeError> {
        let Some((fields, front, rest)) = front::read(bytes) else { return Envelope::decode(bytes) };
        let (rest, ord) = split_ord(rest);
        let (rest, received) = stamp::split(rest);
        let Front { id, ts, payload } = front;
        let is_it = |known: &Known| {
            let has_same = known.has_ord == ord.is_some() && known.has_stamp == received.is_some();
            known.fields == fields && has_same && *known.rest == *rest
        };
        if let Some(at) = self.known.iter().position(is_it) {
            self.known[..=at].rotate_right(1);
            return Ok(Envelope { id, ts, ord, received, payload, head: self.known[0].head.clone() });
        }
        let envelope = Envelope::decode(bytes)?;
        // A body may end in what looks like an `ord`, or a stamp.
        if envelope.ord == ord && envelope.received == received && rest.len() <= LONGEST {
            self.known.truncate(REMEMBERED - 1);
            let (has_ord, has_stamp) = (ord.is_some(), received.is_some());
            let head = envelope.head.clone();
            self.known.insert(0, Known { fields, rest: rest.into(), has_ord, has_stamp, head });
        }
        Ok(envelope)
    }
}

/// `ord` at the end, if there is one.
fn split_ord(rest: &[u8]) -> (&[u8], Option<u64>) {
    let split = rest.len().checked_sub(ORD_LEN).map(|at| rest.split_at(at));
    let found = split.and_then(|(rest, tail)| Some((rest, tail.strip_prefix(ORD)?)));
    match found {
        Some((before, &[a, b, c, d, e, f, g, h])) => (before, Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]))),
        _ => (rest, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::body::StoreRaw;
    use super::super::envelope::{Message, MessageId, Origin, Prepared};
    use super::super::payload::{PayloadInfo, PayloadKind};
    use super::*;

    fn prepared(tag: &str) -> Prepared {
        let message = Message::of(&StoreRaw {}).unwrap().with_tag(tag);
        Prepared::new(&message, &Origin::default(), &[]).unwrap()
    }

    fn in_ring(prepared: &Prepared, seq: u64) -> Vec<u8> {
        let payload = [PayloadInfo { kind: PayloadKind::Raw, len: seq, offset: Some(0) }];
        let mut bytes = vec![0; prepared.size(&payload)];
        prepared.write(&mut bytes, MessageId { epoch: 1, seq }, 5, &payload);
        bytes
    }

    #[test]
    fn the_constant_part_of_a_stream_is_decoded_once() {
        let (a, b) = (prepared("a"), prepared("b"));
        let mut decoder = Decoder::default();

        let heads: Vec<_> =
            [in_ring(&a, 1), in_ring(&b, 1), in_ring(&a, 2), b.copy(MessageId { epoch: 1, seq: 9 }, 5, &[], 3)]
                .iter()
                .map(|bytes| {
                    let envelope = decoder.decode(bytes).unwrap();
                    assert_eq!(envelope, Envelope::decode(bytes).unwrap());
                    envelope.head
                })
                .collect();

        assert!(Arc::ptr_eq(&heads[0], &heads[2]) && !Arc::ptr_eq(&heads[0], &heads[1]));
        assert!(!Arc::ptr_eq(&heads[1], &heads[3]), "a copy on the bus has other fields");
    }

    #[test]
    fn a_body_that_ends_like_an_ord_is_a_body() {
        let tail = [ORD, &7u64.to_be_bytes()].concat();
        let body = [vec![0x81, 0xa1, b'x', 0xc4, 13], tail].concat();
        let mut bytes = in_ring(&prepared("t"), 1);
        let at = bytes.windows(5).rposition(|window| window == b"\xa4body").unwrap() + 5;
        bytes.truncate(at);
        bytes.extend(body);
        let mut decoder = Decoder::default();

        for _ in 0..2 {
            assert_eq!(decoder.decode(&bytes).unwrap(), Envelope::decode(&bytes).unwrap());
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_read_as_if_nothing_were_remembered(at in 0usize..200, to in any::<u8>()) {
            let good = in_ring(&prepared("tag"), 3);
            let mut bad = good.clone();
            let at = at % bad.len();
            bad[at] = to;
            let mut decoder = Decoder::default();
            decoder.decode(&good).unwrap();

            prop_assert_eq!(decoder.decode(&bad).ok(), Envelope::decode(&bad).ok());
        }
    }
}
