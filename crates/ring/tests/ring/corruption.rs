//! Every shared word, changed to anything: nobody panics, nobody reads outside the segment.

use crate::common::{RawSegment, TestRing, now};
use enrgdaq_ring::{Control, Leftovers, Policy, Reader, ReaderSpec, Size, Spin, Stop, Writer, WriterPlan, WriterSpec};

const WRITER: u128 = 1;
const STORE: u128 = 2;
const MONITOR: u128 = 3;

/// Words to put: the ends of the range, its middle, a small number, one that looks like a range of bytes.
const VALUES: [u64; 5] = [0, u64::MAX, 1 << 63, 3, 0x0000_0100_0000_0400];

/// The control segment's words that a ring of one writer and two readers uses.
fn control_words() -> impl Iterator<Item = u64> {
    let (readers, writers) = (384 / 8, (384 + 64 * 256) / 8);
    let cells = writers + 256 * 256 / 8;
    let tables = cells + 256 * 64 * 64 / 8;
    let identity_and_versions = (0..6).chain([16, 32]);
    let entries = (0..2).flat_map(move |r| [0, 1, 16].map(|word| readers + r * 32 + word));
    let owner = [0, 1, 2, 3, 16].map(|word| writers + word);
    let own_cells = (0..16).map(move |word| cells + word);
    let table = (0..2).flat_map(move |copy| (0..7).chain(193..200).map(move |word| tables + copy * 8192 + word));
    identity_and_versions.chain(entries).chain(owner).chain(own_cells).chain(table)
}

/// A region's words: header, ledgers in part, descriptors.
fn region_words() -> impl Iterator<Item = u64> {
    let header = (0..6).chain(16..22).chain(32..34).chain([48, 64]).chain(80..84).chain([96]);
    let ledgers = (0..2u64).flat_map(|copy| [0, 1, 2, 4, 5, 68, 132].map(|word| 112 + copy * 196 + word));
    header.chain(ledgers).chain(512..512 + 16 * 8)
}

/// A ring in full use, and whoever works in it when the word changes.
struct Scene {
    ring: TestRing,
    writer: Writer,
    store: Reader,
    monitor: Reader,
}

impl Scene {
    fn new() -> Self {
        let mut ring = TestRing::new();
        ring.add_writer(WRITER, 1 << 16, 16);
        ring.add_reader(STORE, Policy::Lossless, "t");
        ring.add_reader(MONITOR, Policy::Latest, "t");
        let (writer, store, monitor) = (ring.writer(WRITER), ring.reader(STORE), ring.reader(MONITOR));
        let mut scene = Self { ring, writer, store, monitor };
        scene.work();
        publish(&mut scene.writer, 5);
        scene
    }

    /// Everybody does everything; errors are fine, panics are not.
    fn work(&mut self) {
        publish(&mut self.writer, 6);
        self.writer.count_dropped(&["t"]);
        read(&mut self.monitor);
        read(&mut self.store);
        publish(&mut self.writer, 12);
        read(&mut self.store);
    }

    /// A new supervisor, a new writer and new readers.
    fn succeed(self) {
        let Self { mut ring, writer, store, monitor } = self;
        drop((writer, store, monitor));
        let name = ring.name.clone();
        drop(ring.status());
        drop(ring.owed());
        ring.abandon();
        let Ok((mut control, _)) = Control::open(&name, Leftovers::Keep) else {
            // What is refused can be discarded.
            return Control::open(&name, Leftovers::Discard).unwrap().0.remove().unwrap();
        };
        // It may be full of nonsense: only panics count.
        drop(control.add_writer(&WriterPlan { places: 16, ..WriterPlan::new(WRITER, 1 << 16) }));
        let ring = || name.clone();
        if let Ok(mut writer) = Writer::open(&WriterSpec { ring: ring(), unique_id: WRITER, spin: Spin::default() }) {
            publish(&mut writer, 40);
        }
        for unique_id in [STORE, MONITOR] {
            if let Ok(mut reader) = Reader::open(&ReaderSpec { ring: ring(), unique_id, spin: Spin::default() }) {
                read(&mut reader);
            }
            drop(control.remove_reader(unique_id));
        }
        drop(control.remove_writer(WRITER, Leftovers::Discard));
        control.sweep();
        control.remove().unwrap();
    }
}

fn publish(writer: &mut Writer, records: usize) {
    let stop = Stop::new();
    for i in 0..records {
        let size = Size { envelope: 20, payload: 100 * i };
        if let Ok(mut claim) = writer.claim(&["t"], size, now(&stop)) {
            claim.payload_mut().fill(7);
            claim.commit();
        }
    }
}

fn read(reader: &mut Reader) {
    let stop = Stop::new();
    // A word that always promises news must not keep us here.
    for _ in 0..100 {
        let Ok(Some(delivery)) = reader.next(now(&stop)) else { break };
        let sum: u64 = delivery.payload().iter().chain(delivery.envelope()).map(|&byte| u64::from(byte)).sum();
        assert!(sum < u64::MAX);
        delivery.ack();
    }
}

fn survives(segment: impl Fn(&TestRing) -> String, words: impl Iterator<Item = u64>) -> usize {
    let mut count = 0;
    for word in words {
        for value in VALUES {
            let mut scene = Scene::new();
            let raw = RawSegment::open(&segment(&scene.ring));
            raw.set_word(word, value);
            scene.work();
            raw.set_word(word, raw.word(word).wrapping_sub(1));
            scene.succeed();
            count += 1;
        }
    }
    count
}

#[test]
fn any_word_of_the_control_segment_may_be_anything() {
    let count = survives(|ring| format!("{}_c", ring.name), control_words());

    assert!(count > 300, "{count}");
}

#[test]
fn any_word_of_a_region_may_be_anything() {
    let count = survives(|ring| ring.name.regions().unwrap().remove(0), region_words());

    assert!(count > 700, "{count}");
}
