//! What a job receives: one stream, from the ring and from the bus, each message once.
//!
//! A job that reads the ring sleeps there; a thread takes what the bus brings and wakes it ([`BusIntake`]). A job
//! without a place in the ring waits for the bus itself.
//!
//! Invariant: once the job is to stop, the ring gives nothing more: what is not acknowledged waits for the job's next
//! process; the bus gives what was on its way, which would be lost otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enrgdaq_ring::{Policy, Reader, Until};
use parking_lot::Mutex;

use super::bus_intake::{BusIntake, BusReading};
use super::delivery::Delivery;
use super::measures::Latencies;
use super::stop::StopBell;
use super::tally::Tally;
use super::types::JobError;
use crate::bus::{Arrival, BusError, Subscriber, SubscriberCounts};
use crate::message::{Decoder, Head, Topic, covers};
use crate::os::now_ns;

/// Whoever waits longer waits for ever: no clock is asked then.
const FAR: Duration = Duration::from_secs(365 * 86_400);

/// How long a job that has ended waits for its own threads to leave the inbox.
const CLOSE_WITHIN: Duration = Duration::from_millis(200);

/// The messages of the topics that a job subscribed.
#[derive(Debug)]
pub struct Inbox {
    source: Mutex<Option<Source>>,
    tally: Arc<Tally>,
    latencies: Arc<Latencies>,
    counts: Mutex<SubscriberCounts>,
    stop: StopBell,
    opened_at: Instant,
    /// Records that were no messages.
    records_refused: AtomicU64,
}

#[derive(Debug)]
enum Source {
    Bus(BusReading),
    Both(Box<Both>),
}

/// The ring, and what came over the bus meanwhile.
#[derive(Debug)]
struct Both {
    // Closed before the reader: its thread wakes it.
    bus: BusIntake,
    ring: RingReading,
    /// The last message came over the bus: now it is the ring's turn.
    is_turn_of_ring: bool,
}

#[derive(Debug)]
struct RingReading {
    reader: Reader,
    decoder: Decoder,
    topics: Vec<Topic>,
    /// Under which topic the last message came: those of one stream have the same.
    last: Option<(Arc<Head>, Topic)>,
}

impl Inbox {
    pub(super) fn new(
        (subscriber, topics): (Subscriber, Vec<Topic>),
        reader: Option<Reader>,
        (tally, latencies): (Arc<Tally>, Arc<Latencies>),
        stop: StopBell,
    ) -> Result<Self, BusError> {
        let reading = BusReading::new(subscriber);
        let source = match reader {
            None => Source::Bus(reading),
            Some(reader) => {
                stop.wakes(reader.waker());
                let bus = BusIntake::start(reading, stop.bell().clone(), reader.waker())?;
                let ring = RingReading { reader, decoder: Decoder::default(), topics, last: None };
                Source::Both(Box::new(Both { bus, ring, is_turn_of_ring: false }))
            }
        };
        Ok(Self {
            source: Mutex::new(Some(source)),
            tally,
            latencies,
            counts: Mutex::default(),
            stop,
            records_refused: AtomicU64::new(0),
            opened_at: Instant::now(),
        })
    }

    /// The next message; `None` when none came in time. Once the job is to stop it gives what was on its way over the bus;
    /// `None` then means that there is nothing left but what waits in the ring for the job's next process.
    ///
    /// # Errors
    /// [`JobError`] of a broken bus or ring; the job had better end.
    pub fn next(&self, within: Duration) -> Result<Option<Delivery>, JobError> {
        let mut source = self.source.lock();
        match source.as_mut() {
            None => Ok(None),
            Some(Source::Bus(reading)) => {
                let arrival = reading.next(within, self.stop.bell(), None)?;
                *self.counts.lock() = reading.counts();
                Ok(arrival.map(|arrival| self.note_bus(arrival)))
            }
            Some(Source::Both(both)) => self.next_of_both(both, within),
        }
    }

    fn next_of_both(&self, both: &mut Both, within: Duration) -> Result<Option<Delivery>, JobError> {
        let mut deadline = None;
        loop {
            if !std::mem::take(&mut both.is_turn_of_ring)
                && let Some(arrival) = both.bus.next_now()?
            {
                *self.counts.lock() = both.bus.counts();
                both.is_turn_of_ring = true;
                return Ok(Some(self.note_bus(arrival)));
            }
            if self.stop.has_rung() {
                if both.bus.is_over() {
                    return Ok(None);
                }
                // The intake wakes nobody who is not asleep: it ends within moments.
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            // What is there is had without a look at the clock.
            let now = Until::stopped(self.stop.of_ring()).or_at(self.opened_at);
            let mut record = both.ring.next(now)?;
            if record.is_none() && !both.bus.has_news() {
                let until = Until::stopped(self.stop.of_ring());
                let deadline = *deadline.get_or_insert_with(|| (within < FAR).then(|| Instant::now() + within));
                record = both.ring.next(deadline.map_or(until, |deadline| until.or_at(deadline)))?;
            }
            let deadline = deadline.flatten();
            match record {
                Some(record) => {
                    if let Some(delivery) = self.note_ring(&mut both.ring, record) {
                        return Ok(Some(delivery));
                    }
                }
                None if deadline.is_some_and(|deadline| Instant::now() >= deadline) && !self.stop.has_rung() => {
                    return Ok(None);
                }
                None => {}
            }
        }
    }

    fn note_bus(&self, arrival: Arrival) -> Delivery {
        let latency = now_ns().saturating_sub(arrival.delivery.envelope.committed_at());
        self.latencies.record(latency);
        self.tally.received(&arrival);
        Delivery::of_bus(arrival.delivery, latency)
    }

    /// A record as a message; `None` if it is none, which is counted.
    fn note_ring(&self, ring: &mut RingReading, record: enrgdaq_ring::Delivery) -> Option<Delivery> {
        let envelope = ring.decoder.decode(record.envelope());
        let envelope = envelope.and_then(|envelope| {
            envelope.check_offsets(record.payload().len())?;
            Ok(envelope)
        });
        let Ok(envelope) = envelope else {
            self.records_refused.fetch_add(1, Ordering::Relaxed);
            record.ack();
            return None;
        };
        let topic = ring.topic_of(&envelope.head);
        let latency = now_ns().saturating_sub(envelope.committed_at());
        self.latencies.record(latency);
        self.tally.received_by_ring((record.envelope().len() + record.payload().len()) as u64);
        let comes_again = ring.reader.policy() == Policy::Lossless;
        Some(Delivery::of_ring((topic, envelope), latency, record, comes_again))
    }

    pub(super) fn counts(&self) -> SubscriberCounts {
        let mut counts = *self.counts.lock();
        counts.refused += self.records_refused.load(Ordering::Relaxed);
        counts
    }

    /// Closes the sockets and leaves the ring. A thread of the job that still waits for messages keeps them: it ends with
    /// the process.
    pub(super) fn close(&self) {
        if let Some(mut source) = self.source.try_lock_for(CLOSE_WITHIN) {
            source.take();
        }
    }
}

impl RingReading {
    fn next(&mut self, until: Until<'_>) -> Result<Option<enrgdaq_ring::Delivery>, JobError> {
        self.reader.next(until).map_err(|error| JobError::failed("the ring is broken", error))
    }

    /// The first of a message's topics that is subscribed here.
    fn topic_of(&mut self, head: &Arc<Head>) -> Topic {
        if let Some((last, topic)) = &self.last
            && Arc::ptr_eq(last, head)
        {
            return topic.clone();
        }
        let is_mine = |topic: &&Topic| self.topics.iter().any(|mine| covers(mine.as_str(), topic.as_str()));
        let found = head.topics.iter().find(is_mine).or(head.topics.first()).or(self.topics.first());
        let topic = found.cloned().unwrap_or_else(|| Topic::broadcast(""));
        self.last = Some((head.clone(), topic.clone()));
        topic
    }
}
