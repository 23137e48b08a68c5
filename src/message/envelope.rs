//! The envelope: one MessagePack map (named fields, unknown ones ignored) before the payloads.
//!
//! A message on the bus is the frames `[topic] [envelope] [payload 0] … [payload n]`. This envelope has 121 bytes, the
//! body is `{"reason": "eot"}`:
//!
//! ```text
//! de 00 0a                                map of 10
//!   a1 76            01                   "v"       1
//!   a2 69 64         c4 10 00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 02
//!                                         "id"      epoch 7, seq 2, both big-endian
//!   a2 74 73         d3 00 00 00 00 00 00 03 e8
//!                                         "ts"      1000 ns since the Unix epoch
//!   a5 65 70 6f 63 68  cf 00 00 00 00 00 00 00 07
//!                                         "epoch"   7
//!   a3 73 65 71      cf 00 00 00 00 00 00 00 02
//!                                         "seq"     2
//!   a7 70 61 79 6c 6f 61 64  90           "payload" []
//!   a4 74 79 70 65   a4 53 74 6f 70       "type"    "Stop"
//!   a3 73 72 63      80                   "src"     {} (every field of it has a default)
//!   a4 62 6f 64 79   81 a6 72 65 61 73 6f 6e a3 65 6f 74
//!                                         "body"    {"reason": "eot"}
//!   a3 6f 72 64      cf 00 00 00 00 00 00 00 05
//!                                         "ord"     5, always nine bytes and always last
//! ```
//!
//! `run`, `tag`, `store_config`, `local` and `topics` stand between `src` and `body` where a message has them; what came
//! from another node ends in `received_at` and `clock_offset` ([`stamp`](super::stamp)). What differs from message to
//! message stands first, in fixed widths (`front`); all the rest is the same for the messages of a stream, is encoded once
//! ([`Prepared`]), and is not decoded again where it has been seen before ([`Decoder`](super::Decoder)). Any order of the
//! fields, and any width of its numbers, is read all the same.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::body::Body;
use super::front::{self, PayloadList};
use super::payload::{Payload, PayloadInfo};
use super::stamp::Received;
use super::store_config::StoreConfig;
use super::topic::Topic;

/// The version of the format.
pub const FORMAT_VERSION: u8 = 1;

/// The longest envelope that is sent and looked at, in bytes.
const MAX_ENVELOPE: usize = 16 << 20;

/// What `ord` takes, in bytes; it begins with this.
pub(super) const ORD_LEN: usize = 13;
pub(super) const ORD: &[u8] = b"\xa3ord\xcf";

/// Names a message for ever: a random number a start of a writer, and a count of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// Random, new at every start of a writer.
    pub epoch: u64,
    /// Rises by one a message of that epoch.
    pub seq: u64,
}

impl MessageId {
    fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.epoch) << 64) | u128::from(self.seq)).to_be_bytes()
    }
}

/// Who sent a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// Of which supervisor.
    pub supervisor_id: String,
    /// That supervisor's tags.
    pub supervisor_tags: Vec<String>,
    /// The job's type.
    pub daq_job_type: String,
    /// The job's name for ever.
    pub unique_id: String,
    /// This start of the job.
    pub instance_id: String,
}

/// A message that is about to be sent: all but what the publisher adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its type.
    pub kind: &'static str,
    /// The fields of the type, as MessagePack.
    body: Vec<u8>,
    /// Run number, if a run is on.
    pub run: Option<u64>,
    /// Sorts what one producer sends into files or keys.
    pub tag: Option<String>,
    /// Which stores, and how.
    pub store_config: Option<StoreConfig>,
    /// For stores of this supervisor only.
    pub local: bool,
    /// What follows the envelope.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// A message of a type, without payload.
    ///
    /// # Errors
    /// [`EncodeError`] where the body has a map key or a value that MessagePack cannot hold.
    pub fn of<B: Body>(body: &B) -> Result<Self, EncodeError> {
        let body = rmp_serde::to_vec_named(body)?;
        Ok(Self { kind: B::TYPE, body, run: None, tag: None, store_config: None, local: false, payloads: Vec::new() })
    }

    /// With a payload more.
    #[must_use]
    pub fn with_payload(mut self, payload: Payload) -> Self {
        self.payloads.push(payload);
        self
    }

    /// With a tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// For these stores.
    #[must_use]
    pub fn for_stores(mut self, stores: &StoreConfig) -> Self {
        self.local = stores.target_local_supervisor;
        self.store_config = Some(stores.clone());
        self
    }

    /// With the run, tag and stores of another.
    #[must_use]
    pub(crate) fn like(self, other: &Self) -> Self {
        Self { kind: self.kind, body: self.body, payloads: self.payloads, ..other.clone() }
    }

    /// What the payloads are, as they lie on the bus.
    pub(crate) fn payload_infos(&self) -> PayloadList {
        let info =
            |payload: &Payload| PayloadInfo { kind: payload.kind, len: payload.bytes.len() as u64, offset: None };
        self.payloads.iter().map(info).collect()
    }
}

/// The constant part of an envelope, encoded once for all messages of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    fields: u16,
    rest: Vec<u8>,
}

impl Prepared {
    /// Encodes what is the same for all messages like this one; the topics belong to it.
    ///
    /// # Errors
    /// [`EncodeError`]: a body that MessagePack cannot hold, an envelope that is too long, over 15 payloads.
    pub fn new(message: &Message, origin: &Origin, topics: &[Topic]) -> Result<Self, EncodeError> {
        let rest = RestOut {
            kind: message.kind,
            src: origin,
            run: message.run,
            tag: message.tag.as_deref(),
            store_config: message.store_config.as_ref(),
            local: message.local,
            topics: topics.iter().map(Topic::as_str).collect(),
        };
        Self::of(&rest, &message.body, message.payloads.len())
    }

    fn of(rest: &RestOut<'_>, body: &[u8], payloads: usize) -> Result<Self, EncodeError> {
        let mut rest = rmp_serde::to_vec_named(rest)?;
        // Its own head goes: its fields are a part of a larger map.
        let own = u16::from(rest.remove(0) & 0x0f);
        append(&mut rest, "body", body);
        if payloads > front::MAX_PAYLOADS {
            return Err(EncodeError::Payloads(payloads));
        }
        match rest.len() {
            len if len + ORD_LEN + 4096 > MAX_ENVELOPE => Err(EncodeError::TooLong(len)),
            _ => Ok(Self { fields: front::FIELDS + own + 1, rest }),
        }
    }

    /// How many bytes the envelope of a message with these payloads has in the ring.
    pub fn size(&self, payload: &[PayloadInfo]) -> usize {
        front::len(payload) + self.rest.len()
    }

    /// Writes the envelope of one message, as it stands in the ring.
    ///
    /// # Panics
    /// If `out` is shorter than [`size`](Self::size).
    pub fn write(&self, out: &mut [u8], id: MessageId, ts: i64, payload: &[PayloadInfo]) {
        let at = front::write(out, self.fields, id, ts, payload);
        out[at..at + self.rest.len()].copy_from_slice(&self.rest);
    }

    /// The envelope of one copy on the bus.
    pub fn copy(&self, id: MessageId, ts: i64, payload: &[PayloadInfo], ord: u64) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.size(payload) + ORD_LEN);
        copy.resize(front::len(payload), 0);
        front::write(&mut copy, self.fields + 1, id, ts, payload);
        copy.extend_from_slice(&self.rest);
        copy.extend_from_slice(ORD);
        copy.extend_from_slice(&ord.to_be_bytes());
        copy
    }
}

/// A field more.
fn append(bytes: &mut Vec<u8>, key: &str, value: &[u8]) {
    bytes.push(0xa0 | u8::try_from(key.len()).expect("keys of an envelope are short"));
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
}

/// A received envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Which message.
    pub id: MessageId,
    /// When it was committed, ns since the Unix epoch.
    pub ts: i64,
    /// The how-manieth copy to this topic in this epoch; on the bus only.
    pub ord: Option<u64>,
    /// When it came from another node.
    pub received: Option<Received>,
    /// What the payloads are.
    pub payload: PayloadList,
    /// What is the same for all messages of a stream.
    pub head: Arc<Head>,
}

/// The part of an envelope that is the same for all messages of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The messages' type.
    pub kind: String,
    /// Who sent them.
    pub src: Origin,
    /// Run number, if a run is on.
    pub run: Option<u64>,
    /// Sorts what one producer sends.
    pub tag: Option<String>,
    /// Which stores, and how.
    pub store_config: Option<StoreConfig>,
    /// For stores of this supervisor only.
    pub local: bool,
    /// All its topics.
    pub topics: Vec<Topic>,
    /// The fields of the type.
    pub body: rmpv::Value,
}

impl Envelope {
    /// Reads an envelope; any bytes may come.
    ///
    /// # Errors
    /// [`DecodeError`]: not MessagePack, not an envelope, another version, an id that contradicts epoch and seq.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let wire: WireIn = rmp_serde::from_slice(bytes).map_err(DecodeError::NoEnvelope)?;
        if wire.v != FORMAT_VERSION {
            return Err(DecodeError::Version(wire.v));
        }
        let id = MessageId { epoch: wire.epoch, seq: wire.seq };
        if wire.id.as_slice() != id.to_bytes() {
            return Err(DecodeError::Id);
        }
        let head = Head {
            kind: wire.kind,
            src: wire.src,
            run: wire.run,
            tag: wire.tag,
            store_config: wire.store_config,
            local: wire.local,
            topics: wire.topics.iter().filter_map(|name| Topic::named(name).ok()).collect(),
            body: wire.body,
        };
        let received = wire.received_at.zip(wire.clock_offset).map(|(at, clock_offset)| Received { at, clock_offset });
        let payload = wire.payload.into();
        Ok(Self { id, ts: wire.ts, ord: wire.ord, received, payload, head: Arc::new(head) })
    }

    /// When it was committed, by the clock of this node: ns since the Unix epoch.
    #[must_use]
    pub fn committed_at(&self) -> i64 {
        self.ts.saturating_add(self.received.map_or(0, |received| received.clock_offset))
    }

    /// The same envelope as it would stand in the ring, its payloads one after the other, each at a multiple of
    /// `alignment`.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub(crate) fn in_ring(&self, topics: &[Topic], alignment: usize) -> Result<Vec<u8>, EncodeError> {
        let Head { kind, src, run, tag, store_config, local, body, .. } = &*self.head;
        let mut encoded = Vec::new();
        rmpv::encode::write_value(&mut encoded, body).expect("a Vec takes all");
        let rest = RestOut {
            kind,
            src,
            run: *run,
            tag: tag.as_deref(),
            store_config: store_config.as_ref(),
            local: *local,
            topics: topics.iter().map(Topic::as_str).collect(),
        };
        let prepared = Prepared::of(&rest, &encoded, self.payload.len())?;
        let mut at = 0u64;
        let place = |info: &PayloadInfo| {
            let offset = at;
            at = at.saturating_add(info.len).next_multiple_of(alignment as u64);
            PayloadInfo { offset: Some(offset), ..*info }
        };
        let infos: PayloadList = self.payload.iter().map(place).collect();
        let mut out = vec![0; prepared.size(&infos)];
        prepared.write(&mut out, self.id, self.ts, &infos);
        Ok(out)
    }

    /// Whether the frames that came are those that the envelope announces.
    ///
    /// # Errors
    /// [`DecodeError::Payloads`] where number or lengths differ.
    pub fn check_payloads(&self, lengths: impl ExactSizeIterator<Item = usize>) -> Result<(), DecodeError> {
        let fits = self.payload.len() == lengths.len()
            && self.payload.iter().zip(lengths).all(|(info, len)| info.len == len as u64);
        match fits {
            true => Ok(()),
            false => Err(DecodeError::Payloads),
        }
    }

    /// Whether the payloads lie, in order and apart, within so many bytes of the ring.
    ///
    /// # Errors
    /// [`DecodeError::Payloads`] where one has no place or an impossible one.
    pub fn check_offsets(&self, len: usize) -> Result<(), DecodeError> {
        let mut free_from = 0;
        for info in &self.payload {
            let end = info.offset.filter(|&offset| offset >= free_from).and_then(|offset| offset.checked_add(info.len));
            free_from = end.filter(|&end| end <= len as u64).ok_or(DecodeError::Payloads)?;
        }
        Ok(())
    }

    /// The body as a type, if the message is of that type.
    pub fn body<B: Body>(&self) -> Option<Result<B, DecodeError>> {
        (self.head.kind == B::TYPE).then(|| typed(&self.head.body))
    }
}

/// By way of bytes: `rmpv`'s own conversion reads an enum in another form than `rmp-serde` writes it.
fn typed<T: DeserializeOwned>(value: &rmpv::Value) -> Result<T, DecodeError> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a Vec takes all");
    rmp_serde::from_slice(&bytes).map_err(DecodeError::Body)
}

/// Why a message could not be encoded.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// A body that MessagePack cannot hold.
    #[error("the message cannot be written as MessagePack")]
    Body(#[from] rmp_serde::encode::Error),
    /// No reader would look at it.
    #[error("an envelope of {0} bytes, at most {MAX_ENVELOPE} are allowed: large contents belong into a payload")]
    TooLong(usize),
    /// More than an envelope can list.
    #[error("{0} payloads, at most 15 are allowed")]
    Payloads(usize),
}

/// Why bytes are no message.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Not a MessagePack map with the fields of an envelope.
    #[error("not an envelope")]
    NoEnvelope(#[source] rmp_serde::decode::Error),
    /// Longer than any envelope may be.
    #[error("an envelope of {0} bytes")]
    TooLong(usize),
    /// Another version of the format.
    #[error("an envelope of version {0}, this program reads version {FORMAT_VERSION}")]
    Version(u8),
    /// `id` is not epoch and seq.
    #[error("an envelope whose id contradicts its epoch and seq")]
    Id,
    /// The frames are not those that the envelope announces.
    #[error("payload frames that differ from what the envelope says")]
    Payloads,
    /// The body is not of its type.
    #[error("a body that does not fit its type")]
    Body(#[source] rmp_serde::decode::Error),
}

#[derive(Serialize)]
struct RestOut<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    src: &'a Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_config: Option<&'a StoreConfig>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    local: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topics: Vec<&'a str>,
}

#[derive(Deserialize)]
struct WireIn {
    v: u8,
    id: serde_bytes::ByteBuf,
    #[serde(rename = "type")]
    kind: String,
    ts: i64,
    epoch: u64,
    seq: u64,
    #[serde(default)]
    ord: Option<u64>,
    #[serde(default)]
    received_at: Option<i64>,
    #[serde(default)]
    clock_offset: Option<i64>,
    src: Origin,
    #[serde(default)]
    run: Option<u64>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    store_config: Option<StoreConfig>,
    #[serde(default)]
    local: bool,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default = "nil")]
    body: rmpv::Value,
    #[serde(default)]
    payload: Vec<PayloadInfo>,
}

fn nil() -> rmpv::Value {
    rmpv::Value::Nil
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
