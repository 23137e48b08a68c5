//! How fast payloads go from one process to another, every byte filled and verified, beside the machine's memcpy.
//!
//! `cargo bench -p enrgdaq-ring` prints one line a size: payload bytes, messages a second, MB a second, the ratio to
//! memcpy, and the share of time that the writer waited for room. `-- SIZE…` measures other sizes, `-- fill` and
//! `-- touch` leave out the verification, or all but one word of both; `-- crowd` adds 255 writers that do nothing.

use enrgdaq_ring::{
    Control, Leftovers, Policy, Reader, ReaderPlan, ReaderSpec, RingName, Size, Spin, Stop, Until, Writer, WriterPlan,
    WriterSpec,
};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WRITER: u128 = 1;
const STORE: u128 = 2;
const CHILD: &str = "ENRGDAQ_RING_BENCH_CHILD";
const REGION_BYTES: usize = 64 << 20;
const TIME: Duration = Duration::from_secs(2);
const ENVELOPE: usize = 200;

/// How much of each payload is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Verify,
    Fill,
    Touch,
}

fn main() {
    if let Ok(order) = std::env::var(CHILD) {
        return read(&order);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    let work = if has("touch") {
        Work::Touch
    } else if has("fill") {
        Work::Fill
    } else {
        Work::Verify
    };
    let mut sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100, 1024, 16 << 10, 160_000, 1_600_000, 8_000_000];
    }
    println!("{work:?}; memcpy of 1 MiB blocks through 256 MiB: {:.1} GB/s", memcpy_bytes_per_s() / 1e9);
    println!("{:>10} {:>12} {:>10} {:>8} {:>8}", "bytes", "messages/s", "MB/s", "ratio", "waited");
    for bytes in sizes {
        measure(bytes, work, if has("crowd") { 255 } else { 0 });
    }
    println!("memcpy afterwards: {:.1} GB/s", memcpy_bytes_per_s() / 1e9);
}

fn measure(bytes: usize, work: Work, idle_writers: u128) {
    let id = format!("bench-{}", std::process::id());
    let ring = RingName::new(&id).expect("a plain name");
    let (mut control, _) = Control::open(&ring, Leftovers::Discard).expect("a ring");
    control.add_writer(&WriterPlan::new(WRITER, REGION_BYTES)).expect("a region");
    for idle in 0..idle_writers {
        control.add_writer(&WriterPlan::new(1000 + idle, 1 << 16)).expect("a region");
    }
    let topics = vec!["store".to_owned()];
    control.add_reader(&ReaderPlan { unique_id: STORE, policy: Policy::Lossless, topics }).expect("a reader");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(CHILD, format!("{id} {work:?}"))
        .stdin(Stdio::null())
        .spawn()
        .expect("a child");
    while !control.is_alive(STORE).expect("an answer") {
        std::thread::yield_now();
    }
    let memcpy = memcpy_bytes_per_s();
    let mut writer = Writer::open(&WriterSpec { ring, unique_id: WRITER, spin: Spin::default() }).expect("a writer");
    let begin = Instant::now();
    let sent = write(&mut writer, bytes, work);
    assert!(child.wait().expect("an exit").success(), "the reader found a wrong byte");
    let elapsed = begin.elapsed().as_secs_f64();
    let status = control.status();
    assert_eq!(status.writers[0].edges[0].owed, 0, "all was acknowledged");
    let waited = status.writers[0].waited.as_secs_f64() / elapsed;
    let rate = sent as f64 / elapsed;
    let throughput = rate * bytes as f64;
    println!("{bytes:>10} {rate:>12.0} {:>10.0} {:>8.2} {waited:>8.2}", throughput / 1e6, throughput / memcpy);
    control.remove().expect("segments of ours");
}

/// Sends for a while, then an empty record as the end.
fn write(writer: &mut Writer, bytes: usize, work: Work) -> u64 {
    let stop = Stop::new();
    let envelope = [7; ENVELOPE];
    let begin = Instant::now();
    let mut sent = 0u64;
    while !sent.is_multiple_of(64) || begin.elapsed() < TIME {
        let size = Size { envelope: ENVELOPE, payload: bytes };
        let mut claim = writer.claim(&["store.DAQJobStoreCSV"], size, Until::stopped(&stop)).expect("room");
        let (head, payload) = claim.parts_mut();
        head.copy_from_slice(&envelope);
        match work {
            Work::Touch => payload[..8].copy_from_slice(&sent.to_le_bytes()),
            Work::Fill | Work::Verify => fill(payload, sent),
        }
        claim.commit();
        sent += 1;
    }
    writer.claim(&["store"], Size::default(), Until::stopped(&stop)).expect("room").commit();
    sent
}

fn read(order: &str) {
    let (id, work) = order.split_once(' ').expect("id and work");
    let ring = RingName::new(id).expect("a plain name");
    let mut reader = Reader::open(&ReaderSpec { ring, unique_id: STORE, spin: Spin::default() }).expect("a reader");
    let stop = Stop::new();
    let mut expected = 0;
    while let Some(delivery) = reader.next(Until::stopped(&stop)).expect("a ring") {
        let payload = delivery.payload();
        let is_end = payload.is_empty();
        if !is_end {
            let sequence = payload.first_chunk().map(|&first| u64::from_le_bytes(first));
            assert_eq!(sequence, Some(expected), "sequence");
            assert!(work != "Verify" || is_right(payload, expected), "wrong byte in record {expected}");
            expected += 1;
        }
        delivery.ack();
        if is_end {
            return;
        }
    }
}

/// Word i is sequence + i · odd constant: each is unlike its neighbours and its predecessors.
fn fill(payload: &mut [u8], sequence: u64) {
    let mut value = sequence;
    for word in payload.chunks_exact_mut(8) {
        word.copy_from_slice(&value.to_le_bytes());
        value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    }
}

fn is_right(payload: &[u8], sequence: u64) -> bool {
    let mut value = sequence;
    let mut difference = 0;
    for word in payload.chunks_exact(8) {
        difference |= u64::from_le_bytes(word.try_into().expect("eight bytes")) ^ value;
        value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    }
    difference == 0
}

fn memcpy_bytes_per_s() -> f64 {
    const BLOCK: usize = 1 << 20;
    let source = vec![1u8; 256 * BLOCK];
    let mut target = vec![0u8; 256 * BLOCK];
    let once = |target: &mut [u8]| {
        let begin = Instant::now();
        for (to, from) in target.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK)) {
            to.copy_from_slice(from);
        }
        std::hint::black_box(target);
        begin.elapsed()
    };
    let best = (0..4).map(|_| once(&mut target)).min().expect("four times");
    (256 * BLOCK) as f64 / best.as_secs_f64()
}
