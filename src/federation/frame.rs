//! What goes over a link: frames of ZeroMQ, the first of which says what it is.
//!
//! ```text
//!   first frame   [session 16][kind 1][what the kind says]
//!     1 data, 2 latest     number u64 │ whole u64 (length of the payload as it was, 0: as it is here)   little-endian
//!                          │ piece u32 │ pieces u32
//!                          then two frames more: [envelope; empty but with piece 0] [the piece of the payload: all
//!                          payloads as they lie in the ring]
//!     3 ack, 4 beat, 5 hello, 6 welcome, 7 refused, 8 interest, 9 bye       a MessagePack map
//! ```
//!
//! Invariant: any frames give a word or an error, never a panic; nothing is believed here that only the link can know.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::interest::Interest;

/// The version of this protocol.
pub(super) const VERSION: u8 = 1;

/// Names one connection between a leaf and its hub; random, chosen by the leaf. Frames to the leaf begin with it, so that
/// only who knows it can subscribe them.
pub(super) type Session = [u8; 16];

/// Session and kind.
const START: usize = size_of::<Session>() + 1;

/// The first frame of a message that is carried.
const PARCEL_LEN: usize = START + 24;

/// No map is longer.
const MAX_MAP: usize = 256 << 10;

/// What a first frame can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Data = 1,
    Latest,
    Ack,
    Beat,
    Hello,
    Welcome,
    Refused,
    Interest,
    Bye,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Data,
        Self::Latest,
        Self::Ack,
        Self::Beat,
        Self::Hello,
        Self::Welcome,
        Self::Refused,
        Self::Interest,
        Self::Bye,
    ];
}

/// Something said over a link.
#[derive(Debug)]
pub(super) enum Word {
    /// A message of the stream: none may be missing.
    Data(Parcel),
    /// The newest of what is wanted as the latest only.
    Latest(Parcel),
    Ack(Ack),
    Beat(Beat),
    Hello(Hello),
    Welcome(Welcome),
    Refused(Refused),
    Interest(Interest),
    Bye,
}

/// A message that is carried, or a piece of one. One without an envelope stands for one that its sender could not read any
/// more.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Rises by one in its stream.
    pub(super) number: u64,
    /// The length of the payload, if it was compressed.
    pub(super) whole: Option<u64>,
    /// Which of its pieces it is, and how many there are; one that is put together is the only one.
    pub(super) piece: u32,
    pub(super) pieces: u32,
    pub(super) envelope: zmq::Message,
    pub(super) payload: zmq::Message,
}

/// How far the receiver of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ack {
    /// All numbers below this are committed.
    pub(super) committed: u64,
    /// Some are missing: from this number on all are wanted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) again_from: Option<u64>,
    /// All numbers below this of the other stream, that of the latest, have come or never will.
    pub(super) latest: u64,
}

/// "I am there."
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// By the clock of who sends it, ns since the Unix epoch.
    pub(super) sent_at: i64,
    /// To which beat of the other side it answers: when that was sent, and when it came, each by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) echo: Option<(i64, i64)>,
    /// The number that comes next in the sender's stream: all below have been sent.
    pub(super) next: u64,
    /// What its sender still has for the other side.
    pub(super) lag: Lag,
    /// From a leaf: the hub's clock minus its own, and the round trip, as estimated; ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock: Option<(i64, i64)>,
}

impl Beat {
    /// A clock may be wrong, but not by centuries, and no wait is less than nothing.
    fn checked(self) -> Result<Self, BadFrame> {
        /// A hundred years, in ns.
        const FAR: i64 = 100 * 366 * 86_400 * 1_000_000_000;
        let is_lag = self.lag.seconds.is_finite() && self.lag.seconds >= 0.0;
        let is_time = |time: i64| (-FAR..=FAR).contains(&time);
        let is_clock = self.clock.is_none_or(|(offset, trip)| is_time(offset) && is_time(trip) && trip >= 0);
        let is_echo = self.echo.is_none_or(|(sent, heard)| is_time(sent) && is_time(heard));
        (is_lag && is_clock && is_echo && is_time(self.sent_at)).then_some(self).ok_or(BadFrame::Beat)
    }
}

/// What waits for the other side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lag {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// The age of the oldest.
    pub(super) seconds: f64,
}

/// A leaf wants to come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) v: u8,
    /// Its supervisor's id.
    pub(super) node: String,
    /// Random, new at every start of the node.
    pub(super) instance: u64,
    /// The program's version.
    pub(super) version: String,
    /// The stream that it sends, and the first number of it that is not acknowledged.
    pub(super) stream: u64,
    pub(super) first: u64,
    /// The stream that it receives, and the first number of it that has not come.
    pub(super) seen: Option<(u64, u64)>,
    /// What it wants.
    pub(super) interest: Interest,
}

/// The hub lets a leaf in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) v: u8,
    pub(super) node: String,
    pub(super) version: String,
    /// The stream that the hub sends to this leaf, and the first number that comes.
    pub(super) stream: u64,
    pub(super) first: u64,
    /// The number with which the leaf is to go on.
    pub(super) resume: u64,
    pub(super) interest: Interest,
}

/// The hub does not let a leaf in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) why: String,
}

/// Why frames are not of this protocol.
#[derive(Debug, Error)]
pub(super) enum BadFrame {
    #[error("a first frame of {0} bytes")]
    Short(usize),
    #[error("a word of unknown kind {0}")]
    Kind(u8),
    #[error("{0} frames, which do not fit their kind")]
    Frames(usize),
    #[error("a map of {0} bytes")]
    TooLong(usize),
    #[error("a beat with impossible figures")]
    Beat,
    #[error("a map that does not say what its kind says")]
    Map(#[source] rmp_serde::decode::Error),
}

/// What stands before a piece of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    /// It is of the latest, not of the stream.
    pub(super) is_latest: bool,
    pub(super) number: u64,
    /// The length of the payload, if it was compressed.
    pub(super) whole: Option<u64>,
    pub(super) piece: u32,
    pub(super) pieces: u32,
}

/// The first frame of a piece of a message.
pub(super) fn parcel_head(session: &Session, label: Label) -> [u8; PARCEL_LEN] {
    let Label { is_latest, number, whole, piece, pieces } = label;
    let mut head = [0; PARCEL_LEN];
    let kind = if is_latest { Kind::Latest } else { Kind::Data };
    head[..START - 1].copy_from_slice(session);
    head[START - 1] = kind as u8;
    head[START..START + 8].copy_from_slice(&number.to_le_bytes());
    head[START + 8..START + 16].copy_from_slice(&whole.unwrap_or(0).to_le_bytes());
    head[START + 16..START + 20].copy_from_slice(&piece.to_le_bytes());
    head[START + 20..].copy_from_slice(&pieces.to_le_bytes());
    head
}

/// A word that is no message of a stream, as its one frame.
///
/// # Panics
/// For [`Word::Data`] and [`Word::Latest`].
pub(super) fn write(session: &Session, word: &Word) -> Vec<u8> {
    fn map<T: Serialize>(body: &T) -> Vec<u8> {
        rmp_serde::to_vec_named(body).expect("words of ours can be written")
    }
    let (kind, body) = match word {
        Word::Ack(ack) => (Kind::Ack, map(ack)),
        Word::Beat(beat) => (Kind::Beat, map(beat)),
        Word::Hello(hello) => (Kind::Hello, map(hello)),
        Word::Welcome(welcome) => (Kind::Welcome, map(welcome)),
        Word::Refused(refused) => (Kind::Refused, map(refused)),
        Word::Interest(interest) => (Kind::Interest, map(interest)),
        Word::Bye => (Kind::Bye, Vec::new()),
        Word::Data(_) | Word::Latest(_) => panic!("messages go with frames of their own"),
    };
    [session.as_slice(), &[kind as u8], &body].concat()
}

/// What these frames say, and of which session.
///
/// # Errors
/// [`BadFrame`]: anything that [`write`] and [`parcel_head`] do not make.
pub(super) fn read(frames: Vec<zmq::Message>) -> Result<(Session, Word), BadFrame> {
    let count = frames.len();
    let mut frames = frames.into_iter();
    let first = frames.next().ok_or(BadFrame::Frames(0))?;
    let (session, rest) = first.split_first_chunk::<16>().ok_or(BadFrame::Short(first.len()))?;
    let (&kind, body) = rest.split_first().ok_or(BadFrame::Short(first.len()))?;
    let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind).ok_or(BadFrame::Kind(kind))?;
    if body.len() > MAX_MAP {
        return Err(BadFrame::TooLong(body.len()));
    }
    let wanted = if matches!(kind, Kind::Data | Kind::Latest) { 3 } else { 1 };
    if count != wanted {
        return Err(BadFrame::Frames(count));
    }
    let word = match kind {
        Kind::Data | Kind::Latest => {
            let (envelope, payload) = frames.next().zip(frames.next()).ok_or(BadFrame::Frames(count))?;
            let parcel = parcel(body, envelope, payload).ok_or(BadFrame::Short(first.len()))?;
            if kind == Kind::Data { Word::Data(parcel) } else { Word::Latest(parcel) }
        }
        Kind::Ack => Word::Ack(map(body)?),
        Kind::Beat => Word::Beat(map::<Beat>(body)?.checked()?),
        Kind::Hello => Word::Hello(map(body)?),
        Kind::Welcome => Word::Welcome(map(body)?),
        Kind::Refused => Word::Refused(map(body)?),
        Kind::Interest => Word::Interest(map(body)?),
        Kind::Bye => Word::Bye,
    };
    Ok((*session, word))
}

fn map<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadFrame> {
    rmp_serde::from_slice(body).map_err(BadFrame::Map)
}

fn parcel(body: &[u8], envelope: zmq::Message, payload: zmq::Message) -> Option<Parcel> {
    let (number, rest) = body.split_first_chunk()?;
    let (whole, rest) = rest.split_first_chunk()?;
    let (piece, pieces) = rest.split_first_chunk()?;
    let (number, whole) = (u64::from_le_bytes(*number), u64::from_le_bytes(*whole));
    let (piece, pieces) = (u32::from_le_bytes(*piece), u32::from_le_bytes(pieces.try_into().ok()?));
    let is_possible = number < u64::MAX && piece < pieces;
    is_possible.then_some(Parcel { number, whole: (whole > 0).then_some(whole), piece, pieces, envelope, payload })
}

/// Whether these bytes, as the first frame of one or of three, are a word of a link: for fuzzing.
#[must_use]
pub fn is_link_frame(bytes: &[u8]) -> bool {
    let alone = vec![zmq::Message::from(bytes)];
    let with_message = vec![zmq::Message::from(bytes), zmq::Message::new(), zmq::Message::new()];
    read(alone).is_ok() || read(with_message).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(parts: &[&[u8]]) -> Vec<zmq::Message> {
        parts.iter().map(|part| zmq::Message::from(*part)).collect()
    }

    #[test]
    fn a_parcel_comes_as_it_was_sent() {
        for (is_latest, whole) in [(false, None), (true, Some(1 << 40))] {
            let label = Label { is_latest, number: u64::MAX - 1, whole, piece: 3, pieces: 7 };
            let head = parcel_head(&[7; 16], label);

            let (session, word) = read(frames(&[&head, b"envelope", b""])).unwrap();

            let (Word::Data(parcel) | Word::Latest(parcel)) = &word else { panic!("{word:?}") };
            assert_eq!((session, matches!(word, Word::Latest(_))), ([7; 16], is_latest));
            assert_eq!((parcel.number, parcel.whole, &parcel.envelope[..]), (u64::MAX - 1, whole, &b"envelope"[..]));
            assert_eq!((parcel.piece, parcel.pieces), (3, 7));
        }
    }

    #[test]
    fn words_come_as_they_were_said() {
        let hello = Hello {
            v: VERSION,
            node: "leaf-a".into(),
            instance: 3,
            version: "1".into(),
            stream: 4,
            first: 5,
            seen: Some((6, 7)),
            interest: Interest::default(),
        };
        let beat = Beat { sent_at: -1, echo: Some((2, 3)), next: 4, lag: Lag::default(), clock: Some((-5, 6)) };
        let ack = Ack { committed: 9, again_from: Some(7), latest: 1 };

        let said = [Word::Hello(hello.clone()), Word::Beat(beat), Word::Ack(ack), Word::Bye];
        let heard = said.map(|word| read(frames(&[&write(&[1; 16], &word)])).unwrap());

        let [hello_heard, beat_heard, ack_heard, bye] = heard.map(|(_, word)| word);
        assert!(matches!(hello_heard, Word::Hello(heard) if heard == hello));
        assert!(matches!(beat_heard, Word::Beat(heard) if heard == beat));
        assert!(matches!(ack_heard, Word::Ack(heard) if heard == ack));
        assert!(matches!(bye, Word::Bye));
    }

    #[test]
    fn a_beat_with_impossible_figures_is_refused() {
        let good = Beat { sent_at: 5, echo: None, next: 4, lag: Lag::default(), clock: Some((-5, 6)) };
        let lag = |seconds| Lag { seconds, ..Lag::default() };
        let bad = [
            Beat { lag: lag(f64::NAN), ..good },
            Beat { lag: lag(-1.0), ..good },
            Beat { clock: Some((0, -1)), ..good },
            Beat { clock: Some((i64::MIN, 0)), ..good },
            Beat { echo: Some((0, i64::MAX)), ..good },
        ];

        for beat in bad {
            let said = read(frames(&[&write(&[1; 16], &Word::Beat(beat))]));
            assert!(matches!(said, Err(BadFrame::Beat)), "{beat:?}");
        }
    }

    #[test]
    fn frames_that_do_not_fit_their_kind_are_refused() {
        let label = Label { is_latest: false, number: 0, whole: None, piece: 0, pieces: 1 };
        let head = parcel_head(&[0; 16], label);
        let no_piece = parcel_head(&[0; 16], Label { piece: 1, ..label });
        let bye = write(&[0; 16], &Word::Bye);
        let long = [bye.as_slice(), &vec![0; MAX_MAP + 1]].concat();
        let unknown = [[0; 16].as_slice(), &[99]].concat();

        for bad in [frames(&[]), frames(&[b"x"]), frames(&[&head]), frames(&[&bye, b""]), frames(&[&long])]
            .into_iter()
            .chain([frames(&[&no_piece, b"", b""])])
        {
            assert!(read(bad).is_err());
        }
        assert!(matches!(read(frames(&[&unknown])), Err(BadFrame::Kind(99))));
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic(parts in proptest::collection::vec(any::<Vec<u8>>(), 0..4), kind in 0u8..12) {
            let mut parts = parts;
            if let Some(first) = parts.first_mut() && first.len() > 16 {
                first[16] = kind;
            }
            let _either = read(parts.into_iter().map(zmq::Message::from).collect());
        }
    }
}
