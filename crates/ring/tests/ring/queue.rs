//! The ring against a model that is a queue a reader: any sequence of sending, reading, acknowledging, dying.

use crate::common::{TestRing, now};
use enrgdaq_ring::{ClaimError, Delivery, Policy, Reader, Size, Stop, Writer};
use proptest::prelude::*;
use std::collections::VecDeque;

const WRITERS: [u128; 2] = [1, 2];
const STORES: [u128; 2] = [11, 12];
const PLACES: u64 = 16;

#[derive(Debug, Clone)]
enum Act {
    /// To the first store, the second, both or nobody.
    Send {
        writer: usize,
        topic: usize,
        bytes: usize,
    },
    GiveUp {
        writer: usize,
    },
    Receive {
        reader: usize,
    },
    /// Acknowledges one of the deliveries that are out.
    Acknowledge {
        reader: usize,
        which: prop::sample::Index,
    },
    RestartWriter {
        writer: usize,
    },
    RestartReader {
        reader: usize,
    },
    RestartSupervisor,
    /// Removes a reader and lets it join again.
    Rejoin {
        reader: usize,
    },
}

const TOPICS: [&str; 4] = ["a.1", "b.1", "both", "none"];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let bytes = prop_oneof![0usize..300, 0usize..30_000];
    let act = prop_oneof![
        8 => (0..2usize, 0..4usize, bytes).prop_map(|(writer, topic, bytes)| Act::Send { writer, topic, bytes }),
        1 => (0..2usize).prop_map(|writer| Act::GiveUp { writer }),
        8 => (0..2usize).prop_map(|reader| Act::Receive { reader }),
        8 => (0..2usize, any::<prop::sample::Index>()).prop_map(|(reader, which)| Act::Acknowledge { reader, which }),
        1 => (0..2usize).prop_map(|writer| Act::RestartWriter { writer }),
        1 => (0..2usize).prop_map(|reader| Act::RestartReader { reader }),
        1 => Just(Act::RestartSupervisor),
        1 => (0..2usize).prop_map(|reader| Act::Rejoin { reader }),
    ];
    prop::collection::vec(act, 1..200)
}

/// What one store should get from one writer, in order; the front of it may be out already.
#[derive(Debug, Default)]
struct Expected {
    payloads: VecDeque<(u64, Vec<u8>)>,
    /// How many of the front are out or done, in order of hand-out.
    out: usize,
    done: Vec<u64>,
    /// Positions that some process of this reader was given.
    seen: std::collections::HashSet<u64>,
}

struct World {
    ring: TestRing,
    writers: Vec<Option<Writer>>,
    readers: Vec<Option<Reader>>,
    deliveries: [Vec<Delivery>; 2],
    expected: [[Expected; 2]; 2],
    sent: u8,
}

impl World {
    fn new(first: u64) -> Self {
        let mut ring = TestRing::new();
        for writer in WRITERS {
            ring.add_writer_at(writer, 1 << 16, 16, first);
        }
        for reader in 0..2 {
            join(&mut ring, reader);
        }
        let writers = WRITERS.map(|id| Some(ring.writer(id))).into();
        let readers = STORES.map(|id| Some(ring.reader(id))).into();
        Self { ring, writers, readers, deliveries: Default::default(), expected: Default::default(), sent: 0 }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Send { writer, topic, bytes } => self.send(writer, topic, bytes),
            Act::GiveUp { writer } => {
                let stop = Stop::new();
                drop(self.writers[writer].as_mut().unwrap().claim(&["both"], Size::default(), now(&stop)));
            }
            Act::Receive { reader } => self.receive(reader),
            Act::Acknowledge { reader, which } => {
                let out = self.deliveries[reader].len();
                if out > 0 {
                    self.acknowledge(reader, which.index(out));
                }
            }
            Act::RestartWriter { writer } => {
                self.writers[writer] = None;
                self.writers[writer] = Some(self.ring.writer(WRITERS[writer]));
            }
            Act::RestartReader { reader } => self.restart_reader(reader),
            Act::RestartSupervisor => self.ring.restart_supervisor(),
            Act::Rejoin { reader } => self.rejoin(reader),
        }
    }

    fn send(&mut self, writer: usize, topic: usize, bytes: usize) {
        self.sent = self.sent.wrapping_add(1);
        let payload = vec![self.sent; bytes];
        let size = Size { envelope: 3, payload: bytes };
        let stop = Stop::new();
        match self.writers[writer].as_mut().unwrap().claim(&[TOPICS[topic]], size, now(&stop)) {
            Ok(mut claim) => {
                claim.payload_mut().copy_from_slice(&payload);
                let position = claim.commit();
                for reader in 0..2 {
                    if topic == reader || topic == 2 {
                        self.expected[reader][writer].payloads.push_back((position, payload.clone()));
                    }
                }
            }
            Err(ClaimError::Unrouted) => assert_eq!(topic, 3),
            Err(ClaimError::NoRoom) => {
                let owed = |reader: usize| !self.expected[reader][writer].payloads.is_empty();
                assert!(owed(0) || owed(1), "no room although nothing is owed");
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn receive(&mut self, reader: usize) {
        let stop = Stop::new();
        let Some(delivery) = self.readers[reader].as_mut().unwrap().next(now(&stop)).unwrap() else {
            assert!(self.expected[reader].iter().all(|e| e.out == e.payloads.len()), "a record is missing");
            return;
        };
        let writer = WRITERS.iter().position(|&id| id == delivery.writer()).unwrap();
        let expected = &mut self.expected[reader][writer];
        let (position, payload) = &expected.payloads[expected.out];
        assert_eq!((delivery.position(), delivery.payload()), (*position, &payload[..]));
        assert_eq!(delivery.redelivered(), !expected.seen.insert(*position));
        expected.out += 1;
        self.deliveries[reader].push(delivery);
    }

    fn acknowledge(&mut self, reader: usize, index: usize) {
        let delivery = self.deliveries[reader].swap_remove(index);
        let writer = WRITERS.iter().position(|&id| id == delivery.writer()).unwrap();
        let expected = &mut self.expected[reader][writer];
        expected.done.push(delivery.position());
        delivery.ack();
        while let Some((position, _)) = expected.payloads.front()
            && let Some(found) = expected.done.iter().position(|done| done == position)
        {
            expected.done.swap_remove(found);
            expected.payloads.pop_front();
            expected.out -= 1;
        }
    }

    fn end_reader(&mut self, reader: usize) {
        for delivery in &self.deliveries[reader] {
            assert!(delivery.payload().windows(2).all(|pair| pair[0] == pair[1]), "a view has changed");
        }
        self.deliveries[reader].clear();
        self.readers[reader] = None;
    }

    fn restart_reader(&mut self, reader: usize) {
        self.end_reader(reader);
        for expected in &mut self.expected[reader] {
            expected.out = 0;
            expected.done.clear();
        }
        self.readers[reader] = Some(self.ring.reader(STORES[reader]));
    }

    fn rejoin(&mut self, reader: usize) {
        self.end_reader(reader);
        let lost: u64 = self.ring.remove_reader(STORES[reader]).unwrap().iter().map(|edge| edge.owed).sum();
        let owed: usize = self.expected[reader].iter().map(|expected| expected.payloads.len()).sum();
        assert_eq!(lost, owed as u64);
        self.expected[reader] = Default::default();
        join(&mut self.ring, reader);
        self.readers[reader] = Some(self.ring.reader(STORES[reader]));
    }

    /// Everything arrives, and then nothing is in use.
    fn finish(mut self) {
        for reader in 0..2 {
            self.restart_reader(reader);
        }
        self.drain();
        for writer in 0..2 {
            let places = usize::try_from(PLACES).unwrap();
            (0..=places).for_each(|_| self.send(writer, 2, 100));
        }
        self.drain();
        for writer in &self.ring.status().writers {
            assert!(writer.edges.iter().all(|edge| edge.owed == 0 && edge.damaged == 0));
        }
        // All places were taken, so the first claim reclaims all; then two halves are the whole.
        let stop = Stop::new();
        for writer in self.writers.iter_mut().flatten() {
            let half = Size { envelope: 0, payload: writer.largest_record() };
            writer.claim(&["both"], half, now(&stop)).unwrap().commit();
            writer.claim(&["both"], half, now(&stop)).unwrap().commit();
        }
    }

    fn drain(&mut self) {
        for reader in 0..2 {
            while self.expected[reader].iter().any(|expected| expected.out < expected.payloads.len()) {
                self.receive(reader);
            }
            self.receive(reader);
            while !self.deliveries[reader].is_empty() {
                self.acknowledge(reader, 0);
            }
        }
    }
}

fn join(ring: &mut TestRing, reader: usize) {
    let topics = vec![["a", "b"][reader].to_owned(), "both".to_owned()];
    let plan = enrgdaq_ring::ReaderPlan { unique_id: STORES[reader], policy: Policy::Lossless, topics };
    enrgdaq_ring::Control::add_reader(ring, &plan).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_is_a_queue_for_each_reader(acts in acts(), first in prop_oneof![Just(0), Just(u64::MAX - 20), any::<u64>()]) {
        let mut world = World::new(first);
        for act in &acts {
            world.act(act);
        }
        world.finish();
    }
}
