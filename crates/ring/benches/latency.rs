//! How long a record of 1 KiB takes from one process to another, at 1,000 a second: the reader asleep, and busy.
//!
//! `cargo bench -p enrgdaq-ring --bench latency` prints percentiles in microseconds, from before the claim to the
//! reader holding the delivery.

use enrgdaq_ring::{
    Control, Leftovers, Policy, Reader, ReaderPlan, ReaderSpec, RingName, Size, Spin, Stop, Until, Writer, WriterPlan,
    WriterSpec,
};
use rustix::time::{ClockId, clock_gettime};
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD: &str = "ENRGDAQ_RING_LATENCY_CHILD";
const RECORDS: usize = 3000;

fn main() {
    if let Ok(order) = std::env::var(CHILD) {
        return read(&order);
    }
    println!("{:>8} {:>8} {:>8} {:>8} {:>8}  µs", "reader", "p50", "p95", "p99", "max");
    for how in ["sleeps", "busy"] {
        measure(how);
    }
}

fn measure(how: &str) {
    let id = format!("latency-{}", std::process::id());
    let ring = RingName::new(&id).expect("a plain name");
    let (mut control, _) = Control::open(&ring, Leftovers::Discard).expect("a ring");
    control.add_writer(&WriterPlan::new(1, 1 << 20)).expect("a region");
    let topics = vec!["store".to_owned()];
    control.add_reader(&ReaderPlan { unique_id: 2, policy: Policy::Lossless, topics }).expect("a reader");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(CHILD, format!("{id} {how}"))
        .stdin(Stdio::null())
        .spawn()
        .expect("a child");
    while !control.is_alive(2).expect("an answer") {
        std::thread::yield_now();
    }
    let mut writer = Writer::open(&WriterSpec { ring, unique_id: 1, spin: Spin::default() }).expect("a writer");
    let stop = Stop::new();
    for _ in 0..RECORDS {
        std::thread::sleep(Duration::from_millis(1));
        let begin = now_ns();
        let size = Size { envelope: 200, payload: 1024 };
        let mut claim = writer.claim(&["store.csv"], size, Until::stopped(&stop)).expect("room");
        claim.payload_mut().fill(7);
        claim.payload_mut()[..8].copy_from_slice(&begin.to_le_bytes());
        claim.commit();
    }
    assert!(child.wait().expect("an exit").success());
    control.remove().expect("segments of ours");
}

fn read(order: &str) {
    let (id, how) = order.split_once(' ').expect("id and how");
    let ring = RingName::new(id).expect("a plain name");
    let spin = if how == "busy" { Spin::Busy } else { Spin::default() };
    let mut reader = Reader::open(&ReaderSpec { ring, unique_id: 2, spin }).expect("a reader");
    let stop = Stop::new();
    let mut times: Vec<u64> = Vec::with_capacity(RECORDS);
    for _ in 0..RECORDS {
        let delivery = reader.next(Until::stopped(&stop)).expect("a ring").expect("a record");
        let begin = u64::from_le_bytes(*delivery.payload().first_chunk().expect("1 KiB"));
        times.push(now_ns() - begin);
        delivery.ack();
    }
    times.sort_unstable();
    let at = |share: usize| times[(RECORDS - 1) * share / 1000] as f64 / 1000.0;
    println!("{how:>8} {:>8.1} {:>8.1} {:>8.1} {:>8.1}", at(500), at(950), at(990), at(1000));
}

/// The clock that all processes share.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).ok().and_then(|now| u64::try_from(now.as_nanos()).ok()).expect("a time since boot")
}
