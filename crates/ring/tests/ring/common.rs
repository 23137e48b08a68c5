//! A ring of its own for each test, removed at the end.

use enrgdaq_ring::{
    Control, Leftovers, Policy, Reader, ReaderPlan, ReaderSpec, RingName, Size, Spin, Stop, Until, Writer, WriterPlan,
    WriterSpec,
};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

pub(crate) const WRITER: u128 = 1 << 100 | 1;
pub(crate) const STORE: u128 = 2;
pub(crate) const MONITOR: u128 = 3;

/// A writer of 1 MiB, and a store that subscribes to `store.csv`.
pub(crate) fn ring_with_store() -> TestRing {
    let mut ring = TestRing::new();
    ring.add_writer(WRITER, 1 << 20, 64);
    ring.add_reader(STORE, Policy::Lossless, "store.csv");
    ring
}

/// A test's own ring.
#[derive(Debug)]
pub(crate) struct TestRing {
    pub(crate) name: RingName,
    id: String,
    control: Option<Control>,
}

impl TestRing {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let name = RingName::new(&id).unwrap();
        let (control, _) = Control::open(&name, Leftovers::Discard).unwrap();
        Self { name, id, control: Some(control) }
    }

    /// The supervisor dies and a new one takes over.
    pub(crate) fn restart_supervisor(&mut self) {
        self.control = None;
        self.control = Some(Control::open(&self.name, Leftovers::Keep).unwrap().0);
    }

    pub(crate) fn add_writer(&mut self, unique_id: u128, bytes: usize, places: usize) {
        self.add_writer_at(unique_id, bytes, places, 0);
    }

    pub(crate) fn add_writer_at(&mut self, unique_id: u128, bytes: usize, places: usize, first_position: u64) {
        let plan = WriterPlan { places, first_position, ..WriterPlan::new(unique_id, bytes) };
        self.control.as_mut().unwrap().add_writer(&plan).unwrap();
    }

    pub(crate) fn add_reader(&mut self, unique_id: u128, policy: Policy, topic: &str) {
        let plan = ReaderPlan { unique_id, policy, topics: vec![topic.to_owned()] };
        self.control.as_mut().unwrap().add_reader(&plan).unwrap();
    }

    /// What its name was made from.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Leaves the segments behind, as a supervisor that dies does.
    pub(crate) fn abandon(&mut self) {
        self.control = None;
    }

    pub(crate) fn writer(&self, unique_id: u128) -> Writer {
        open_writer(&self.name, unique_id)
    }

    pub(crate) fn reader(&self, unique_id: u128) -> Reader {
        open_reader(&self.name, unique_id)
    }
}

pub(crate) fn open_writer(ring: &RingName, unique_id: u128) -> Writer {
    Writer::open(&WriterSpec { ring: ring.clone(), unique_id, spin: Spin::default() }).unwrap()
}

pub(crate) fn open_reader(ring: &RingName, unique_id: u128) -> Reader {
    Reader::open(&ReaderSpec { ring: ring.clone(), unique_id, spin: Spin::default() }).unwrap()
}

impl Deref for TestRing {
    type Target = Control;
    fn deref(&self) -> &Control {
        self.control.as_ref().unwrap()
    }
}

impl DerefMut for TestRing {
    fn deref_mut(&mut self) -> &mut Control {
        self.control.as_mut().unwrap()
    }
}

impl Drop for TestRing {
    fn drop(&mut self) {
        if let Some(control) = self.control.take() {
            control.remove().unwrap();
        }
    }
}

/// Does not wait.
pub(crate) fn now(stop: &Stop) -> Until<'_> {
    Until::stopped(stop).or_after(Duration::ZERO)
}

/// Waits longer than any test should take.
pub(crate) fn soon(stop: &Stop) -> Until<'_> {
    Until::stopped(stop).or_after(Duration::from_secs(60))
}

/// Sends `payload`, whose first bytes are also the envelope.
pub(crate) fn send(writer: &mut Writer, topic: &str, payload: &[u8]) -> u64 {
    let stop = Stop::new();
    let size = Size { envelope: payload.len().min(8), payload: payload.len() };
    let mut claim = writer.claim(&[topic], size, soon(&stop)).unwrap();
    claim.envelope_mut().copy_from_slice(&payload[..size.envelope]);
    claim.payload_mut().copy_from_slice(payload);
    claim.commit()
}

/// What is there for the reader now, acknowledged.
pub(crate) fn drain(reader: &mut Reader) -> Vec<Vec<u8>> {
    let stop = Stop::new();
    let mut payloads = Vec::new();
    while let Some(delivery) = reader.next(now(&stop)).unwrap() {
        payloads.push(delivery.payload().to_vec());
        delivery.ack();
    }
    payloads
}

/// The words of a segment, as somebody sees them who knows nothing of the layout.
pub(crate) struct RawSegment(std::fs::File);

impl RawSegment {
    pub(crate) fn open(name: &str) -> Self {
        let path = format!("/dev/shm/{name}");
        Self(std::fs::File::options().read(true).write(true).open(path).unwrap())
    }

    pub(crate) fn word(&self, index: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, index * 8).unwrap();
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn set_word(&self, index: u64, value: u64) {
        self.0.write_all_at(&value.to_le_bytes(), index * 8).unwrap();
    }
}
