//! Large messages go in pieces, so that nothing that must be heard waits behind one for long.
//!
//! Invariants: what is put together is what was cut, or nothing; what waits to be whole is bounded.

use std::time::Duration;

use super::frame::Parcel;
use super::quay::MAX_MESSAGE;

/// A payload that is longer goes in pieces of so many bytes: on a line of 2 Mbit/s one takes two seconds, less than the
/// silence after which the other end is given up.
pub(super) const PIECE: usize = 512 << 10;

/// The slowest line that links are made for carries a piece in this time.
const _: () = assert!(PIECE as u64 / 250_000 < Duration::from_secs(4).as_secs());

/// The pieces of a payload, with their places; an empty one is one piece.
pub(super) fn pieces(payload: &[u8]) -> impl Iterator<Item = (u32, u32, &[u8])> {
    let count = u32::try_from(payload.len().div_ceil(PIECE)).unwrap_or(u32::MAX).max(1);
    (0..count).map(move |n| {
        let start = n as usize * PIECE;
        (n, count, &payload[start..payload.len().min(start + PIECE)])
    })
}

/// A message that is being put together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    parcel: Parcel,
    /// The next piece.
    next: u32,
    bytes: Vec<u8>,
}

/// What a piece makes.
#[derive(Debug)]
pub(super) enum Made {
    /// A whole message.
    Whole(Parcel),
    /// More pieces are to come.
    More,
    /// A piece before this one is missing.
    Gap,
}

impl Assembly {
    /// A piece has come.
    pub(super) fn add(&mut self, parcel: Parcel) -> Made {
        if parcel.pieces == 1 {
            self.begun = None;
            return Made::Whole(parcel);
        }
        if parcel.piece == 0 {
            let bytes = parcel.payload.to_vec();
            self.begun = Some(Begun { parcel, next: 1, bytes });
            return Made::More;
        }
        let Some(begun) = &mut self.begun else { return Made::Gap };
        let is_next = begun.parcel.number == parcel.number
            && begun.next == parcel.piece
            && begun.parcel.pieces == parcel.pieces
            && (begun.bytes.len() + parcel.payload.len()) as u64 <= MAX_MESSAGE;
        if !is_next {
            return Made::Gap;
        }
        begun.bytes.extend_from_slice(&parcel.payload);
        begun.next += 1;
        if begun.next < parcel.pieces {
            return Made::More;
        }
        match self.begun.take() {
            Some(Begun { parcel, bytes, .. }) => {
                Made::Whole(Parcel { piece: 0, pieces: 1, payload: zmq::Message::from(bytes), ..parcel })
            }
            None => Made::Gap,
        }
    }

    /// Forgets what is not whole.
    pub(super) fn clear(&mut self) {
        self.begun = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(number: u64, payload: &[u8]) -> Vec<Parcel> {
        let parcel = |(piece, pieces, bytes): (u32, u32, &[u8])| {
            let envelope = zmq::Message::from(if piece == 0 { &b"e"[..] } else { &[] });
            Parcel { number, whole: None, piece, pieces, envelope, payload: zmq::Message::from(bytes) }
        };
        pieces(payload).map(parcel).collect()
    }

    #[test]
    fn what_is_put_together_is_what_was_cut() {
        let mut assembly = Assembly::default();
        for (len, count) in [(0, 1), (1, 1), (PIECE, 1), (PIECE + 1, 2), (3 * PIECE, 3), (3 * PIECE + 7, 4)] {
            let payload: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let parcels = cut(9, &payload);
            assert_eq!(parcels.len(), count);

            let mut made: Vec<_> = parcels.into_iter().map(|parcel| assembly.add(parcel)).collect();

            let Some(Made::Whole(whole)) = made.pop() else { panic!("it is whole") };
            assert_eq!((&whole.payload[..], &whole.envelope[..], whole.pieces), (&payload[..], &b"e"[..], 1));
            assert!(made.iter().all(|made| matches!(made, Made::More)));
        }
    }

    #[test]
    fn a_missing_piece_makes_nothing_and_a_new_beginning_does() {
        let payload = vec![5; 3 * PIECE];
        let mut assembly = Assembly::default();
        let [first, _, last] = <[Parcel; 3]>::try_from(cut(1, &payload)).unwrap();

        assert!(matches!(assembly.add(first), Made::More));
        assert!(matches!(assembly.add(last), Made::Gap));
        assert!(matches!(assembly.add(cut(2, &payload).remove(1)), Made::Gap));
        let made: Vec<_> = cut(1, &payload).into_iter().map(|parcel| assembly.add(parcel)).collect();
        assert!(matches!(made[..], [Made::More, Made::More, Made::Whole(_)]));
        assembly.clear();
        assert!(matches!(assembly.add(cut(3, &payload).remove(2)), Made::Gap));
    }
}
