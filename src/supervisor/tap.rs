//! The ring for those who only hear the bus: while somebody outside subscribes topics there, a reader of the ring sends on
//! what it sees of them.
//!
//! Invariants: it takes the latest, so it holds up nobody; what it skips is counted, as for every such reader; without a
//! subscription it has no place in the ring and costs a look at the subscriptions a few times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use enrgdaq_ring::{Delivery, Reader, ReaderSpec, RingName, Spin, Stop, Until};

use parking_lot::Mutex;

use super::dispatcher::{Mail, Mailbox};
use crate::bus::{BusError, Contexts, Endpoints, Publisher};
use crate::job::RingPlace;
use crate::message::{Decoder, Origin, Plane, SupervisorInfo};
use crate::os::{Wake, short_hash};

/// How often it is looked who subscribed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The thread that sends on.
#[derive(Debug)]
pub(super) struct Tap {
    end: Wake,
    stop: Arc<Mutex<Stop>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The number under which the tap of a supervisor reads.
pub(super) fn number(supervisor_id: &str) -> u128 {
    RingPlace::number(&format!("tap:{supervisor_id}"))
}

impl Tap {
    /// Starts the thread.
    pub(super) fn start(
        contexts: &Contexts,
        endpoints: &Endpoints,
        info: &SupervisorInfo,
        mailbox: Mailbox,
        outside_full: Arc<AtomicU64>,
    ) -> Result<Self, BusError> {
        let end = Wake::new().map_err(BusError::System)?;
        let stop = Arc::new(Mutex::new(Stop::new()));
        let publisher = Publisher::connect(contexts, endpoints, Origin::default(), end.clone())?;
        publisher.never_linger()?;
        let id = info.supervisor_id.clone();
        let work = Work {
            publisher,
            mailbox,
            id,
            end: end.clone(),
            stop: stop.clone(),
            decoder: Decoder::default(),
            outside_full,
            is_told: false,
        };
        let thread = thread::Builder::new().name("tap".into()).spawn(move || work.run()).map_err(BusError::System)?;
        Ok(Self { end, stop, thread: Some(thread) })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end.ring();
        self.stop.lock().set();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Work {
    publisher: Publisher,
    mailbox: Mailbox,
    id: String,
    end: Wake,
    /// Ends the wait of the reader that is open.
    stop: Arc<Mutex<Stop>>,
    decoder: Decoder,
    outside_full: Arc<AtomicU64>,
    is_told: bool,
}

impl Work {
    fn run(mut self) {
        let mut subscribed = Vec::new();
        let mut reader: Option<Reader> = None;
        while !self.end.has_rung() {
            if let Some(wanted) = self.publisher.outside_subscriptions()
                && wanted != subscribed
            {
                // Its place is free before it is taken anew.
                drop(reader.take());
                let Some(is_there) = self.subscribe(&wanted) else { return };
                reader = if is_there { self.open() } else { None };
                // Without a place it is tried again at the next look.
                subscribed = if reader.is_some() { wanted } else { Vec::new() };
            }
            match &mut reader {
                Some(reader) => self.send_on(reader),
                None => drop(self.end.wait(LOOK_EVERY)),
            }
        }
    }

    /// Has the supervisor subscribe the ring; `None` when that has ended.
    fn subscribe(&self, topics: &[String]) -> Option<bool> {
        let (done, answer) = mpsc::channel();
        self.mailbox.blocking_send(Mail::Tap { topics: topics.to_vec(), done }).ok()?;
        answer.recv().ok()
    }

    fn open(&mut self) -> Option<Reader> {
        let ring = RingName::new(&short_hash(&self.id)).ok()?;
        let spec = ReaderSpec { ring, unique_id: number(&self.id), spin: Spin::For(Duration::ZERO) };
        let reader = Reader::open(&spec);
        if let Err(error) = &reader
            && !std::mem::replace(&mut self.is_told, true)
        {
            tracing::warn!("programs that subscribe on the bus get nothing of what rides the ring: {error}");
        }
        let reader = reader.ok()?;
        // One for each reader: it keeps the reader's segment mapped.
        let stop = Stop::new();
        stop.wakes(reader.waker());
        *self.stop.lock() = stop;
        Some(reader)
    }

    /// Sends on what comes, until it is time to look again.
    fn send_on(&mut self, reader: &mut Reader) {
        let look_at = Instant::now() + LOOK_EVERY;
        let stop = self.stop.lock().clone();
        let until = Until::stopped(&stop).or_at(look_at);
        while Instant::now() < look_at
            && let Ok(Some(record)) = reader.next(until)
        {
            self.send(&record);
        }
    }

    fn send(&mut self, record: &Delivery) {
        let Ok(envelope) = self.decoder.decode(record.envelope()) else { return };
        let all = record.payload();
        let place = |at: u64| usize::try_from(at).ok();
        let payloads: Option<Vec<&[u8]>> = envelope
            .payload
            .iter()
            .map(|info| all.get(place(info.offset?)?..place(info.offset?.checked_add(info.len)?)?))
            .collect();
        if let Some(payloads) = payloads {
            let (sent, wanted) =
                self.publisher.forward(Plane::Data, &envelope.head.topics, record.envelope(), &payloads);
            self.outside_full.fetch_add(wanted - sent, Ordering::Relaxed);
        }
    }
}
