//! The stream from the other end: in order, without a gap, acknowledged once it is committed. Pure, but for counts.
//!
//! ```text
//!   committed ──── waits for room ──── expected
//!        └ acknowledged                   └ the only number that is taken; a later one: "again from here"
//! ```
//! Invariants: numbers are taken in order, each once; what is acknowledged is committed; what waits for room is bounded by
//! the sender's window, and by this side.

use std::collections::VecDeque;

use super::frame::{Ack, Parcel};
use super::link::{Link, add};
use super::pieces::{Assembly, Made};
use super::quay::Landing;

/// What may wait for room here, if the other end does not keep to its window.
const MOST_WAITING: u64 = 2 << 30;

/// A stream that is received.
#[derive(Default)]
pub(super) struct Incoming {
    stream: Option<u64>,
    expected: u64,
    /// What is expected, as far as it has come.
    assembly: Assembly,
    backlog: VecDeque<Parcel>,
    waiting_bytes: u64,
    /// Something that was sent has not come.
    is_missing: bool,
    /// From where the sender was asked to begin again.
    asked_from: Option<u64>,
    latest: u64,
    is_owing: bool,
    told: Vec<&'static str>,
}

impl Incoming {
    /// A connection begins; gives the number with which the stream goes on.
    pub(super) fn begin(&mut self, stream: u64, first: u64) -> u64 {
        if self.stream != Some(stream) {
            // What waits of the former one comes again in this one, if it was not acknowledged.
            self.backlog.clear();
            self.waiting_bytes = 0;
            (self.stream, self.expected) = (Some(stream), first);
        }
        // What its sender has given up does not come any more.
        self.expected = self.expected.max(first);
        self.assembly.clear();
        self.is_missing = false;
        self.asked_from = None;
        self.is_owing = true;
        self.expected
    }

    /// The stream that comes, and its next number.
    pub(super) fn seen(&self) -> Option<(u64, u64)> {
        Some((self.stream?, self.expected))
    }

    /// A message of the stream has come, or a piece of one.
    pub(super) fn take(&mut self, parcel: Parcel, link: &Link) {
        self.is_owing = true;
        if parcel.number < self.expected {
            add(&link.counts.duplicates, 1);
            return;
        }
        let bytes = (parcel.envelope.len() + parcel.payload.len()) as u64;
        if parcel.number > self.expected || self.waiting_bytes.saturating_add(bytes) > MOST_WAITING {
            self.is_missing |= parcel.number > self.expected;
            return;
        }
        add(&link.counts.received_bytes, bytes);
        let parcel = match self.assembly.add(parcel) {
            Made::Whole(parcel) => parcel,
            Made::More => return,
            Made::Gap => {
                self.is_missing = true;
                return;
            }
        };
        self.expected += 1;
        self.is_missing = false;
        self.waiting_bytes += (parcel.envelope.len() + parcel.payload.len()) as u64;
        self.backlog.push_back(parcel);
    }

    /// A piece of one of the latest has come: all before it have, or never will.
    pub(super) fn note_piece(&mut self, parcel: &Parcel) {
        self.is_owing = true;
        self.latest = self.latest.max(parcel.number);
    }

    /// One of the latest has come, and this has become of it.
    pub(super) fn note_latest(&mut self, parcel: &Parcel, landing: &Landing, link: &Link) {
        self.latest = self.latest.max(parcel.number.saturating_add(1));
        match landing {
            Landing::Done => {
                add(&link.counts.received, 1);
                add(&link.counts.received_bytes, (parcel.envelope.len() + parcel.payload.len()) as u64);
            }
            Landing::Later => add(&link.counts.dropped, 1),
            Landing::Again | Landing::Unwanted => add(&link.counts.unwanted, 1),
            Landing::Refused(_) => add(&link.counts.refused, 1),
        }
    }

    /// Commits what there is room for; gives a reason for which something was refused the first time.
    pub(super) fn settle(&mut self, link: &Link, mut land: impl FnMut(&Parcel) -> Landing) -> Option<&'static str> {
        let mut news = None;
        while let Some(parcel) = self.backlog.front() {
            match land(parcel) {
                Landing::Later => break,
                Landing::Done => add(&link.counts.received, 1),
                Landing::Again => add(&link.counts.duplicates, 1),
                Landing::Unwanted => add(&link.counts.unwanted, 1),
                Landing::Refused(why) => {
                    add(&link.counts.refused, 1);
                    if !self.told.contains(&why) {
                        self.told.push(why);
                        news = Some(why);
                    }
                }
            }
            let bytes = (parcel.envelope.len() + parcel.payload.len()) as u64;
            self.waiting_bytes -= bytes;
            self.backlog.pop_front();
            self.is_owing = true;
        }
        news
    }

    /// Whether something waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The other end says that it has sent all below this number: what has not come is missing.
    pub(super) fn note_sent(&mut self, next: u64) {
        // What was said may have been lost: it is said again.
        self.is_owing = true;
        if next > self.expected {
            (self.is_missing, self.asked_from) = (true, None);
        }
    }

    /// What is to be said to the other end, if there is anything new.
    pub(super) fn ack(&mut self) -> Option<Ack> {
        if !std::mem::take(&mut self.is_owing) {
            return None;
        }
        let again_from = (self.is_missing && self.asked_from != Some(self.expected)).then_some(self.expected);
        self.asked_from = again_from.or(self.asked_from);
        Some(Ack { committed: self.expected - self.backlog.len() as u64, again_from, latest: self.latest })
    }
}

#[cfg(test)]
mod tests {
    use super::super::interest::Interest;
    use super::*;

    fn parcel(number: u64) -> Parcel {
        let (envelope, payload) = (zmq::Message::from(&b"e"[..]), zmq::Message::new());
        Parcel { number, whole: None, piece: 0, pieces: 1, envelope, payload }
    }

    fn link() -> Link {
        Link::new("a".into(), None, "/nowhere".into(), false, Interest::default())
    }

    fn ack(committed: u64, again_from: Option<u64>) -> Option<Ack> {
        Some(Ack { committed, again_from, latest: 0 })
    }

    #[test]
    fn what_is_acknowledged_is_committed() {
        let (mut incoming, link, mut room) = (Incoming::default(), link(), 2);
        assert_eq!(incoming.begin(7, 100), 100);
        (100..105).for_each(|number| incoming.take(parcel(number), &link));

        incoming.settle(&link, |_| match room {
            0 => Landing::Later,
            _ => {
                room -= 1;
                Landing::Done
            }
        });

        assert_eq!((incoming.ack(), incoming.is_waiting()), (ack(102, None), true));
        assert_eq!(incoming.ack(), None, "nothing new is not said");
        incoming.settle(&link, |_| Landing::Done);
        assert_eq!((incoming.ack(), incoming.seen()), (ack(105, None), Some((7, 105))));
    }

    #[test]
    fn what_is_missing_is_asked_for_once_and_again_when_a_beat_says_so() {
        let (mut incoming, link) = (Incoming::default(), link());
        incoming.begin(7, 0);
        for number in [0, 2, 3] {
            incoming.take(parcel(number), &link);
        }
        incoming.settle(&link, |_| Landing::Done);

        assert_eq!(incoming.ack(), ack(1, Some(1)));
        incoming.take(parcel(4), &link);
        assert_eq!(incoming.ack(), ack(1, None));
        incoming.note_sent(5);
        assert_eq!(incoming.ack(), ack(1, Some(1)));
        (1..5).for_each(|number| incoming.take(parcel(number), &link));
        incoming.settle(&link, |_| Landing::Done);
        assert_eq!(incoming.ack(), ack(5, None));
    }

    #[test]
    fn a_message_in_pieces_is_asked_for_anew_when_one_is_missing() {
        let (mut incoming, link) = (Incoming::default(), link());
        incoming.begin(7, 0);
        let piece = |piece| Parcel { piece, pieces: 3, ..parcel(0) };
        [0, 2].into_iter().for_each(|n| incoming.take(piece(n), &link));

        assert_eq!(incoming.ack(), ack(0, Some(0)));
        (0..3).for_each(|n| incoming.take(piece(n), &link));
        incoming.settle(&link, |whole| if whole.pieces == 1 { Landing::Done } else { Landing::Refused("a piece") });
        assert_eq!((incoming.ack(), link.status().received), (ack(1, None), 1));
    }

    #[test]
    fn the_same_stream_goes_on_and_another_begins_anew() {
        let (mut incoming, link) = (Incoming::default(), link());
        incoming.begin(7, 0);
        (0..3).for_each(|number| incoming.take(parcel(number), &link));

        assert_eq!(incoming.begin(7, 1), 3);
        assert!(incoming.is_waiting());
        assert_eq!(incoming.begin(7, 9), 9, "the sender has given up what lies between");
        assert_eq!(incoming.begin(8, 0), 0);
        assert!(!incoming.is_waiting());
    }

    #[test]
    fn a_message_that_may_not_come_in_holds_up_nothing_and_is_told_once() {
        let (mut incoming, link) = (Incoming::default(), link());
        incoming.begin(7, 0);
        (0..3).for_each(|number| incoming.take(parcel(number), &link));

        let told =
            incoming.settle(&link, |parcel| if parcel.number == 2 { Landing::Done } else { Landing::Refused("why") });

        assert_eq!((told, incoming.ack()), (Some("why"), ack(3, None)));
        assert_eq!((link.status().refused, link.status().received), (2, 1));
    }
}
