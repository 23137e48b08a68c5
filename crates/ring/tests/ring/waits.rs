//! Waiting for room and for records: what ends it, and what it costs others.

use crate::common::{STORE, TestRing, WRITER, drain, now, open_reader, ring_with_store, send, soon};
use enrgdaq_ring::{ClaimError, Policy, Size, Stop, Until};
use std::time::{Duration, Instant};

#[test]
fn a_full_region_waits_for_the_ack_until_the_deadline_and_counts_the_time() {
    let ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let stop = Stop::new();
    let size = Size { envelope: 0, payload: 400_000 };
    for _ in 0..2 {
        writer.claim(&["store.csv"], size, now(&stop)).unwrap().commit();
    }

    let wait = Until::stopped(&stop).or_after(Duration::from_millis(30));
    let refused = writer.claim(&["store.csv"], size, wait).unwrap_err();
    writer.count_dropped(&["store.csv"]);
    let waited = ring.status().writers[0].waited;
    reader.next(now(&stop)).unwrap().unwrap().ack();

    assert_eq!(refused, ClaimError::NoRoom);
    assert!(waited >= Duration::from_millis(30), "{waited:?}");
    assert!(writer.claim(&["store.csv"], size, now(&stop)).is_ok());
    assert_eq!(ring.status().writers[0].edges[0].dropped, 1);
}

#[test]
fn an_ack_wakes_a_writer_that_sleeps() {
    let ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let stop = Stop::new();
    let size = Size { envelope: 0, payload: 500_000 };
    writer.claim(&["store.csv"], size, now(&stop)).unwrap().commit();
    writer.claim(&["store.csv"], size, now(&stop)).unwrap().commit();
    let delivery = reader.next(now(&stop)).unwrap().unwrap();

    let acker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        delivery.ack();
    });

    let begin = Instant::now();
    assert!(writer.claim(&["store.csv"], size, soon(&stop)).is_ok());
    assert!(begin.elapsed() < Duration::from_secs(50), "the deadline of 60 s ended the sleep instead");
    acker.join().unwrap();
}

#[test]
fn stop_ends_a_wait_for_room() {
    let ring = ring_with_store();
    let mut writer = ring.writer(WRITER);
    let stop = Stop::new();
    stop.wakes(writer.waker());
    let size = Size { envelope: 0, payload: 500_000 };
    for _ in 0..2 {
        writer.claim(&["store.csv"], size, now(&stop)).unwrap().commit();
    }

    let stopper = stop.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        stopper.set();
    });

    assert_eq!(writer.claim(&["store.csv"], size, soon(&stop)).unwrap_err(), ClaimError::Stopped);
    thread.join().unwrap();
}

#[test]
fn a_commit_a_waker_and_a_stop_each_end_a_readers_sleep() {
    let ring = ring_with_store();
    let (mut writer, mut reader) = (ring.writer(WRITER), ring.reader(STORE));
    let (stop, waker) = (Stop::new(), reader.waker());
    stop.wakes(reader.waker());
    let late = Duration::from_millis(20);
    let begin = Instant::now();

    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(late);
            send(&mut writer, "store.csv", b"news");
        });
        reader.next(soon(&stop)).unwrap().unwrap().ack();
        scope.spawn(|| {
            std::thread::sleep(late);
            waker.wake();
        });
        assert!(reader.next(soon(&stop)).unwrap().is_none());
        scope.spawn(|| {
            std::thread::sleep(late);
            stop.set();
        });
        assert!(reader.next(soon(&stop)).unwrap().is_none());
    });

    assert!(begin.elapsed() < Duration::from_secs(50), "a deadline of 60 s ended a sleep instead");
}

#[test]
fn a_large_record_against_a_flood_of_small_ones_waits_bounded() {
    let mut ring = TestRing::new();
    ring.add_writer(WRITER, 4 << 20, 1024);
    ring.add_reader(STORE, Policy::Lossless, "");
    let name = ring.name.clone();
    let mut writer = ring.writer(WRITER);
    let stop = Stop::new();

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = open_reader(&name, STORE);
            for _ in 0..2020 {
                reader.next(soon(&stop)).unwrap().unwrap().ack();
            }
        });
        for _ in 0..20 {
            for _ in 0..100 {
                send(&mut writer, "t", &[1; 4096]);
            }
            let begin = Instant::now();
            send(&mut writer, "t", &vec![2; 2_000_000]);
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
    });
}

#[test]
fn a_stuck_reader_stops_only_the_writers_that_feed_it() {
    let mut ring = TestRing::new();
    ring.add_writer(WRITER, 1 << 16, 16);
    ring.add_writer(WRITER + 1, 1 << 16, 16);
    ring.add_reader(STORE, Policy::Lossless, "a");
    ring.add_reader(STORE + 10, Policy::Lossless, "b");
    let (mut fed, mut other) = (ring.writer(WRITER), ring.writer(WRITER + 1));
    let mut reader = ring.reader(STORE + 10);
    let stop = Stop::new();
    for _ in 0..16 {
        fed.claim(&["a"], Size::default(), now(&stop)).unwrap().commit();
    }

    assert_eq!(fed.claim(&["a"], Size::default(), now(&stop)).unwrap_err(), ClaimError::NoRoom);
    for i in 0..1000u64 {
        send(&mut other, "b", &i.to_le_bytes());
        assert_eq!(drain(&mut reader), [i.to_le_bytes()]);
    }

    let status = ring.status();
    assert_eq!((status.writers[0].owed(), status.writers[1].owed()), (16, 0));
    assert!(status.writers[0].waited > status.writers[1].waited);
}
