//! Publishing: to who subscribed, in order, waiting rather than losing.
//!
//! A publisher has one epoch. `seq` counts its messages, `ord` the copies a topic; both also count what was given up, so
//! that the reader's gaps and the publisher's drops are the same number seen from two sides.
//!
//! Invariants: on one plane, `seq` rises in the order of sending; `publish` returns after its deadline at the latest, or
//! soon after the stop bell; it never sends a part of a message.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::endpoints::Endpoints;
use super::error::BusError;
use super::high_water;
use crate::message::{EncodeError, Encoded, Message, MessageId, Origin, Payload, Plane, Topic, covers};
use crate::os::{Wake, now_ns, set_xpub_nodrop};

/// How long one attempt to send waits before deadline and bell are looked at, in milliseconds.
const SEND_SLICE_MS: i32 = 20;

/// How long what was published may take to leave this process when it ends, in milliseconds.
const LINGER_MS: i32 = 5000;

/// Topics whose copies are numbered one by one; the rest of a flood of names shares no number and forgets the oldest.
const MAX_TOPICS: usize = 4096;

/// How long `publish` may wait for room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deadline {
    /// Until the job is to stop.
    #[default]
    Stop,
    /// At most so long, and until the job is to stop.
    Within(Duration),
}

/// Why a message was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The readers had no room until the deadline; the message is counted as dropped.
    #[error("the readers of {topic} had no room until the deadline")]
    Deadline {
        /// The topic that had none.
        topic: Topic,
    },
    /// The job is to stop, and the readers had no room.
    #[error("stopped while waiting for room for {topic}")]
    Stopping {
        /// The topic that had none.
        topic: Topic,
    },
    /// The body cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// libzmq refused.
    #[error("the bus refused a message for {topic}")]
    Bus {
        /// For which topic.
        topic: Topic,
        /// What libzmq said.
        source: zmq::Error,
    },
}

/// What became of one published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// Its name.
    pub(crate) id: MessageId,
    /// To how many topics with readers it went; 0: nobody subscribed any.
    pub(crate) routed: u32,
    /// Envelope and payloads of all copies that were sent.
    pub(crate) bytes: u64,
}

/// One writer of the bus, for both planes; any thread may use it.
#[derive(Debug)]
pub(crate) struct Publisher {
    origin: Origin,
    epoch: u64,
    seq: AtomicU64,
    control: Mutex<Option<Outlet>>,
    data: Mutex<Option<Outlet>>,
    stop: Wake,
}

impl Publisher {
    /// Connects to the proxies. `stop` ends all waiting.
    ///
    /// # Errors
    /// [`BusError`]: bad addresses or keys, no descriptors.
    pub(crate) fn connect(
        context: &zmq::Context,
        endpoints: &Endpoints,
        origin: Origin,
        stop: Wake,
    ) -> Result<Self, BusError> {
        let outlet = |plane| Outlet::connect(context, endpoints, plane).map(|outlet| Mutex::new(Some(outlet)));
        Ok(Self {
            origin,
            epoch: uuid::Uuid::new_v4().as_u64_pair().0,
            seq: AtomicU64::new(0),
            control: outlet(Plane::Control)?,
            data: outlet(Plane::Data)?,
            stop,
        })
    }

    /// Sends a message to every topic that has readers, one copy a topic. All topics must be of one plane.
    ///
    /// # Errors
    /// [`PublishError`]; a message that was not sent to all its topics is counted as dropped for those it missed.
    pub(crate) fn publish(
        &self,
        topics: &[Topic],
        message: &Message,
        deadline: Deadline,
    ) -> Result<Tracked, PublishError> {
        let plane = topics.first().map_or(Plane::Data, Topic::plane);
        self.publish_on(plane, topics, message, deadline)
    }

    /// Sends on a plane whatever plane the topics would take.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) fn publish_on(
        &self,
        plane: Plane,
        topics: &[Topic],
        message: &Message,
        deadline: Deadline,
    ) -> Result<Tracked, PublishError> {
        let patience = Patience::new(deadline, &self.stop);
        let mut guard = self.lock(plane, &patience);
        let Some(outlet) = guard.as_mut().and_then(|guard| guard.as_mut()) else {
            return Err(patience.refusal(topics.first()));
        };
        let id = MessageId { epoch: self.epoch, seq: self.seq.fetch_add(1, Ordering::Relaxed) };
        outlet.take_subscriptions();
        let mut tracked = Tracked { id, routed: 0, bytes: 0 };
        let mut encoded = None;
        for topic in topics {
            if !outlet.has_readers(topic) {
                continue;
            }
            let encoded = match &encoded {
                Some(encoded) => encoded,
                None => encoded.insert(message.encode(id, now_ns(), &self.origin)?),
            };
            tracked.bytes += outlet.send(topic, encoded, &message.payloads, &patience)?;
            tracked.routed += 1;
        }
        Ok(tracked)
    }

    /// Closes the sockets: what was published still leaves, what comes now is refused.
    pub(crate) fn close(&self) {
        for plane in [Plane::Control, Plane::Data] {
            self.outlet(plane).lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    fn outlet(&self, plane: Plane) -> &Mutex<Option<Outlet>> {
        match plane {
            Plane::Control => &self.control,
            Plane::Data => &self.data,
        }
    }

    /// The outlet of a plane, once no other thread of this process uses it.
    fn lock(&self, plane: Plane, patience: &Patience<'_>) -> Option<MutexGuard<'_, Option<Outlet>>> {
        let outlet = self.outlet(plane);
        loop {
            match outlet.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if patience.is_over() => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    }
}

/// How long a caller is ready to wait.
struct Patience<'a> {
    until: Option<Instant>,
    stop: &'a Wake,
}

impl<'a> Patience<'a> {
    fn new(deadline: Deadline, stop: &'a Wake) -> Self {
        let until = match deadline {
            Deadline::Stop => None,
            Deadline::Within(at_most) => Instant::now().checked_add(at_most),
        };
        Self { until, stop }
    }

    fn is_over(&self) -> bool {
        self.stop.has_rung() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn refusal(&self, topic: Option<&Topic>) -> PublishError {
        let topic = topic.cloned().unwrap_or_else(|| Topic::broadcast(""));
        match self.stop.has_rung() {
            true => PublishError::Stopping { topic },
            false => PublishError::Deadline { topic },
        }
    }
}

/// The socket of one plane, and who listens to it.
struct Outlet {
    socket: zmq::Socket,
    subscriptions: Vec<String>,
    ords: HashMap<Topic, u64>,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").field("subscriptions", &self.subscriptions).finish_non_exhaustive()
    }
}

impl Outlet {
    fn connect(context: &zmq::Context, endpoints: &Endpoints, plane: Plane) -> Result<Self, BusError> {
        let mut socket = context.socket(zmq::XPUB).map_err(BusError::Socket)?;
        let options = || {
            socket.set_sndhwm(high_water(plane))?;
            socket.set_linger(LINGER_MS)?;
            socket.set_sndtimeo(if plane == Plane::Data { SEND_SLICE_MS } else { 0 })?;
            endpoints.curve.as_ref().map_or(Ok(()), |curve| curve.apply(&socket))
        };
        options().map_err(BusError::Socket)?;
        if plane == Plane::Data {
            set_xpub_nodrop(&mut socket).map_err(BusError::Socket)?;
        }
        let address = &endpoints.plane(plane).publish;
        socket.connect(address).map_err(|source| BusError::Address { address: address.clone(), source })?;
        Ok(Self { socket, subscriptions: Vec::new(), ords: HashMap::new() })
    }

    /// Reads who has subscribed and unsubscribed: a byte 1 or 0, then the topic.
    fn take_subscriptions(&mut self) {
        while let Ok(frame) = self.socket.recv_msg(zmq::DONTWAIT) {
            let Some((&kind, name)) = frame.split_first() else { continue };
            let Ok(name) = std::str::from_utf8(name) else { continue };
            self.subscriptions.retain(|known| known != name);
            if kind == 1 {
                self.subscriptions.push(name.to_owned());
            }
        }
    }

    fn has_readers(&self, topic: &Topic) -> bool {
        self.subscriptions.iter().any(|subscription| covers(subscription, topic.as_str()))
    }

    /// Sends one copy; gives its size.
    fn send(
        &mut self,
        topic: &Topic,
        encoded: &Encoded,
        payloads: &[Payload],
        patience: &Patience<'_>,
    ) -> Result<u64, PublishError> {
        let envelope = encoded.copy(self.next_ord(topic));
        self.send_topic(topic, patience)?;
        let mut bytes = envelope.len() as u64;
        let refuse = |source| PublishError::Bus { topic: topic.clone(), source };
        let more = |last: bool| if last { 0 } else { zmq::SNDMORE };
        self.socket.send(envelope, more(payloads.is_empty())).map_err(refuse)?;
        for (n, payload) in payloads.iter().enumerate() {
            bytes += payload.bytes.len() as u64;
            self.socket.send(payload.bytes.as_slice(), more(n + 1 == payloads.len())).map_err(refuse)?;
        }
        Ok(bytes)
    }

    /// Sends the first frame as soon as all readers have room. Once it is accepted libzmq accepts the others too: its
    /// marks count whole messages.
    fn send_topic(&self, topic: &Topic, patience: &Patience<'_>) -> Result<(), PublishError> {
        loop {
            match self.socket.send(topic.as_str(), zmq::SNDMORE) {
                Ok(()) => return Ok(()),
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) if !patience.is_over() => {}
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Err(patience.refusal(Some(topic))),
                Err(source) => return Err(PublishError::Bus { topic: topic.clone(), source }),
            }
        }
    }

    fn next_ord(&mut self, topic: &Topic) -> u64 {
        if let Some(ord) = self.ords.get_mut(topic) {
            *ord += 1;
            return *ord;
        }
        if self.ords.len() >= MAX_TOPICS {
            self.ords.clear();
        }
        self.ords.insert(topic.clone(), 0);
        0
    }
}
