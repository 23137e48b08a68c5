//! What is committed arrives; what is not, leaves no trace.

use crate::common::{MONITOR, STORE, TestRing, WRITER, drain, now, ring_with_store, send};
use enrgdaq_ring::{
    ClaimError, Control, ControlError, OpenError, Policy, ReaderPlan, RingName, SegmentError, Size, Spin, Stop, Writer,
    WriterPlan, WriterSpec,
};

#[test]
fn what_is_committed_is_read_in_place_and_in_order() {
    let ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));

    for i in 0..1000u32 {
        send(&mut writer, "store.csv.run1", &vec![u8::try_from(i % 251).unwrap(); (i * 13 % 5000) as usize]);
        let got = drain(&mut reader);

        assert_eq!(got, [vec![u8::try_from(i % 251).unwrap(); (i * 13 % 5000) as usize]]);
    }
    let status = ring.status();
    assert_eq!((status.writers[0].edges[0].routed, status.writers[0].edges[0].owed), (1000, 0));
}

#[test]
fn envelope_payload_and_names_arrive_as_given() {
    let ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let stop = Stop::new();

    let mut claim = writer.claim(&["store.csv"], Size { envelope: 5, payload: 100 }, now(&stop)).unwrap();
    let (epoch, seq) = (claim.epoch(), claim.seq());
    let (envelope, payload) = claim.parts_mut();
    envelope.copy_from_slice(b"hello");
    payload[..3].copy_from_slice(b"abc");
    claim.shorten_payload(3);
    let position = claim.commit();
    let delivery = reader.next(now(&stop)).unwrap().unwrap();

    assert_eq!((delivery.envelope(), delivery.payload()), (&b"hello"[..], &b"abc"[..]));
    assert_eq!((delivery.writer(), delivery.position(), delivery.epoch()), (WRITER, position, epoch));
    assert_eq!((delivery.seq(), seq, delivery.redelivered()), (0, 0, false));
    assert_eq!(delivery.payload().as_ptr() as usize % 64, 0);
    delivery.ack();
}

#[test]
fn a_claim_given_up_leaves_no_trace() {
    let ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let stop = Stop::new();

    drop(writer.claim(&["store.csv"], Size { envelope: 0, payload: 1 << 18 }, now(&stop)).unwrap());

    assert!(reader.next(now(&stop)).unwrap().is_none());
    let status = &ring.status().writers[0];
    assert_eq!((status.used_bytes, status.head, status.edges[0].routed), (0, 0, 0));
}

#[test]
fn what_nobody_wants_is_counted() {
    let ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    let stop = Stop::new();

    let refused = writer.claim(&["store.csv2"], Size::default(), now(&stop)).unwrap_err();

    assert_eq!(refused, ClaimError::Unrouted);
    assert_eq!(ring.status().writers[0].unrouted, 1);
}

#[test]
fn a_record_over_half_of_the_region_is_refused() {
    let ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    let stop = Stop::new();
    let largest = writer.largest_record() / 64 * 64;

    let refused = writer.claim(&["store.csv"], Size { envelope: 1, payload: largest }, now(&stop)).unwrap_err();

    assert!(matches!(refused, ClaimError::TooLarge { .. }));
    assert!(writer.claim(&["store.csv"], Size { envelope: 0, payload: largest }, now(&stop)).is_ok());
    let huge = Size { envelope: usize::MAX, payload: usize::MAX };
    assert!(matches!(writer.claim(&["store.csv"], huge, now(&stop)), Err(ClaimError::TooLarge { .. })));
}

#[test]
fn acks_may_come_late_in_any_order_and_from_other_threads() {
    let ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let stop = Stop::new();
    for i in 0..30u8 {
        send(&mut writer, "store.csv", &[i]);
    }
    let mut out: Vec<_> = std::iter::from_fn(|| reader.next(now(&stop)).unwrap()).collect();
    out.rotate_left(11);

    std::thread::scope(|scope| {
        for delivery in out {
            scope.spawn(move || delivery.ack());
        }
    });

    assert_eq!(ring.status().writers[0].edges[0].owed, 0);
}

#[test]
fn impossible_wishes_get_a_clear_answer() {
    let mut ring = TestRing::new();

    for name in ["", "../x", "a_w1", &"x".repeat(65)] {
        assert!(matches!(RingName::new(name), Err(SegmentError::BadName(_))), "{name}");
    }
    let tiny = WriterPlan::new(1, 10);
    assert!(matches!(Control::add_writer(&mut ring, &tiny), Err(ControlError::BadShape { .. })));
    let missing = RingName::new("no-such-ring").unwrap();
    let spec = WriterSpec { ring: missing, unique_id: 1, spin: Spin::default() };
    assert!(matches!(Writer::open(&spec), Err(OpenError::Segment(SegmentError::Missing(_)))));
    let spec = WriterSpec { ring: ring.name.clone(), unique_id: 1, spin: Spin::default() };
    assert!(matches!(Writer::open(&spec), Err(OpenError::Unknown { .. })));
    let plan = ReaderPlan { unique_id: 1, policy: Policy::Latest, topics: vec!["x".repeat(65_000)] };
    assert!(matches!(Control::add_reader(&mut ring, &plan), Err(ControlError::TableFull)));
}

#[test]
fn positions_wrap_without_a_trace() {
    for first in [u64::from(u32::MAX) - 100, u64::MAX - 100, (1 << 63) - 100] {
        let mut ring = TestRing::new();
        ring.add_writer_at(WRITER, 1 << 20, 16, first);
        ring.add_reader(STORE, Policy::Lossless, "");
        ring.add_reader(MONITOR, Policy::Latest, "");
        let (mut writer, mut reader, mut monitor) = (ring.writer(WRITER), ring.reader(STORE), ring.reader(MONITOR));
        for i in 0..200u8 {
            send(&mut writer, "t", &[i]);
            if i % 50 == 49 {
                drop(writer);
                writer = ring.writer(WRITER);
            }
            assert_eq!(drain(&mut monitor), [[i]]);
            assert_eq!(drain(&mut reader), [[i]]);
            if i % 60 == 59 {
                drop(reader);
                reader = ring.reader(STORE);
            }
        }
        for edge in &ring.status().writers[0].edges {
            assert_eq!((edge.routed, edge.taken, edge.owed, edge.missed, edge.damaged), (200, 200, 0, 0, 0));
        }
    }
}

/// What a custom owner of Arrow buffers has to be.
#[test]
fn a_delivery_can_own_what_is_read_in_place() {
    fn owns<T: std::panic::RefUnwindSafe + Send + Sync + 'static>() {}

    owns::<enrgdaq_ring::Delivery>();
}
