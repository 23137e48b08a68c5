//! Any bytes as an envelope, and its body as every message type.
//!
//! Beyond "no panic": an envelope that was read announces payloads that can be asked about, a decoder that remembers gives
//! what one without memory gives, and the body is decoded as the type that it names and as no other.
#![no_main]

use std::sync::Arc;

use enrgdaq::message::{
    Alert, Body, CombinedRemoteStats, CombinedStats, CombinedTraces, Decoder, Envelope, Heartbeat, JobReady, JobStarted,
    Receipt, Request, Response, RunStart, RunStop, StatsReport, Stop, StoreRaw, StoreRecords, StoreTable, StoreTabular,
    TraceReport,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    let decoded = Envelope::decode(bytes).ok();
    for _ in 0..2 {
        assert_eq!(decoder.decode(bytes).ok(), decoded);
    }
    let Some(mut envelope) = decoded else { return };
    envelope.check_payloads([0usize, 1].into_iter()).ok();
    envelope.check_offsets(1000).ok();
    let targets: [fn(&mut Envelope); 19] = [
        read::<Stop>,
        read::<Heartbeat>,
        read::<JobStarted>,
        read::<JobReady>,
        read::<StatsReport>,
        read::<CombinedStats>,
        read::<CombinedRemoteStats>,
        read::<TraceReport>,
        read::<CombinedTraces>,
        read::<Alert>,
        read::<StoreTable>,
        read::<StoreRaw>,
        read::<StoreRecords>,
        read::<StoreTabular>,
        read::<RunStart>,
        read::<RunStop>,
        read::<Request>,
        read::<Response>,
        read::<Receipt>,
    ];
    for target in targets {
        target(&mut envelope);
    }
});

/// The body as a type, whatever type the envelope names: a fuzzer would need long to find all names.
fn read<B: Body>(envelope: &mut Envelope) {
    Arc::make_mut(&mut envelope.head).kind = B::TYPE.into();
    assert!(envelope.body::<B>().is_some(), "the envelope has the type {}", B::TYPE);
}
