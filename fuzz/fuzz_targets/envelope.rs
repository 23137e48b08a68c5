//! Any bytes as an envelope, and its body as every message type.
//!
//! Beyond "no panic": an envelope that was read announces payloads that `check_payloads` can be asked about, and its
//! body is decoded as the type that it names and as no other.
#![no_main]

use enrgdaq::message::{
    Alert, Body, CombinedRemoteStats, CombinedStats, CombinedTraces, Envelope, Heartbeat, JobReady, JobStarted, Probe,
    Request, Response, RunStart, RunStop, StatsReport, Stop, StoreRaw, StoreRecords, StoreTable, StoreTabular,
    TraceReport,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut envelope) = Envelope::decode(bytes) else { return };
    envelope.check_payloads([0usize, 1].into_iter()).ok();
    let targets: [fn(&mut Envelope); 19] = [
        read::<Stop>,
        read::<Heartbeat>,
        read::<JobStarted>,
        read::<JobReady>,
        read::<Probe>,
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
    ];
    for target in targets {
        target(&mut envelope);
    }
});

/// The body as a type, whatever type the envelope names: a fuzzer would need long to find nineteen names.
fn read<B: Body>(envelope: &mut Envelope) {
    envelope.kind = B::TYPE.into();
    assert!(envelope.body::<B>().is_some(), "the envelope has the type {}", B::TYPE);
}
