//! Real processes that die before each of their shared stores in turn, and what is left afterwards.
//!
//! A child is this test program again, running [`child`]. What it says on its output counts as done; the parent then
//! looks at the ring that the dead process left, lets successors go on, and balances the books.

use crate::common::{TestRing, drain, now, open_reader, open_writer, send};
use enrgdaq_ring::{Control, Leftovers, Policy, ReaderPlan, RingName, Size, Stop, WriterPlan, kill_points};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const WRITER: u128 = 1;
const STORE: u128 = 2;
const MONITOR: u128 = 3;
const RECORDS: u64 = 24;
const CHILD: &str = "ENRGDAQ_RING_CHILD";

/// What a child does until it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Writes, and reads without loss.
    Store,
    /// Writes, and looks at the newest.
    Monitor,
    /// Makes a ring, adds, changes and removes.
    Supervisor,
}

const ROLES: [(Role, &str); 3] = [(Role::Store, "store"), (Role::Monitor, "monitor"), (Role::Supervisor, "supervisor")];

/// What a child said before it died.
#[derive(Debug, Default)]
struct Said {
    committed: u64,
    acknowledged: u64,
    has_ended: bool,
}

#[test]
fn child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let [role, id, stores] = order.split(' ').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let role = ROLES.iter().find(|(_, name)| *name == role).unwrap().0;
    let ring = RingName::new(id).unwrap();
    kill_points::arm(stores.parse().unwrap());
    match role {
        Role::Store | Role::Monitor => live_as_job(&ring, role),
        Role::Supervisor => live_as_supervisor(&ring),
    }
    println!("@end {}", kill_points::disarm());
}

fn live_as_job(ring: &RingName, role: Role) {
    let mut writer = open_writer(ring, WRITER);
    let mut reader = open_reader(ring, if role == Role::Store { STORE } else { MONITOR });
    let stop = Stop::new();
    for i in 0..RECORDS {
        drop(writer.claim(&["t"], Size { envelope: 10, payload: 100 }, now(&stop)));
        assert!(writer.claim(&["nobody"], Size::default(), now(&stop)).is_err());
        send(&mut writer, "t", &content(i));
        println!("@committed");
        if i % 3 == 2 {
            while let Some(delivery) = reader.next(now(&stop)).unwrap() {
                assert_eq!(delivery.payload(), content(delivery.position()));
                delivery.ack();
                println!("@acknowledged");
            }
        }
    }
    writer.count_dropped(&["t"]);
}

fn live_as_supervisor(ring: &RingName) {
    let (mut control, _) = Control::open(ring, Leftovers::Keep).unwrap();
    let plan = ReaderPlan { unique_id: STORE, policy: Policy::Lossless, topics: vec!["a".to_owned()] };
    control.add_writer(&small_writer(WRITER)).unwrap();
    control.add_reader(&plan).unwrap();
    control.add_reader(&ReaderPlan { topics: vec!["t".to_owned()], ..plan.clone() }).unwrap();
    control.add_reader(&ReaderPlan { unique_id: MONITOR, policy: Policy::Latest, ..plan.clone() }).unwrap();
    send(&mut open_writer(ring, WRITER), "t", &content(0));
    control.remove_reader(STORE).unwrap();
    control.add_writer(&small_writer(WRITER + 10)).unwrap();
    control.remove_writer(WRITER, Leftovers::Discard).unwrap();
    control.add_reader(&plan).unwrap();
    control.add_writer(&small_writer(WRITER)).unwrap();
    control.sweep();
}

fn small_writer(unique_id: u128) -> WriterPlan {
    WriterPlan { places: 16, ..WriterPlan::new(unique_id, 1 << 16) }
}

/// The payload of record `i`: no two are alike.
fn content(i: u64) -> Vec<u8> {
    let length = 8 + usize::try_from(i * 37 % 300).unwrap();
    i.to_le_bytes().into_iter().cycle().take(length).collect()
}

fn run_child(role: Role, id: &str, stores: u64) -> Said {
    let name = ROLES.iter().find(|(known, _)| *known == role).unwrap().1;
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["kills::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{name} {id} {stores}"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let count = |word: &str| text.matches(word).count() as u64;
    let said =
        Said { committed: count("@committed"), acknowledged: count("@acknowledged"), has_ended: text.contains("@end") };
    assert!(said.has_ended || !output.status.success(), "{role:?} ended early after {stores} stores: {text}");
    assert!(!text.contains("panicked"), "{text}");
    said
}

/// Runs `one` for 0, 1, 2 … stores until a child lives to its end, on two threads; says how many that were.
fn for_every_kill_point(one: impl Fn(u64) -> bool + Sync) -> usize {
    let (next, last) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let stores = next.fetch_add(1, Relaxed);
                    if stores > last.load(Relaxed) {
                        break;
                    }
                    if one(stores as u64) {
                        last.fetch_min(stores, Relaxed);
                    }
                }
            });
        }
    });
    last.load(Relaxed)
}

#[test]
fn a_writer_and_its_store_may_die_before_any_store() {
    let points = for_every_kill_point(|stores| {
        let mut ring = TestRing::new();
        ring.add_writer(WRITER, 1 << 16, 16);
        ring.add_reader(STORE, Policy::Lossless, "t");
        let said = run_child(Role::Store, ring.id(), stores);

        let committed = after_death(&ring, &said, stores);

        let edge = ring.status().writers[0].edges[0];
        assert_eq!((edge.routed, edge.owed, edge.damaged), (committed, 0, 0), "after {stores} stores");
        all_memory_is_free(&ring, &[STORE], stores);
        said.has_ended
    });
    println!("{points} kill points");
    assert!(points > 300, "{points} kill points are too few to be all");
}

/// The successor reader gets exactly what was not acknowledged; says how many records were committed.
fn after_death(ring: &TestRing, said: &Said, stores: u64) -> u64 {
    let mut reader = ring.reader(STORE);
    let stop = Stop::new();
    let mut positions = Vec::new();
    while let Some(delivery) = reader.next(now(&stop)).unwrap() {
        assert_eq!(delivery.payload(), content(delivery.position()), "after {stores} stores");
        positions.push(delivery.position());
        delivery.ack();
    }
    let first = positions.first().copied().unwrap_or(ring.status().writers[0].head);
    let end = first + positions.len() as u64;
    assert!(positions.iter().copied().eq(first..end), "after {stores} stores: {positions:?}");
    // The child may have died between the deed and the word.
    assert!((said.acknowledged..=said.acknowledged + 1).contains(&first), "after {stores} stores: {said:?} {first}");
    assert!((said.committed..=said.committed + 1).contains(&end), "after {stores} stores: {said:?} {end}");
    end
}

/// Successors go on, and at the end nothing is in use.
fn all_memory_is_free(ring: &TestRing, lossless: &[u128], stores: u64) {
    let mut writer = ring.writer(WRITER);
    let mut readers: Vec<_> = lossless.iter().map(|&id| ring.reader(id)).collect();
    for i in 0..40 {
        send(&mut writer, "t", &content(i));
        for reader in &mut readers {
            assert_eq!(drain(reader), [content(i)], "after {stores} stores");
        }
    }
    // Half of the region, twice: the second does not fit beside the first before all is reclaimed.
    let size = Size { envelope: 0, payload: writer.largest_record() };
    writer.claim(&["t"], size, now(&Stop::new())).unwrap_or_else(|e| panic!("after {stores} stores: {e}")).commit();
    send(&mut writer, "t", &[0; 100]);
    for reader in &mut readers {
        drain(reader);
    }
    drop(writer.claim(&["t"], size, now(&Stop::new())).unwrap_or_else(|e| panic!("after {stores} stores: {e}")));
    // Without a lossless reader the newest record, three times 64 bytes, stays for the monitor.
    let kept = if lossless.is_empty() { 192 } else { 0 };
    assert_eq!(ring.status().writers[0].used_bytes, kept, "after {stores} stores");
}

#[test]
fn a_monitor_may_die_before_any_store() {
    let points = for_every_kill_point(|stores| {
        let mut ring = TestRing::new();
        ring.add_writer(WRITER, 1 << 16, 16);
        ring.add_reader(MONITOR, Policy::Latest, "t");
        let said = run_child(Role::Monitor, ring.id(), stores);

        let mut monitor = ring.reader(MONITOR);
        for payload in drain(&mut monitor) {
            assert!((0..RECORDS).any(|i| payload == content(i)), "after {stores} stores");
        }
        drop(monitor);
        let edge = ring.status().writers[0].edges[0];
        assert!((said.committed..=said.committed + 1).contains(&edge.routed), "after {stores} stores: {edge:?}");
        assert_eq!(edge.taken + edge.missed + edge.owed, edge.routed, "after {stores} stores: {edge:?}");
        all_memory_is_free(&ring, &[], stores);
        said.has_ended
    });
    println!("{points} kill points");
}

#[test]
fn a_supervisor_may_die_before_any_store() {
    let points = for_every_kill_point(|stores| {
        let id = format!("kill-{}-{stores}", std::process::id());
        let name = RingName::new(&id).unwrap();
        let said = run_child(Role::Supervisor, &id, stores);

        let (mut control, _) = Control::open(&name, Leftovers::Keep).unwrap();
        for unique_id in [WRITER, WRITER + 10] {
            control.add_writer(&small_writer(unique_id)).unwrap();
        }
        let plan = ReaderPlan { unique_id: STORE, policy: Policy::Lossless, topics: vec!["t".to_owned()] };
        control.add_reader(&plan).unwrap();
        let mut reader = open_reader(&name, STORE);
        let before = drain(&mut reader);
        for unique_id in [WRITER, WRITER + 10] {
            send(&mut open_writer(&name, unique_id), "t", &content(9));
            assert_eq!(drain(&mut reader), [content(9)], "after {stores} stores");
        }

        assert!(before.iter().all(|payload| *payload == content(0)), "after {stores} stores");
        assert_eq!(name.regions().unwrap().len(), 2, "after {stores} stores");
        control.remove().unwrap();
        said.has_ended
    });
    println!("{points} kill points");
}
