//! How long an envelope takes: written by a prepared stream, read with and without what was remembered, against a copy of
//! the same bytes.
//!
//! `cargo bench --bench envelope`; nanoseconds each, median of several rounds.

use std::hint::black_box;
use std::time::Instant;

use enrgdaq::message::{
    Decoder, Envelope, Message, MessageId, Origin, PayloadInfo, PayloadKind, Prepared, StoreConfig, StoreTable, Topic,
};

const ROUNDS: usize = 15;
const TIMES: u32 = 20_000;

fn main() {
    let origin = Origin {
        supervisor_id: "daq_lab_1".into(),
        supervisor_tags: vec!["beam".into()],
        daq_job_type: "DAQJobCAENDigitizer".into(),
        unique_id: "1f0c2a9e-6b57-3c8e-9d0e-0d7a4b1c2d3e".into(),
        instance_id: "9b2d7c1a-1111-4222-8333-123456789abc".into(),
    };
    let stores: StoreConfig =
        serde_json::from_str(r#"{"csv": {"file_path": "wave.csv", "add_date": true}}"#).expect("it is a store_config");
    let body = StoreTable { rows: 10_000 };
    let message = Message::of(&body).expect("it can be encoded").for_stores(&stores).with_tag("wave");
    let prepare = || Prepared::new(&message, &origin, &[Topic::store("DAQJobStoreCSV")]).expect("it can be encoded");
    let prepared = prepare();
    let payload = [PayloadInfo { kind: PayloadKind::ArrowIpc, len: 160_512, offset: Some(0) }];
    let mut bytes = vec![0; prepared.size(&payload)];
    let source = bytes.clone();
    println!("envelope of {} bytes", bytes.len());

    let copy = measure(|_| bytes.copy_from_slice(black_box(&source)));
    report("memcpy", copy, copy);
    let mut bytes = vec![0; prepared.size(&payload)];
    report("prepare", measure(|_| drop(black_box(prepare()))), copy);
    report(
        "write",
        measure(|seq| prepared.write(&mut bytes, MessageId { epoch: 7, seq }, 5, black_box(&payload))),
        copy,
    );
    let mut decoder = Decoder::default();
    report("read, remembered", measure(|_| drop(black_box(decoder.decode(black_box(&bytes))))), copy);
    report("read, decoded", measure(|_| drop(black_box(Envelope::decode(black_box(&bytes))))), copy);
}

/// Nanoseconds that something takes.
fn measure(mut what: impl FnMut(u64)) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            (0..TIMES).for_each(|n| what(n.into()));
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn report(what: &str, ns: f64, copy: f64) {
    println!("{what:<18}{ns:>9.1} ns  {:>8.1} × memcpy", ns / copy);
}
