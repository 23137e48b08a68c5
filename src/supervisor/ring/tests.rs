//! Supervisors that come and go, on real rings.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use enrgdaq_ring::{ClaimError, Reader, ReaderSpec, RingName, Size, Spin, Stop, Until, Writer, WriterSpec};

use super::*;
use crate::os::short_hash;

const SMALL: usize = 1 << 20;
const A: usize = 0;
const CSV: usize = 1;

/// A supervisor's id of its own, whose ring is gone when the test is over.
struct Site {
    id: String,
}

impl Site {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        Self { id: format!("ring test {} {}", std::process::id(), COUNT.fetch_add(1, Relaxed)) }
    }

    fn name(&self) -> RingName {
        RingName::new(&short_hash(&self.id)).unwrap()
    }

    fn open(&self, plans: &[Plan]) -> Ring {
        self.open_with(plans, Leftovers::Keep)
    }

    fn open_with(&self, plans: &[Plan], leftovers: Leftovers) -> Ring {
        Ring::open(&self.id, plans.to_vec(), None, leftovers).unwrap().unwrap()
    }

    fn writer(&self, plan: &Plan) -> Writer {
        Writer::open(&WriterSpec { ring: self.name(), unique_id: plan.number, spin: Spin::default() }).unwrap()
    }

    fn reader(&self, number: u128) -> Reader {
        Reader::open(&ReaderSpec { ring: self.name(), unique_id: number, spin: Spin::default() }).unwrap()
    }

    fn send(&self, plan: &Plan, count: usize) {
        let mut writer = self.writer(plan);
        for _ in 0..count {
            let stop = Stop::new();
            let until = Until::stopped(&stop).or_after(Duration::from_secs(10));
            let mut claim = match writer.claim(&["store.A"], Size { envelope: 1, payload: 1 }, until) {
                Err(ClaimError::Unrouted) => continue,
                claim => claim.unwrap(),
            };
            claim.envelope_mut().fill(7);
            claim.payload_mut().fill(7);
            claim.commit();
        }
    }

    fn take(&self, plan: &Plan, count: usize) {
        let mut reader = self.reader(plan.number);
        for _ in 0..count {
            let stop = Stop::new();
            let until = Until::stopped(&stop).or_after(Duration::from_secs(10));
            reader.next(until).unwrap().expect("it was committed").ack();
        }
    }

    fn is_there(&self) -> bool {
        !self.name().regions().unwrap().is_empty()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let (control, _) = Control::open(&self.name(), Leftovers::Discard).unwrap();
        control.remove().unwrap();
    }
}

fn writer(name: &str, bytes: usize) -> Plan {
    let number = RingPlace::number(name);
    Plan {
        name: name.into(),
        number,
        region_bytes: Some(bytes),
        reads: None,
        is_subscribed: false,
        starts_by_itself: true,
    }
}

fn reader(name: &str, policy: Policy) -> Plan {
    let reads = Some((policy, vec!["store.A".to_owned()]));
    Plan { reads, region_bytes: None, is_subscribed: true, ..writer(name, 0) }
}

fn source_and_store() -> [Plan; 2] {
    [writer("a", SMALL), reader("csv", Policy::Lossless)]
}

fn edges(ring: &Ring) -> Vec<Edge> {
    let mut edges = Vec::new();
    ring.picture(&mut edges);
    edges
}

fn edge(produced: u64, arrived: u64) -> Edge {
    Edge { writer: "a".into(), reader: "csv".into(), produced, arrived, ..Edge::default() }
}

#[test]
fn what_waits_when_a_supervisor_dies_counts_as_produced_in_the_time_of_the_next() {
    let (site, plans) = (Site::new(), source_and_store());
    let ring = site.open(&plans);
    site.send(&plans[A], 10);
    site.take(&plans[CSV], 4);
    assert_eq!(edges(&ring), [Edge { waiting: 6, ..edge(10, 4) }]);
    drop(ring);

    let ring = site.open(&plans);
    assert_eq!(edges(&ring), [Edge { waiting: 6, ..edge(6, 0) }]);
    site.send(&plans[A], 1);
    site.take(&plans[CSV], 7);

    assert_eq!(edges(&ring), [edge(7, 7)]);
    assert_eq!(ring.close().unwrap(), []);
    assert!(!site.is_there());
}

#[test]
fn what_waits_at_the_end_keeps_the_ring() {
    let (site, plans) = (Site::new(), source_and_store());
    let ring = site.open(&plans);
    site.send(&plans[A], 3);

    let owed = ring.owed();
    let waiting = ring.close().unwrap();

    assert_eq!((owed[0].writer, owed[0].reader, owed[0].messages), (Some(A), Some(CSV), 3));
    assert_eq!(waiting, [Waiting { writer: "a".into(), reader: "csv".into(), messages: 3 }]);
    assert!(site.is_there());
}

#[test]
fn what_was_given_up_is_not_waited_for_again_but_keeps_the_ring() {
    let (site, plans) = (Site::new(), source_and_store());
    let mut ring = site.open(&plans);
    site.send(&plans[A], 3);

    let owed = ring.owed();
    assert_eq!(ring.give_up(owed[0]).messages, 3);

    assert_eq!(ring.owed(), []);
    assert_eq!(ring.close().unwrap().len(), 1);
}

#[test]
fn a_reader_with_a_new_policy_loses_what_waited_and_begins_anew() {
    let (site, plans) = (Site::new(), source_and_store());
    drop(site.open(&plans));
    site.send(&plans[A], 5);

    let ring = site.open(&[plans[A].clone(), reader("csv", Policy::Latest)]);

    assert_eq!(ring.control.readers(), [(plans[CSV].number, Policy::Latest)]);
    assert_eq!(edges(&ring), [Edge { missing: 5, dropped: 5, ..edge(5, 0) }]);
    assert_eq!(ring.place(CSV).map(|place| place.reads), Some(true));
}

#[test]
fn of_jobs_that_are_gone_readers_lose_what_waits_and_writers_stay_until_they_are_drained() {
    let (site, plans) = (Site::new(), source_and_store());
    let gone = [writer("old", SMALL), reader("former", Policy::Lossless)];
    drop(site.open(&[&plans[..], &gone[..]].concat()));
    site.send(&gone[0], 2);

    let mut ring = site.open(&plans);

    let readers: Vec<_> = ring.control.readers().iter().map(|(number, _)| *number).collect();
    assert_eq!(readers, [plans[CSV].number]);
    let lost: Vec<_> = edges(&ring).into_iter().map(|edge| (edge.waiting, edge.missing)).collect();
    assert_eq!((lost.len(), lost.contains(&(0, 2)), lost.contains(&(2, 0))), (2, true, true), "{:?}", edges(&ring));
    assert_eq!(ring.owed()[0].writer, None);

    site.take(&plans[CSV], 2);
    ring.beat(Instant::now() + Duration::from_secs(1));

    assert_eq!(ring.control.writers(), [plans[A].number]);
    assert_eq!(edges(&ring).iter().map(|edge| edge.arrived).sum::<u64>(), 2);
}

#[test]
fn who_discards_the_ring_begins_with_nothing() {
    let (site, plans) = (Site::new(), source_and_store());
    drop(site.open(&plans));
    site.send(&plans[A], 5);

    let ring = site.open_with(&plans, Leftovers::Discard);

    assert_eq!(edges(&ring), []);
    assert_eq!(ring.close().unwrap(), []);
}

#[test]
fn a_region_of_another_size_is_made_anew_once_it_is_drained() {
    let (site, plans) = (Site::new(), source_and_store());
    let size = |ring: &Ring| ring.picture(&mut Vec::new())[A].map(|region| region.size_bytes);
    drop(site.open(&plans));
    site.send(&plans[A], 1);
    let larger = [writer("a", 2 * SMALL), plans[CSV].clone()];

    let ring = site.open(&larger);
    assert_eq!(size(&ring), Some(SMALL as u64));
    site.take(&plans[CSV], 1);
    drop(ring);
    let ring = site.open(&larger);

    assert_eq!(size(&ring), Some(2 * SMALL as u64));
    site.send(&plans[A], 2);
    site.take(&plans[CSV], 2);
    assert_eq!(edges(&ring), [edge(2, 2)]);
}

#[test]
fn a_fatal_reader_loses_what_waited_and_is_subscribed_again_at_its_next_start() {
    let (site, plans) = (Site::new(), source_and_store());
    let mut ring = site.open(&plans);
    site.send(&plans[A], 4);
    site.take(&plans[CSV], 1);

    let lost = ring.lose_reader(CSV);
    site.send(&plans[A], 2);
    assert_eq!(lost, [Waiting { writer: "a".into(), reader: "csv".into(), messages: 3 }]);
    assert_eq!(edges(&ring), [Edge { missing: 3, dropped: 3, ..edge(4, 1) }]);
    assert!(ring.lose_reader(CSV).is_empty());

    assert!(ring.before_start(CSV).unwrap().reads);
    site.send(&plans[A], 1);
    assert_eq!(edges(&ring), [Edge { missing: 3, dropped: 3, waiting: 1, ..edge(5, 1) }]);
}

#[test]
fn a_fatal_reader_whose_seat_is_held_keeps_its_place_until_it_is_free() {
    let (site, plans) = (Site::new(), source_and_store());
    let mut ring = site.open(&plans);
    let held = site.reader(plans[CSV].number);
    site.send(&plans[A], 1);

    assert!(ring.lose_reader(CSV).is_empty());
    ring.beat(Instant::now() + Duration::from_secs(2));
    assert_eq!(ring.control.readers().len(), 1);
    drop(held);
    ring.beat(Instant::now() + Duration::from_secs(3));

    assert_eq!(ring.control.readers(), []);
}

#[test]
fn a_tap_comes_and_goes_and_misses_nothing() {
    let (site, plans) = (Site::new(), source_and_store());
    let mut ring = site.open(&plans);

    assert!(ring.set_tap(vec!["store.A".into()]));
    site.send(&plans[A], 3);
    let tapped = edges(&ring).into_iter().find(|edge| edge.reader == TAP).unwrap();
    let listening = site.reader(ring.tap);
    assert!(ring.set_tap(Vec::new()), "somebody sits there");
    drop(listening);
    assert!(!ring.set_tap(Vec::new()));
    assert!(!ring.set_tap(Vec::new()));

    assert_eq!((tapped.produced, tapped.missing), (3, 0));
}

#[test]
fn who_has_no_place_makes_copies_necessary() {
    let (site, plans) = (Site::new(), source_and_store());
    let outsider = Plan { reads: None, ..reader("outsider", Policy::Latest) };

    let mut ring = site.open(&[&plans[..], &[outsider]].concat());

    assert!(ring.before_start(A).is_some() && ring.has_outsiders());
    assert_eq!(ring.before_start(2), None);
    let crowd: Vec<_> = (0..70).map(|n| reader(&format!("r{n}"), Policy::Latest)).collect();
    let other = Site::new();
    let ring = other.open(&crowd);
    assert_eq!(ring.seats.iter().filter(|seat| seat.reads).count(), enrgdaq_ring::READERS);
    assert!(ring.has_outsiders);
}

#[test]
fn a_ring_that_nobody_wants_is_not_made_but_one_with_leftovers_is_found() {
    let (site, plans) = (Site::new(), source_and_store());
    let nobody = Plan { region_bytes: None, ..writer("x", 0) };

    assert!(Ring::open(&site.id, vec![nobody.clone()], None, Leftovers::Keep).unwrap().is_none());
    drop(site.open(&plans));

    assert!(Ring::open(&site.id, vec![nobody], None, Leftovers::Keep).unwrap().is_some());
}

#[test]
fn an_impossible_region_is_an_error_that_leaves_nothing() {
    let site = Site::new();

    let error =
        Ring::open(&site.id, vec![writer("a", SMALL), writer("b", 1 << 40)], None, Leftovers::Keep).unwrap_err();

    assert!(matches!(error, ControlError::BadShape { .. }), "{error}");
    assert!(!site.is_there());
}

#[test]
fn dead_time_is_the_share_of_a_second_spent_waiting() {
    for (part, whole, percent) in [(500, 1000, 50.0), (0, 1000, 0.0), (1100, 1000, 100.0), (5, 0, 0.0)] {
        assert!((share_of(Duration::from_millis(part), Duration::from_millis(whole)) - percent).abs() < 1e-9);
    }
}
