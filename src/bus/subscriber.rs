//! Receiving: what was subscribed, each message once, every gap counted.
//!
//! Invariants: of one writer and plane, messages come in rising `seq`; a message that came under one topic is passed
//! over under the others; frames that are no messages are counted and dropped; memory does not grow with the number of
//! writers that have been.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::contexts::Contexts;
use super::endpoints::Endpoints;
use super::error::BusError;
use super::high_water;
use crate::message::{Decoder, Envelope, Plane, Topic, covers};
use crate::os::Wake;

/// Writers that are remembered; beyond that the one that was silent longest is forgotten.
const MAX_WRITERS: usize = 1024;

/// A received message.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The topic under which this copy came.
    pub(crate) topic: Topic,
    /// What it says of itself.
    pub(crate) envelope: Envelope,
    pub(crate) payloads: Vec<zmq::Message>,
    /// The same as it came.
    pub(crate) envelope_frame: zmq::Message,
}

impl Delivery {
    /// Envelope and payloads, in bytes.
    pub(crate) fn size(&self) -> u64 {
        (self.envelope_frame.len() + self.payloads.iter().map(|frame| frame.len()).sum::<usize>()) as u64
    }
}

/// A message, and what its numbers say of those before it.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The message.
    pub(crate) delivery: Delivery,
    /// Which plane carried it.
    pub(crate) plane: Plane,
    /// How many copies to its topic are missing right before it.
    pub(crate) missing: u64,
}

/// What a subscriber had to pass over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SubscriberCounts {
    /// Frames that were no messages.
    pub(crate) refused: u64,
    /// Copies missing, by their numbering.
    pub(crate) missing: u64,
}

/// A reader of both planes; one thread at a time.
pub(crate) struct Subscriber {
    intakes: Vec<Intake>,
    counts: SubscriberCounts,
    turn: usize,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// Connects to the proxies of these planes; hears nothing yet.
    ///
    /// # Errors
    /// [`BusError`]: bad addresses or keys, no descriptors.
    pub(crate) fn connect(contexts: &Contexts, endpoints: &Endpoints, planes: &[Plane]) -> Result<Self, BusError> {
        let intakes = planes.iter().map(|&plane| Intake::connect(contexts.of(plane), endpoints, plane));
        Ok(Self { intakes: intakes.collect::<Result<_, _>>()?, counts: SubscriberCounts::default(), turn: 0 })
    }

    /// Hears a topic from now on, on the plane that carries it.
    ///
    /// # Errors
    /// What libzmq says.
    pub(crate) fn subscribe(&mut self, topic: &Topic) -> Result<(), BusError> {
        self.subscribe_on(topic.plane(), topic)
    }

    /// Hears a topic on a plane, whatever plane it would take.
    ///
    /// # Errors
    /// What libzmq says; `EINVAL` for a plane that was not connected.
    pub(crate) fn subscribe_on(&mut self, plane: Plane, topic: &Topic) -> Result<(), BusError> {
        let intake = self.intake(plane)?;
        intake.tell(true, topic)?;
        intake.topics.push(topic.clone());
        Ok(())
    }

    /// Hears a topic no more; what has arrived already still comes, of this topic too if `keep`.
    ///
    /// # Errors
    /// What libzmq says.
    pub(crate) fn unsubscribe_on(&mut self, plane: Plane, topic: &Topic, keep: bool) -> Result<(), BusError> {
        let intake = self.intake(plane)?;
        intake.tell(false, topic)?;
        if !keep {
            intake.topics.retain(|known| known != topic);
        }
        Ok(())
    }

    /// What is subscribed.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (Plane, &Topic)> {
        self.intakes.iter().flat_map(|intake| intake.topics.iter().map(|topic| (intake.plane, topic)))
    }

    /// What had to be passed over so far.
    pub(crate) fn counts(&self) -> SubscriberCounts {
        self.counts
    }

    /// The next message; `None` when none came in time or one of the bells rang before.
    ///
    /// # Errors
    /// What libzmq says of a broken context.
    pub(crate) fn next(&mut self, within: Duration, bells: &[&Wake]) -> Result<Option<Arrival>, BusError> {
        let until = Instant::now().checked_add(within);
        loop {
            if let Some(arrival) = self.next_now()? {
                return Ok(Some(arrival));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || bells.iter().any(|bell| bell.has_rung()) {
                return Ok(None);
            }
            let sockets = self.intakes.iter().map(|intake| intake.socket.as_poll_item(zmq::POLLIN));
            let bells = bells.iter().map(|bell| zmq::PollItem::from_fd(bell.raw_fd(), zmq::POLLIN));
            let mut items: Vec<_> = sockets.chain(bells).collect();
            // Rounded up, so that a last fraction of a millisecond does not become a busy loop.
            let timeout = left.map_or(-1, |left| i64::try_from(left.as_millis()).map_or(-1, |ms| ms.saturating_add(1)));
            match zmq::poll(&mut items, timeout) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(error) => return Err(BusError::Socket(error)),
            }
        }
    }

    /// The next message that is already here; the planes take turns.
    ///
    /// # Errors
    /// What libzmq says of a broken context.
    pub(crate) fn next_now(&mut self) -> Result<Option<Arrival>, BusError> {
        for _ in 0..self.intakes.len() {
            self.turn = (self.turn + 1) % self.intakes.len();
            if let Some(arrival) = self.intakes[self.turn].next_now(&mut self.counts)? {
                return Ok(Some(arrival));
            }
        }
        Ok(None)
    }

    fn intake(&mut self, plane: Plane) -> Result<&mut Intake, BusError> {
        let intake = self.intakes.iter_mut().find(|intake| intake.plane == plane);
        intake.ok_or(BusError::Socket(zmq::Error::EINVAL))
    }
}

/// The socket of one plane, and what has come from each writer.
struct Intake {
    plane: Plane,
    socket: zmq::Socket,
    topics: Vec<Topic>,
    writers: HashMap<u64, Writer>,
    decoder: Decoder,
    arrivals: u64,
}

/// One epoch, as seen from here.
struct Writer {
    seq: u64,
    ords: HashMap<Topic, u64>,
    heard_at: u64,
}

impl Intake {
    fn connect(context: &zmq::Context, endpoints: &Endpoints, plane: Plane) -> Result<Self, BusError> {
        let socket = context.socket(zmq::XSUB).map_err(BusError::Socket)?;
        let options = || {
            socket.set_rcvhwm(high_water(plane))?;
            socket.set_linger(0)?;
            endpoints.curve.as_ref().map_or(Ok(()), |curve| curve.apply(&socket))
        };
        options().map_err(BusError::Socket)?;
        let address = &endpoints.plane(plane).subscribe;
        socket.connect(address).map_err(|source| BusError::Address { address: address.clone(), source })?;
        Ok(Self {
            plane,
            socket,
            topics: Vec::new(),
            writers: HashMap::new(),
            decoder: Decoder::default(),
            arrivals: 0,
        })
    }

    /// Subscribes (1) or unsubscribes (0) at the proxy. An XSUB, unlike a SUB, does not throw away what has arrived
    /// under a topic that is subscribed no more.
    fn tell(&self, is_wanted: bool, topic: &Topic) -> Result<(), BusError> {
        let frame = [&[u8::from(is_wanted)], topic.as_str().as_bytes()].concat();
        self.socket.send(frame, 0).map_err(BusError::Socket)
    }

    fn next_now(&mut self, counts: &mut SubscriberCounts) -> Result<Option<Arrival>, BusError> {
        while let Some(frames) = self.receive()? {
            let Some(delivery) = read(frames, &mut self.decoder) else {
                counts.refused += 1;
                continue;
            };
            if !self.topics.iter().any(|topic| covers(topic.as_str(), delivery.topic.as_str())) {
                continue;
            }
            let (missing, is_new) = self.note(&delivery);
            counts.missing += missing;
            if is_new {
                return Ok(Some(Arrival { delivery, plane: self.plane, missing }));
            }
        }
        Ok(None)
    }

    fn receive(&self) -> Result<Option<Vec<zmq::Message>>, BusError> {
        let mut frames = Vec::with_capacity(3);
        let mut flags = zmq::DONTWAIT;
        loop {
            match self.socket.recv_msg(flags) {
                Ok(frame) => {
                    let more = frame.get_more();
                    frames.push(frame);
                    if !more {
                        return Ok(Some(frames));
                    }
                    flags = 0;
                }
                Err(zmq::Error::EAGAIN) => return Ok(None),
                Err(zmq::Error::EINTR) => {}
                Err(error) => return Err(BusError::Socket(error)),
            }
        }
    }

    /// How many copies are missing before this one, and whether its message has not come under another topic yet.
    fn note(&mut self, delivery: &Delivery) -> (u64, bool) {
        self.arrivals += 1;
        let id = delivery.envelope.id;
        if !self.writers.contains_key(&id.epoch) && self.writers.len() >= MAX_WRITERS {
            let silent = self.writers.iter().min_by_key(|(_, writer)| writer.heard_at).map(|(epoch, _)| *epoch);
            silent.and_then(|epoch| self.writers.remove(&epoch));
        }
        let is_first = !self.writers.contains_key(&id.epoch);
        let writer =
            self.writers.entry(id.epoch).or_insert_with(|| Writer { seq: id.seq, ords: HashMap::new(), heard_at: 0 });
        writer.heard_at = self.arrivals;
        let missing = match (delivery.envelope.ord, writer.ords.get_mut(&delivery.topic)) {
            (Some(ord), Some(last)) => {
                let missing = ord.saturating_sub(*last).saturating_sub(1);
                *last = ord;
                missing
            }
            (Some(ord), None) => {
                if writer.ords.len() >= MAX_WRITERS {
                    writer.ords.clear();
                }
                writer.ords.insert(delivery.topic.clone(), ord);
                0
            }
            (None, _) => 0,
        };
        let is_new = is_first || id.seq > writer.seq;
        writer.seq = writer.seq.max(id.seq);
        (missing, is_new)
    }
}

/// Frames as a message; `None` if they are none.
fn read(frames: Vec<zmq::Message>, decoder: &mut Decoder) -> Option<Delivery> {
    let mut frames = frames.into_iter();
    let topic = frames.next()?;
    let topic = Topic::received(topic.as_str()?).ok()?;
    let envelope_frame = frames.next()?;
    let envelope = decoder.decode(&envelope_frame).ok()?;
    let payloads: Vec<_> = frames.collect();
    envelope.check_payloads(payloads.iter().map(|frame| frame.len())).ok()?;
    Some(Delivery { topic, envelope, payloads, envelope_frame })
}
