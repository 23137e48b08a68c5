//! What every backend must do, as a test can ask it of a [`Sink`]: messages that come again after any crash are stored
//! once, in their order, and nothing that was committed is missing.
//!
//! A test of a backend says how to open it and how somebody else reads it ([`Subject`]), and calls [`check`].

use super::marks::Marks;
use super::sink::Sink;
use crate::job::{Delivery, Table};
use crate::message::{Message, MessageId, StoreTable, encode_table};

/// A backend under test.
pub trait Subject {
    /// Its sink.
    type Sink: Sink;

    /// Opens it, each time on the same data.
    fn open(&self) -> Self::Sink;

    /// What a producer says to have its messages at a place of that name: a file, a table.
    fn target(&self, place: &str) -> <Self::Sink as Sink>::Target;

    /// What another program finds there: the values of the column `n`, in the order in which they stand.
    fn read(&self, place: &str) -> Vec<i64>;
}

const PLACES: [&str; 3] = ["one", "two", "three"];

/// Steps of a walk.
const STEPS: usize = 300;

/// A walk of puts, commits, syncs and crashes, chosen by the seed; then the backend must hold each message once, in order.
///
/// # Panics
/// If it does not, with the seed.
pub fn check(subject: &impl Subject, seed: u64) {
    let mut walk = Walk::new(subject, seed);
    for _ in 0..STEPS {
        match walk.random.u8(0..20) {
            0..12 => walk.publish(),
            12..16 => walk.commit(true),
            16 => walk.commit(false),
            17 => walk.sink.sync().expect("nothing is in its way"),
            _ => walk.crash(),
        }
    }
    walk.commit(true);
    walk.sink.sync().expect("nothing is in its way");
    walk.compare();
}

/// A message, and what it holds.
struct Sent {
    id: MessageId,
    place: usize,
    values: Vec<i64>,
}

struct Walk<'s, S: Subject> {
    subject: &'s S,
    seed: u64,
    random: fastrand::Rng,
    sink: S::Sink,
    marks: Marks,
    batch: <S::Sink as Sink>::Batch,
    sent: Vec<Sent>,
    /// So many of these are acknowledged: they do not come again.
    acknowledged: usize,
    next: i64,
}

impl<'s, S: Subject> Walk<'s, S> {
    fn new(subject: &'s S, seed: u64) -> Self {
        let mut sink = subject.open();
        let marks = sink.resume().expect("nothing is in its way");
        Self {
            subject,
            seed,
            random: fastrand::Rng::with_seed(seed),
            sink,
            marks,
            batch: Default::default(),
            sent: Vec::new(),
            acknowledged: 0,
            next: 0,
        }
    }

    /// A message more, of one of two writers; it may have no rows.
    fn publish(&mut self) {
        let rows = self.random.i64(0..5);
        let epoch = self.random.u64(1..=2);
        let seq = self.sent.iter().filter(|sent| sent.id.epoch == epoch).count() as u64;
        let values = (self.next..self.next + rows).collect();
        self.next += rows;
        self.sent.push(Sent { id: MessageId { epoch, seq }, place: self.random.usize(0..PLACES.len()), values });
        self.deliver(self.sent.len() - 1);
    }

    fn deliver(&mut self, n: usize) {
        let Sent { id, place, values } = &self.sent[n];
        if self.marks.has(*id) {
            return;
        }
        let table = Table::new().column("n", values.clone()).build().expect("one column");
        let payload = encode_table(&table).expect("a table");
        let message = Message::of(&StoreTable { rows: values.len() as u64 }).expect("a message").with_payload(payload);
        let mut delivery = Delivery::made(&message, *id, 0).expect("a message");
        let target = self.subject.target(PLACES[*place]);
        S::Sink::put(&mut self.batch, &target, &mut delivery).expect("it can be stored");
        self.marks.raise(*id);
    }

    /// Commits; if the answer is lost, what follows is as if it had not been given.
    fn commit(&mut self, is_heard: bool) {
        let batch = std::mem::take(&mut self.batch);
        let report = self.sink.commit(batch, &self.marks).expect("nothing is in its way");
        assert!(report.lost.is_empty(), "seed {}: {report:?}", self.seed);
        if is_heard {
            self.acknowledged = self.sent.len();
        } else {
            self.crash();
        }
    }

    /// A new process; what was not acknowledged comes again.
    fn crash(&mut self) {
        self.batch = Default::default();
        self.sink = self.subject.open();
        self.marks = self.sink.resume().expect("nothing is in its way");
        let known = self.sent[..self.acknowledged].iter().all(|sent| self.marks.has(sent.id));
        assert!(known, "seed {}: it has forgotten what it had committed", self.seed);
        (self.acknowledged..self.sent.len()).for_each(|n| self.deliver(n));
    }

    fn compare(&self) {
        for (n, place) in PLACES.iter().enumerate() {
            let here = self.sent.iter().filter(|sent| sent.place == n);
            let expected: Vec<i64> = here.flat_map(|sent| sent.values.iter().copied()).collect();
            assert_eq!(self.subject.read(place), expected, "seed {}: {place}", self.seed);
        }
    }
}
