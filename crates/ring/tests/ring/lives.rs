//! Those who come, go, and come again: joining, successors, removal, entries used again.

use crate::common::{MONITOR, STORE, TestRing, WRITER, drain, now, open_writer, ring_with_store, send, soon};
use enrgdaq_ring::{
    ClaimError, Control, ControlError, Found, Leftovers, OpenError, Policy, ReaderPlan, Size, Spin, Stop, Until,
    Writer, WriterSpec,
};

#[test]
fn a_reader_gets_nothing_from_before_it_joined_and_all_from_after() {
    let mut ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    send(&mut writer, "store.csv", b"before");

    ring.add_reader(9, Policy::Lossless, "store.csv");
    send(&mut writer, "store.csv", b"after");

    assert_eq!(drain(&mut ring.reader(9)), [b"after"]);
}

#[test]
fn a_successor_gets_what_was_not_acknowledged_again_and_marked() {
    let ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    let stop = Stop::new();
    for payload in [b"a", b"b", b"c"] {
        send(&mut writer, "store.csv", payload);
    }
    let mut reader = ring.reader(STORE);
    let a = reader.next(now(&stop)).unwrap().unwrap();
    let b = reader.next(now(&stop)).unwrap().unwrap();
    b.ack();
    drop((a, reader));

    let mut successor = ring.reader(STORE);
    let again: Vec<_> = std::iter::from_fn(|| {
        let delivery = successor.next(now(&stop)).unwrap()?;
        let seen = (delivery.payload().to_vec(), delivery.redelivered());
        delivery.ack();
        Some(seen)
    })
    .collect();

    assert_eq!(again, [(b"a".to_vec(), true), (b"b".to_vec(), true), (b"c".to_vec(), false)]);
    assert_eq!(ring.status().writers[0].edges[0].redelivered, 2);
}

#[test]
fn a_successor_of_the_supervisor_knows_who_writes_and_who_reads_without_any_record() {
    let mut ring = ring_with_store();
    ring.add_reader(MONITOR, Policy::Latest, "store");
    ring.restart_supervisor();
    ring.remove_reader(STORE).unwrap();

    assert_eq!((ring.writers(), ring.readers()), (vec![WRITER], vec![(MONITOR, Policy::Latest)]));
}

#[test]
fn a_successor_writer_goes_on_and_its_readers_miss_nothing() {
    let mut ring = ring_with_store();
    ring.add_reader(MONITOR, Policy::Latest, "store");
    let mut reader = ring.reader(STORE);
    let mut sent = Vec::new();
    for start in 0..5u8 {
        let mut writer = ring.writer(WRITER);
        for i in 0..40u8 {
            sent.push(vec![start, i]);
            send(&mut writer, "store.csv", &[start, i]);
            if i % 3 == 0 {
                let stop = Stop::new();
                let delivery = reader.next(now(&stop)).unwrap().unwrap();
                assert_eq!(delivery.payload(), sent.remove(0));
                delivery.ack();
            }
        }
        while sent.len() > 20 {
            let delivery = reader.next(now(&Stop::new())).unwrap().unwrap();
            assert_eq!(delivery.payload(), sent.remove(0));
            delivery.ack();
        }
    }

    assert_eq!(drain(&mut reader), sent);
    let edge = ring.status().writers[0].edges[0];
    assert_eq!((edge.routed, edge.taken, edge.owed), (200, 200, 0));
}

#[test]
fn a_seat_is_taken_once_and_free_after_death_only() {
    let mut ring = ring_with_store();
    let (writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let spec = WriterSpec { ring: ring.name.clone(), unique_id: WRITER, spin: Spin::default() };

    assert!(matches!(Writer::open(&spec), Err(OpenError::Alive { .. })));
    assert!(matches!(ring.remove_reader(STORE), Err(ControlError::Alive { .. })));
    assert!(matches!(ring.remove_writer(WRITER, Leftovers::Discard), Err(ControlError::Alive { .. })));
    assert!(matches!(Control::open(&ring.name, Leftovers::Keep), Err(ControlError::Busy(_))));
    drop(writer);
    assert!(Writer::open(&spec).is_ok());
    assert!(reader.next(now(&Stop::new())).unwrap().is_none());
}

#[test]
fn a_delivery_that_is_out_keeps_the_readers_seat() {
    let mut ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    send(&mut writer, "store.csv", b"x");

    let delivery = reader.next(now(&Stop::new())).unwrap().unwrap();
    drop(reader);

    assert!(matches!(ring.remove_reader(STORE), Err(ControlError::Alive { .. })));
    delivery.ack();
    assert_eq!(ring.remove_reader(STORE).unwrap()[0].owed, 0);
}

#[test]
fn a_removed_readers_claims_vanish_and_are_counted() {
    let mut ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    let stop = Stop::new();
    for _ in 0..64 {
        send(&mut writer, "store.csv", b"x");
    }
    assert_eq!(writer.claim(&["store.csv"], Size::default(), now(&stop)).unwrap_err(), ClaimError::NoRoom);

    ring.add_reader(9, Policy::Lossless, "store");
    let lost = ring.remove_reader(STORE).unwrap();

    assert_eq!((lost.len(), lost[0].writer, lost[0].reader, lost[0].owed), (1, WRITER, STORE, 64));
    for _ in 0..64 {
        send(&mut writer, "store.csv", b"y");
    }
    assert_eq!(drain(&mut ring.reader(9)).len(), 64);
}

#[test]
fn an_entry_used_again_brings_no_foreign_message() {
    let mut ring = TestRing::new();
    ring.add_writer(WRITER, 1 << 20, 256);
    for r in 0..64 {
        ring.add_reader(100 + r, Policy::Lossless, "old");
    }
    let mut writer = ring.writer(WRITER);
    let stop = Stop::new();
    send(&mut writer, "old", b"for the former owner");
    assert_eq!(drain(&mut ring.reader(107)).len(), 1);
    let claim = writer.claim(&["old"], Size::default(), now(&stop)).unwrap();

    let plan = ReaderPlan { unique_id: 999, policy: Policy::Lossless, topics: vec!["new".to_owned()] };
    let refused = Control::add_reader(&mut ring, &plan);
    ring.remove_reader(107).unwrap();
    ring.add_reader(7, Policy::Lossless, "new");
    claim.commit();
    let mut newcomer = ring.reader(7);
    assert!(drain(&mut newcomer).is_empty());
    send(&mut writer, "new", b"mine");

    assert!(matches!(refused, Err(ControlError::TooManyReaders)));
    assert_eq!(drain(&mut newcomer), [b"mine"]);
    let status = &ring.status().writers[0];
    let edge = status.edges.iter().find(|edge| edge.reader == 7).unwrap();
    assert_eq!((edge.routed, edge.taken, edge.owed, edge.redelivered), (1, 1, 0, 0));
    let all: u64 = status.edges.iter().map(|edge| edge.routed).sum::<u64>() + status.bygone_routed;
    assert_eq!(all, 64 + 64 + 1);
}

#[test]
fn a_writer_entry_used_again_is_followed_and_late_acks_of_the_old_one_mean_nothing() {
    let mut ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let stop = Stop::new();
    send(&mut writer, "store.csv", b"old 1");
    send(&mut writer, "store.csv", b"old 2");
    let held = reader.next(now(&stop)).unwrap().unwrap();
    drop(writer);
    assert!(matches!(ring.remove_writer(WRITER, Leftovers::Keep), Err(ControlError::NotDrained { records: 2 })));

    let lost = ring.remove_writer(WRITER, Leftovers::Discard).unwrap();
    ring.add_writer(77, 1 << 16, 16);
    let mut writer = ring.writer(77);
    send(&mut writer, "store.csv", b"new");
    let new = reader.next(now(&stop)).unwrap().unwrap();
    assert_eq!(held.payload(), b"old 1");
    held.ack();

    assert_eq!(lost.owed(), 2);
    assert_eq!((new.payload(), new.writer()), (&b"new"[..], 77));
    assert_eq!(ring.status().writers[0].edges[0].owed, 1);
    new.ack();
    assert_eq!(ring.status().writers[0].edges[0].owed, 0);
}

#[test]
fn the_next_supervisor_goes_on_with_the_ring() {
    let mut ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    send(&mut writer, "store.csv", b"kept");
    drop(writer);

    ring.restart_supervisor();
    ring.add_writer(WRITER, 1 << 20, 64);
    ring.add_reader(STORE, Policy::Lossless, "store.csv");

    assert_eq!(ring.owed().len(), 1);
    assert_eq!(drain(&mut ring.reader(STORE)), [b"kept"]);
}

#[test]
fn what_is_discarded_is_counted() {
    let mut ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    send(&mut writer, "store.csv", b"thrown away");
    drop(writer);
    let name = ring.name.clone();
    ring.abandon();

    let (control, found) = Control::open(&name, Leftovers::Discard).unwrap();

    let Found::Discarded { segments: 2, owed: Some(owed) } = found else { panic!("{found:?}") };
    assert_eq!(owed[0].owed, 1);
    control.remove().unwrap();
}

#[test]
fn entries_change_hands_under_load_and_all_memory_comes_back() {
    let rounds = std::env::var("ENRGDAQ_RING_REUSES").map_or(300, |text| text.parse().unwrap());
    let mut ring = ring_with_store();
    let name = ring.name.clone();
    let (stop, done) = (Stop::new(), Stop::new());

    std::thread::scope(|scope| {
        for unique_id in [WRITER, WRITER + 1] {
            ring.add_writer(unique_id, 1 << 20, 64);
            let (stop, name) = (&stop, &name);
            scope.spawn(move || {
                let mut writer = open_writer(name, unique_id);
                for round in 0u64.. {
                    let topic = format!("store.{}", round % 5);
                    let size = Size { envelope: topic.len(), payload: 900 };
                    match writer.claim(&[&topic], size, Until::stopped(stop)) {
                        Ok(mut claim) => {
                            claim.envelope_mut().copy_from_slice(topic.as_bytes());
                            claim.commit();
                        }
                        Err(ClaimError::Unrouted) => {}
                        Err(_) => break,
                    }
                    if stop.is_set() {
                        break;
                    }
                }
            });
        }
        for round in 0..rounds {
            let (unique_id, topic) = (1000 + round, format!("store.{}", round % 5));
            ring.add_reader(unique_id, Policy::Lossless, &topic);
            let mut reader = ring.reader(unique_id);
            for _ in 0..round % 4 {
                let delivery = reader.next(soon(&done)).unwrap().unwrap();
                assert_eq!(delivery.envelope(), topic.as_bytes());
                delivery.ack();
            }
            drop(reader);
            ring.remove_reader(unique_id).unwrap();
        }
        stop.set();
        ring.sweep();
    });

    for writer in [WRITER, WRITER + 1] {
        let mut writer = ring.writer(writer);
        ring.add_reader(5, Policy::Lossless, "end");
        let mut reader = ring.reader(5);
        for _ in 0..200 {
            send(&mut writer, "end", b"small");
            drain(&mut reader);
        }
        let half = vec![1; writer.largest_record() / 64 * 64];
        for _ in 0..4 {
            writer.claim(&["end"], Size { envelope: 0, payload: half.len() }, now(&done)).unwrap().commit();
            drain(&mut reader);
        }
        drop(reader);
        ring.remove_reader(5).unwrap();
    }
}
