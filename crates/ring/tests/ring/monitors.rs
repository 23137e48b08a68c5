//! Lossy readers: they get the newest, hold up nobody, and keep the bytes that they look at.

use crate::common::{MONITOR, STORE, TestRing, WRITER, drain, now, ring_with_store, send};
use enrgdaq_ring::{Control, ControlError, Leftovers, Policy, ReaderPlan, Stop};

#[test]
fn a_monitor_gets_the_newest_and_its_misses_are_counted() {
    let mut ring = TestRing::new();
    ring.add_writer(WRITER, 1 << 20, 64);
    ring.add_reader(MONITOR, Policy::Latest, "");
    let (mut writer, mut monitor) = (ring.writer(WRITER), ring.reader(MONITOR));
    let stop = Stop::new();

    for i in 0..200u8 {
        send(&mut writer, "any", &[i]);
    }
    let delivery = monitor.next(now(&stop)).unwrap().unwrap();

    assert_eq!(delivery.payload(), [199]);
    drop(delivery);
    let edge = ring.status().writers[0].edges[0];
    assert_eq!((edge.routed, edge.taken, edge.missed, edge.owed), (200, 1, 199, 0));
}

#[test]
fn a_stopped_monitor_holds_up_nobody_and_keeps_its_bytes() {
    let mut ring = ring_with_store();
    ring.add_reader(MONITOR, Policy::Latest, "store");
    let (mut writer, mut reader, mut monitor) = (ring.writer(WRITER), ring.reader(STORE), ring.reader(MONITOR));
    let stop = Stop::new();
    send(&mut writer, "store.csv", &[7; 10_000]);
    let held = monitor.next(now(&stop)).unwrap().unwrap();
    drain(&mut reader);

    for _ in 0..1000 {
        send(&mut writer, "store.csv", &[8; 100_000]);
        drain(&mut reader);
    }

    assert_eq!(held.payload(), [7; 10_000]);
    drop(held);
    assert_eq!(monitor.next(now(&stop)).unwrap().unwrap().payload(), [8; 100_000]);
}

#[test]
fn a_successor_writer_respects_the_pin_of_a_stopped_monitor() {
    let mut ring = ring_with_store();
    ring.add_reader(MONITOR, Policy::Latest, "store");
    let (mut writer, mut reader, mut monitor) = (ring.writer(WRITER), ring.reader(STORE), ring.reader(MONITOR));
    send(&mut writer, "store.csv", &[7; 10_000]);
    let held = monitor.next(now(&Stop::new())).unwrap().unwrap();

    for _ in 0..10 {
        for _ in 0..100 {
            send(&mut writer, "store.csv", &[8; 100_000]);
            drain(&mut reader);
        }
        drop(writer);
        writer = ring.writer(WRITER);
    }

    assert_eq!(held.payload(), [7; 10_000]);
}

#[test]
fn a_pin_on_a_removed_writers_region_is_not_mistaken_for_one_on_the_next() {
    let mut ring = TestRing::new();
    ring.add_writer(WRITER, 1 << 16, 16);
    ring.add_reader(MONITOR, Policy::Latest, "");
    let (mut writer, mut monitor) = (ring.writer(WRITER), ring.reader(MONITOR));
    let stop = Stop::new();
    send(&mut writer, "t", b"old");
    let old = monitor.next(now(&stop)).unwrap().unwrap();
    drop(writer);
    ring.remove_writer(WRITER, Leftovers::Discard).unwrap();
    ring.add_writer(77, 1 << 16, 16);
    let mut writer = ring.writer(77);
    send(&mut writer, "t", b"new");

    assert!(monitor.next(now(&stop)).unwrap().is_none());
    assert_eq!(old.payload(), b"old");
    drop(old);
    let new = monitor.next(now(&stop)).unwrap().unwrap();

    for _ in 0..100 {
        send(&mut writer, "t", &[0; 1000]);
    }
    assert_eq!(new.payload(), b"new");
}

#[test]
fn a_reader_cannot_change_its_policy_by_the_way() {
    let mut ring = ring_with_store();

    let plan = ReaderPlan { unique_id: STORE, policy: Policy::Latest, topics: vec![String::new()] };

    assert!(matches!(Control::add_reader(&mut ring, &plan), Err(ControlError::OtherPolicy { unique_id: STORE })));
}
