//! Envelopes there and back, as drawn and as sent; and bytes that are none.

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
    assert_eq!((envelope.head.kind.as_str(), envelope.ts, envelope.ord), ("Stop", 1000, Some(5)));
    assert_eq!(envelope.head.body["reason"], "eot".into());
    assert_eq!(drawn().len(), 121);
}

#[test]
fn what_is_sent_is_what_is_received() {
    let origin = Origin { supervisor_id: "lab".into(), unique_id: "u".into(), ..Origin::default() };
    let stores: StoreConfig = toml::from_str("target_local_supervisor = true\n[csv]\nfile_path = \"a.csv\"").unwrap();
    let payload = Payload { kind: PayloadKind::Raw, bytes: vec![1, 2, 3] };
    let message = Message::of(&StoreRaw {}).unwrap().with_tag("t").for_stores(&stores).with_payload(payload);
    let id = MessageId { epoch: u64::MAX, seq: 1 << 40 };

    let envelope = Envelope::decode(&encoded(&message, id, -5, &origin)).unwrap();

    assert_eq!((envelope.id, envelope.ts, envelope.ord), (id, -5, Some(9)));
    assert_eq!((envelope.head.tag.as_deref(), envelope.head.local), (Some("t"), true));
    assert!(envelope.body::<StoreRaw>().unwrap().is_ok());
    assert!(envelope.body::<Stop>().is_none());
    assert_eq!((&envelope.head.store_config, &envelope.head.src), (&Some(stores), &origin));
}

fn encoded(message: &Message, id: MessageId, ts: i64, origin: &Origin) -> Vec<u8> {
    Prepared::new(message, origin, &[]).unwrap().copy(id, ts, &message.payload_infos(), 9)
}

fn comes_back<B: Body + PartialEq + std::fmt::Debug>(body: B) {
    let message = Message::of(&body).unwrap();
    let bytes = encoded(&message, MessageId { epoch: 1, seq: 1 }, 0, &Origin::default());

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
    let operation = json!({"do": "x"});
    comes_back(Request { id: 1, instance_id: "i".into(), operation, reply_topic: "t".into() });
    comes_back(Response { id: 1, number: 2, finished: true, failed: false, data: json!([1, "a"]) });
    comes_back(Receipt { id: 1, taken: 2, cancel: true });
}

#[test]
fn another_version_and_a_false_id_are_refused() {
    let bytes = drawn();
    let mut version = bytes.clone();
    version[5] = 2;
    let mut id = bytes;
    id[11] = 1;

    assert!(matches!(Envelope::decode(&version), Err(DecodeError::Version(2))));
    assert!(matches!(Envelope::decode(&id), Err(DecodeError::Id)));
}

#[test]
fn an_envelope_that_announces_other_payloads_is_refused() {
    let payload = Payload { kind: PayloadKind::Raw, bytes: vec![0; 10] };
    let message = Message::of(&StoreRaw {}).unwrap().with_payload(payload);
    let bytes = encoded(&message, MessageId { epoch: 1, seq: 1 }, 0, &Origin::default());
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
    fn a_changed_byte_never_panics(at in 0usize..121, to in any::<u8>()) {
        let mut bytes = drawn();
        bytes[at] = to;
        if let Ok(envelope) = Envelope::decode(&bytes) {
            let _either = envelope.body::<Stop>();
        }
    }
}
