//! Real processes under load, killed, stopped and continued at random; then the balance.
//!
//! Two writers send as fast as they can; a store writes down what it was given, then acknowledges; a monitor looks at
//! the newest. Every payload is made from its epoch and sequence, and checked whole. `ENRGDAQ_RING_KILLS=10000` makes
//! it long.

use crate::common::{TestRing, open_reader, open_writer};
use enrgdaq_ring::{ControlError, OpenError, Policy, Reader, ReaderSpec, RingName, Size, Spin, Stop, Until};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WRITERS: [u128; 2] = [1, 2];
const STORE: u128 = 11;
const MONITOR: u128 = 12;
const CHILD: &str = "ENRGDAQ_RING_CHAOS";

#[test]
fn child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let [role, ring, unique_id, log] = order.split(' ').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let ring = RingName::new(ring).unwrap();
    match role {
        "writer" => write(&ring, unique_id.parse().unwrap()),
        "store" => store(&ring, Path::new(log)),
        _ => monitor(&ring),
    }
}

fn write(ring: &RingName, unique_id: u128) {
    let mut writer = open_writer(ring, unique_id);
    let stop = Stop::new();
    loop {
        let bytes = usize::try_from(writer.epoch() % 3000).unwrap();
        let mut claim = writer.claim(&["t"], Size { envelope: 16, payload: bytes }, Until::stopped(&stop)).unwrap();
        let (epoch, seq) = (claim.epoch(), claim.seq());
        let (envelope, payload) = claim.parts_mut();
        envelope.fill(pattern(epoch, seq));
        payload.fill(pattern(epoch, seq));
        claim.commit();
    }
}

fn pattern(epoch: u64, seq: u64) -> u8 {
    epoch.wrapping_add(seq.wrapping_mul(167)).to_le_bytes()[0]
}

fn store(ring: &RingName, log: &Path) {
    let mut log = std::fs::File::options().append(true).create(true).open(log).unwrap();
    let mut reader = open_reader(ring, STORE);
    let stop = Stop::new();
    let mut last: HashMap<u128, u64> = HashMap::new();
    loop {
        let delivery = reader.next(Until::stopped(&stop)).unwrap().unwrap();
        check(&delivery);
        let before = last.insert(delivery.writer(), delivery.position());
        assert!(before.is_none_or(|before| before < delivery.position()), "positions rise");
        let writer = u64::try_from(delivery.writer()).unwrap();
        log.write_all(&[writer.to_le_bytes(), delivery.position().to_le_bytes()].concat()).unwrap();
        delivery.ack();
    }
}

fn monitor(ring: &RingName) {
    let mut reader = open_reader(ring, MONITOR);
    let stop = Stop::new();
    loop {
        check(&reader.next(Until::stopped(&stop)).unwrap().unwrap());
    }
}

fn check(delivery: &enrgdaq_ring::Delivery) {
    let expected = pattern(delivery.epoch(), delivery.seq());
    let is_right = delivery.envelope().iter().chain(delivery.payload()).all(|&byte| byte == expected);
    assert!(is_right, "a wrong byte in record {}", delivery.position());
}

/// A process and how to start it again.
struct Job {
    order: String,
    child: Child,
}

impl Job {
    fn start(order: String) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["chaos::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, &order)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { order, child }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{} ended by itself: {status}", self.order);
    }

    fn restart(&mut self) {
        self.kill();
        *self = Self::start(self.order.clone());
    }
}

impl Drop for Job {
    /// After a failure nobody is left.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

#[test]
fn killed_at_random_nothing_is_lost_and_no_byte_is_wrong() {
    let kills = std::env::var("ENRGDAQ_RING_KILLS").map_or(100, |text| text.parse().unwrap());
    let mut ring = TestRing::new();
    let log = std::env::temp_dir().join(format!("{}.log", ring.name));
    for writer in WRITERS {
        ring.add_writer(writer, 1 << 18, 64);
    }
    ring.add_reader(STORE, Policy::Lossless, "t");
    ring.add_reader(MONITOR, Policy::Latest, "t");
    let order = |role: &str, id: u128| format!("{role} {} {id} {}", ring.id(), log.display());
    let mut jobs = vec![Job::start(order("writer", 1)), Job::start(order("writer", 2))];
    jobs.extend([Job::start(order("store", STORE)), Job::start(order("monitor", MONITOR))]);

    torment(&mut ring, &mut jobs, kills);
    let (writers, readers) = jobs.split_at_mut(2);
    writers.iter_mut().for_each(Job::kill);
    ring.sweep();
    wait_until_drained(&ring);
    readers.iter_mut().for_each(Job::kill);

    balance(&ring, &log);
    std::fs::remove_file(&log).unwrap();
}

/// So many kills, and between them stops and new supervisors.
fn torment(ring: &mut TestRing, jobs: &mut [Job], kills: u32) {
    let mut random = u64::from(std::process::id()) << 20 | 1;
    println!("seed {random}");
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(next(20_000)));
        let job = &mut jobs[usize::try_from(next(4)).unwrap()];
        match next(8) {
            0 => {
                job.signal(Signal::STOP);
                std::thread::sleep(Duration::from_micros(next(20_000)));
                job.signal(Signal::CONT);
            }
            1 => ring.restart_supervisor(),
            _ => {}
        }
        job.restart();
        ring.sweep();
    }
}

fn wait_until_drained(ring: &TestRing) {
    let begin = Instant::now();
    while !ring.owed().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60), "not drained: {:?}", ring.owed());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All that was committed was given to the store, and nothing else; afterwards all memory is free.
fn balance(ring: &TestRing, log: &PathBuf) {
    let mut given: HashMap<u64, Vec<u64>> = HashMap::new();
    for entry in std::fs::read(log).unwrap().chunks_exact(16) {
        let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        given.entry(word(0)).or_default().push(word(8));
    }
    for writer in ring.status().writers {
        let mut positions = given.remove(&u64::try_from(writer.unique_id).unwrap()).unwrap_or_default();
        let with_repeats = positions.len();
        positions.sort_unstable();
        positions.dedup();
        println!("writer {}: {} records, {} repeats", writer.unique_id, writer.head, with_repeats - positions.len());
        assert!(positions.iter().copied().eq(0..writer.head), "lost or invented");
        let store = writer.edges.iter().find(|edge| edge.reader == STORE).unwrap();
        assert_eq!((store.routed, store.owed, store.damaged), (writer.head, 0, 0));
        let monitor = writer.edges.iter().find(|edge| edge.reader == MONITOR).unwrap();
        assert_eq!(monitor.taken + monitor.missed + monitor.owed, writer.head);
    }
    for unique_id in WRITERS {
        let mut writer = ring.writer(unique_id);
        let mut store = ring.reader(STORE);
        for _ in 0..200 {
            crate::common::send(&mut writer, "t", &[0; 1000]);
            crate::common::drain(&mut store);
        }
        let size = Size { envelope: 0, payload: writer.largest_record() };
        let stop = Stop::new();
        for _ in 0..4 {
            writer.claim(&["t"], size, crate::common::now(&stop)).unwrap().commit();
            crate::common::drain(&mut store);
        }
    }
}

#[test]
fn a_stopped_process_is_alive_and_a_killed_one_is_not() {
    let mut ring = TestRing::new();
    ring.add_reader(STORE, Policy::Lossless, "t");
    let log = std::env::temp_dir().join(format!("{}.log", ring.name));
    let mut job = Job::start(format!("store {} {STORE} {}", ring.id(), log.display()));
    let begin = Instant::now();
    while !ring.is_alive(STORE).unwrap() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }

    job.signal(Signal::STOP);
    ring.restart_supervisor();
    let spec = ReaderSpec { ring: ring.name.clone(), unique_id: STORE, spin: Spin::default() };
    let while_stopped = Reader::open(&spec).map(drop);
    let removed = ring.remove_reader(STORE);
    job.kill();

    assert!(matches!(while_stopped, Err(OpenError::Alive { unique_id: STORE })));
    assert!(matches!(removed, Err(ControlError::Alive { unique_id: STORE })));
    assert!(Reader::open(&spec).is_ok());
    std::fs::remove_file(&log).unwrap();
}
