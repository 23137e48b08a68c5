//! The envelope: one MessagePack map (named fields, unknown ones ignored) before the payloads.
//!
//! A message on the bus is the frames `[topic] [envelope] [payload 0] … [payload n]`. This envelope has 97 bytes, the
//! body is `{"reason": "eot"}`:
//!
//! ```text
//! 8a                                      map of 10
//!   a1 76            01                   "v"       1
//!   a2 69 64         c4 10 00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 02
//!                                         "id"      epoch 7, seq 2, both big-endian
//!   a4 74 79 70 65   a4 53 74 6f 70       "type"    "Stop"
//!   a2 74 73         cd 03 e8             "ts"      1000 ns since the Unix epoch
//!   a5 65 70 6f 63 68  07                 "epoch"   7
//!   a3 73 65 71      02                   "seq"     2
//!   a3 73 72 63      80                   "src"     {} (every field of it has a default)
//!   a7 70 61 79 6c 6f 61 64  90           "payload" []
//!   a4 62 6f 64 79   81 a6 72 65 61 73 6f 6e a3 65 6f 74
//!                                         "body"    {"reason": "eot"}
//!   a3 6f 72 64      cf 00 00 00 00 00 00 00 05
//!                                         "ord"     5, always nine bytes and always last
//! ```
//!
//! `run`, `tag`, `store_config` and `local` stand between `src` and `payload` where a message has them. The body is
//! appended as the bytes that it was encoded to, and `ord`, which differs from copy to copy, to what is encoded once
//! ([`Encoded::copy`]).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::body::Body;
use super::payload::{Payload, PayloadInfo};
use super::store_config::StoreConfig;

/// The version of the format that this module writes and reads.
pub const FORMAT_VERSION: u8 = 1;

/// The longest envelope that is sent and looked at, in bytes.
const MAX_ENVELOPE: usize = 16 << 20;

/// What `ord` takes, in bytes.
const ORD_LEN: usize = 13;

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

    /// The envelope's bytes, all but `ord`.
    ///
    /// # Errors
    /// [`EncodeError`] for a body that MessagePack cannot hold.
    pub fn encode(&self, id: MessageId, ts: i64, origin: &Origin) -> Result<Encoded, EncodeError> {
        let payload: Vec<PayloadInfo> = self
            .payloads
            .iter()
            .map(|payload| PayloadInfo { kind: payload.kind, len: payload.bytes.len() as u64, offset: None })
            .collect();
        let id_bytes = id.to_bytes();
        let wire = WireOut {
            v: FORMAT_VERSION,
            id: serde_bytes::Bytes::new(&id_bytes),
            kind: self.kind,
            ts,
            epoch: id.epoch,
            seq: id.seq,
            src: origin,
            run: self.run,
            tag: self.tag.as_deref(),
            store_config: self.store_config.as_ref(),
            local: self.local,
            payload: &payload,
        };
        let mut encoded = Encoded(rmp_serde::to_vec_named(&wire)?);
        encoded.append("body", &self.body);
        match encoded.0.len() {
            len if len + ORD_LEN > MAX_ENVELOPE => Err(EncodeError::TooLong(len)),
            _ => Ok(encoded),
        }
    }
}

/// An envelope, encoded once for all its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    /// The envelope of one copy.
    pub fn copy(&self, ord: u64) -> Vec<u8> {
        let mut copy = Self(Vec::with_capacity(self.0.len() + ORD_LEN));
        copy.0.extend_from_slice(&self.0);
        let mut value = [0xcf; 9];
        value[1..].copy_from_slice(&ord.to_be_bytes());
        copy.append("ord", &value);
        copy.0
    }

    /// A field more. An envelope has at most 14 fields, so its head is one byte that has room.
    fn append(&mut self, key: &str, value: &[u8]) {
        let head = self.0.first_mut().expect("an encoded map has a head");
        assert!((0x80..0x8f).contains(head), "an envelope has fewer than 15 fields");
        *head += 1;
        self.0.push(0xa0 | u8::try_from(key.len()).expect("keys of an envelope are short"));
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(value);
    }
}

/// A received envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Which message.
    pub id: MessageId,
    /// Its type.
    pub kind: String,
    /// When it was committed, ns since the Unix epoch.
    pub ts: i64,
    /// The how-manieth copy to this topic in this epoch; on the bus only.
    pub ord: Option<u64>,
    /// Who sent it.
    pub src: Origin,
    /// Run number, if a run is on.
    pub run: Option<u64>,
    /// Sorts what one producer sends.
    pub tag: Option<String>,
    /// Which stores, and how.
    pub store_config: Option<StoreConfig>,
    /// For stores of this supervisor only.
    pub local: bool,
    /// The fields of the type.
    pub body: rmpv::Value,
    /// What the frames after this one are.
    pub payload: Vec<PayloadInfo>,
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
        Ok(Self {
            id,
            kind: wire.kind,
            ts: wire.ts,
            ord: wire.ord,
            src: wire.src,
            run: wire.run,
            tag: wire.tag,
            store_config: wire.store_config,
            local: wire.local,
            body: wire.body,
            payload: wire.payload,
        })
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

    /// The body as a type, if the message is of that type.
    pub fn body<B: Body>(&self) -> Option<Result<B, DecodeError>> {
        (self.kind == B::TYPE).then(|| typed(&self.body))
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
struct WireOut<'a> {
    v: u8,
    id: &'a serde_bytes::Bytes,
    #[serde(rename = "type")]
    kind: &'a str,
    ts: i64,
    epoch: u64,
    seq: u64,
    src: &'a Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_config: Option<&'a StoreConfig>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    local: bool,
    payload: &'a [PayloadInfo],
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
    src: Origin,
    #[serde(default)]
    run: Option<u64>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    store_config: Option<StoreConfig>,
    #[serde(default)]
    local: bool,
    #[serde(default = "nil")]
    body: rmpv::Value,
    #[serde(default)]
    payload: Vec<PayloadInfo>,
}

fn nil() -> rmpv::Value {
    rmpv::Value::Nil
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use serde_json::json;

    use super::super::body::*;
    use super::super::payload::PayloadKind;
    use super::super::stats::*;
    use super::*;

    /// The bytes drawn in this module's doc: of each line of the drawing, what stands before its first wide gap of text.
    fn drawn() -> Vec<u8> {
        let source = include_str!("envelope.rs");
        let drawing = source.split("```text").nth(1).unwrap().split("```").next().unwrap();
        drawing
            .lines()
            .filter_map(|line| line.strip_prefix("//!"))
            .flat_map(|line| line.split_whitespace().take_while(|word| is_hex_pair(word)))
            .map(|word| u8::from_str_radix(word, 16).unwrap())
            .collect()
    }

    fn is_hex_pair(word: &str) -> bool {
        word.len() == 2 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }

    #[test]
    fn the_drawn_bytes_are_the_message_they_say() {
        let envelope = Envelope::decode(&drawn()).unwrap();

        assert_eq!(envelope.id, MessageId { epoch: 7, seq: 2 });
        assert_eq!((envelope.kind.as_str(), envelope.ts, envelope.ord), ("Stop", 1000, Some(5)));
        assert_eq!(envelope.body["reason"], "eot".into());
        assert_eq!(drawn().len(), 97);
    }

    #[test]
    fn what_is_sent_is_what_is_received() {
        let origin = Origin { supervisor_id: "lab".into(), unique_id: "u".into(), ..Origin::default() };
        let stores: StoreConfig =
            toml::from_str("target_local_supervisor = true\n[csv]\nfile_path = \"a.csv\"").unwrap();
        let payload = Payload { kind: PayloadKind::Raw, bytes: vec![1, 2, 3] };
        let message = Message::of(&StoreRaw {}).unwrap().with_tag("t").for_stores(&stores).with_payload(payload);
        let id = MessageId { epoch: u64::MAX, seq: 1 << 40 };

        let envelope = Envelope::decode(&message.encode(id, -5, &origin).unwrap().copy(9)).unwrap();

        assert_eq!((envelope.id, envelope.ts, envelope.ord), (id, -5, Some(9)));
        assert_eq!((envelope.tag.as_deref(), envelope.local), (Some("t"), true));
        assert!(envelope.body::<StoreRaw>().unwrap().is_ok());
        assert!(envelope.body::<Stop>().is_none());
        assert_eq!((envelope.store_config, envelope.src), (Some(stores), origin));
    }

    fn comes_back<B: Body + PartialEq + std::fmt::Debug>(body: B) {
        let message = Message::of(&body).unwrap();
        let bytes = message.encode(MessageId { epoch: 1, seq: 1 }, 0, &Origin::default()).unwrap().copy(0);

        let back: B = Envelope::decode(&bytes).unwrap().body().unwrap().unwrap();

        assert_eq!(back, body);
    }

    #[test]
    fn every_message_type_comes_back_as_it_was() {
        let info = SupervisorInfo { supervisor_id: "lab".into(), supervisor_tags: vec!["a".into()] };
        let job = JobInfo {
            daq_job_type: "T".into(),
            unique_id: "u".into(),
            instance_id: "i".into(),
            config: "daq_job_type = \"T\"".into(),
            subscribed_topics: vec!["store.T".into()],
            supervisor_info: info,
        };
        let stats = JobStats { message_in_bytes: 1 << 60, is_alive: true, ..JobStats::default() };
        let event = TraceEvent {
            message_id: "00".into(),
            message_type: "T".into(),
            event_type: "sent".into(),
            topics: vec!["a".into()],
            timestamp: -1,
            size_bytes: 3,
            source_job: "j".into(),
            source_supervisor: "s".into(),
        };
        comes_back(Stop { reason: "ü".into() });
        comes_back(Heartbeat { next_in_ms: 1000, progress: u64::MAX, is_ready: true });
        comes_back(JobStarted { info: job });
        comes_back(JobReady {});
        comes_back(StatsReport { stats: stats.clone() });
        comes_back(CombinedStats { stats: [("lab".into(), [("j".into(), stats)].into())].into() });
        comes_back(CombinedRemoteStats { stats: [("far".into(), RemoteStats::default())].into() });
        comes_back(TraceReport { events: vec![event.clone()] });
        comes_back(CombinedTraces { events: vec![event] });
        for severity in [Severity::Info, Severity::Warning, Severity::Error] {
            let alert_info = AlertInfo { message: "m".into(), severity };
            comes_back(Alert { date: "d".into(), alert_info, originated_supervisor_id: "lab".into() });
        }
        comes_back(StoreTable { rows: 7 });
        comes_back(StoreRaw {});
        comes_back(StoreRecords { records: 9 });
        comes_back(StoreTabular { keys: vec!["a".into()], data: vec![vec![json!(1)], vec![json!({"x": null})]] });
        comes_back(RunStart { number: 3, run_type: "physics".into(), parameters: [("hv".into(), json!(1.5))].into() });
        comes_back(RunStop { number: 3, reason: "done".into() });
        comes_back(Request { id: 1, operation: json!({"do": "x"}), reply_topic: "t".into() });
        comes_back(Response { id: 1, finished: true, failed: false, data: json!([1, "a"]) });
    }

    #[test]
    fn another_version_and_a_false_id_are_refused() {
        let bytes = drawn();
        let mut version = bytes.clone();
        version[3] = 2;
        let mut id = bytes;
        id[9] = 1;

        assert!(matches!(Envelope::decode(&version), Err(DecodeError::Version(2))));
        assert!(matches!(Envelope::decode(&id), Err(DecodeError::Id)));
    }

    #[test]
    fn an_envelope_that_announces_other_payloads_is_refused() {
        let payload = Payload { kind: PayloadKind::Raw, bytes: vec![0; 10] };
        let message = Message::of(&StoreRaw {}).unwrap().with_payload(payload);
        let bytes = message.encode(MessageId { epoch: 1, seq: 1 }, 0, &Origin::default()).unwrap().copy(0);
        let envelope = Envelope::decode(&bytes).unwrap();

        assert!(envelope.check_payloads([10].into_iter()).is_ok());
        assert!(envelope.check_payloads([9].into_iter()).is_err());
        assert!(envelope.check_payloads([10, 0].into_iter()).is_err());
    }

    #[test]
    fn deep_nesting_and_huge_headers_are_errors() {
        let deep = [vec![0x81, 0xa4, b'b', b'o', b'd', b'y'], vec![0x91; 200_000]].concat();
        let huge = [0xdf, 0xff, 0xff, 0xff, 0xff, 0xc4];

        assert!(Envelope::decode(&deep).is_err());
        assert!(Envelope::decode(&huge).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _either = Envelope::decode(&bytes);
        }

        #[test]
        fn a_changed_byte_never_panics(at in 0usize..97, to in any::<u8>()) {
            let mut bytes = drawn();
            bytes[at] = to;
            if let Ok(envelope) = Envelope::decode(&bytes) {
                let _either = envelope.body::<Stop>();
            }
        }
    }
}
