//! In the steady state neither side allocates memory for a message, and many different topics take no more than a few.
#![expect(unsafe_code, reason = "counts what the allocator is asked for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size().cast_signed());
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size().cast_signed());
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[cfg(test)]
mod tests {
    use super::{ALLOCATIONS, BYTES};
    use enrgdaq_ring::{
        Control, Leftovers, Policy, Reader, ReaderPlan, ReaderSpec, RingName, Size, Spin, Stop, Until, Writer,
        WriterPlan, WriterSpec,
    };
    use std::time::Duration;

    /// A writer, a store that takes all, and who keeps the ring.
    fn pair(what: &str) -> (Control, Writer, Reader) {
        let ring = RingName::new(&format!("alloc-{what}-{}", std::process::id())).unwrap();
        let (mut control, _) = Control::open(&ring, Leftovers::Discard).unwrap();
        control.add_writer(&WriterPlan::new(1, 1 << 20)).unwrap();
        let topics = vec!["store".to_owned()];
        control.add_reader(&ReaderPlan { unique_id: 2, policy: Policy::Lossless, topics }).unwrap();
        let spin = Spin::default();
        let writer = Writer::open(&WriterSpec { ring: ring.clone(), unique_id: 1, spin }).unwrap();
        let reader = Reader::open(&ReaderSpec { ring, unique_id: 2, spin }).unwrap();
        (control, writer, reader)
    }

    fn pass_one(writer: &mut Writer, reader: &mut Reader, topics: &[&str], stop: &Stop) {
        let now = Until::stopped(stop).or_after(Duration::ZERO);
        let mut claim = writer.claim(topics, Size { envelope: 100, payload: 1000 }, now).unwrap();
        claim.payload_mut().fill(1);
        claim.commit();
        let delivery = reader.next(now).unwrap().unwrap();
        assert_eq!(delivery.payload().len(), 1000);
        delivery.ack();
    }

    #[test]
    fn a_message_costs_no_allocation() {
        let (control, mut writer, mut reader) = pair("steady");
        let stop = Stop::new();
        (0..10).for_each(|_| pass_one(&mut writer, &mut reader, &["store.csv", "store.raw"], &stop));

        let before = ALLOCATIONS.get();
        (0..10_000).for_each(|_| pass_one(&mut writer, &mut reader, &["store.csv", "store.raw"], &stop));

        assert_eq!(ALLOCATIONS.get(), before);
        control.remove().unwrap();
    }

    #[test]
    fn a_million_topics_take_constant_memory() {
        let topics = std::env::var("ENRGDAQ_RING_TOPICS").map_or(100_000, |text| text.parse().unwrap());
        let (control, mut writer, mut reader) = pair("topics");
        let stop = Stop::new();
        let mut pass = |i: u32| pass_one(&mut writer, &mut reader, &[&format!("store.{i:07}")], &stop);
        (0..10_000).for_each(&mut pass);

        let before = BYTES.get();
        (10_000..topics).for_each(&mut pass);

        assert!((BYTES.get() - before).abs() < 4096, "{before} {}", BYTES.get());
        control.remove().unwrap();
    }
}
