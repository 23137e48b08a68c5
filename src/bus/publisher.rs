//! Publishing: to who subscribed, in order, waiting rather than losing.
//!
//! A publisher has an epoch a plane, so that heartbeats do not count among data. `seq` counts its messages there, `ord` the
//! copies a topic; both also count what was given up, so that the reader's gaps and the publisher's drops are the same
//! number seen from two sides.
//!
//! Invariants: on one plane, `seq` rises in the order of sending; `publish` returns after its deadline at the latest, or
//! soon after the stop bell; it never sends a part of a message.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;

use super::contexts::Contexts;
use super::endpoints::Endpoints;
use super::error::BusError;
use super::high_water;
use crate::message::{EncodeError, Message, MessageId, Origin, Payload, Plane, Prepared, Topic, covers};
use crate::os::{Wake, now_ns, set_xpub_nodrop};

/// How long one attempt to send waits before deadline and bell are looked at, in milliseconds.
const SEND_SLICE_MS: i32 = 20;

/// How long what was published may take to leave this process when it ends, in milliseconds: data as long as its readers
/// need, unless the process gives up before.
const DATA_LINGER_MS: i32 = -1;
const CONTROL_LINGER_MS: i32 = 1000;

/// Topics whose copies are numbered one by one; the rest of a flood of names shares no number and forgets the oldest.
const MAX_TOPICS: usize = 4096;

/// How long `publish` may wait for room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deadline {
    /// Until the job is to stop. From then on nothing is taken, so a loop that only publishes ends by itself.
    #[default]
    Stop,
    /// At most so long. Also when the job is to stop already: for last words, where the readers have room.
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
        /// What had been sent to other topics before.
        sent: Option<Tracked>,
    },
    /// The job is to stop, and the readers had no room.
    #[error("stopped while waiting for room for {topic}")]
    Stopping {
        /// The topic that had none.
        topic: Topic,
        /// What had been sent to other topics before.
        sent: Option<Tracked>,
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

impl PublishError {
    /// With what had been sent to other topics before.
    fn after(self, tracked: Tracked) -> Self {
        let sent = (tracked.routed > 0).then_some(tracked);
        match self {
            Self::Deadline { topic, .. } => Self::Deadline { topic, sent },
            Self::Stopping { topic, .. } => Self::Stopping { topic, sent },
            other => other,
        }
    }
}

/// What became of one published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    /// Its name.
    pub id: MessageId,
    /// Which plane carried it.
    pub plane: Plane,
    /// To how many topics with readers it went; 0: nobody subscribed any.
    pub routed: u32,
    /// Envelope and payloads of all copies that were sent.
    pub bytes: u64,
}

/// One writer of the bus, for both planes; any thread may use it.
#[derive(Debug)]
pub(crate) struct Publisher {
    origin: Origin,
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
        contexts: &Contexts,
        endpoints: &Endpoints,
        origin: Origin,
        stop: Wake,
    ) -> Result<Self, BusError> {
        let outlet =
            |plane| Outlet::connect(contexts.of(plane), endpoints, plane).map(|outlet| Mutex::new(Some(outlet)));
        Ok(Self { origin, control: outlet(Plane::Control)?, data: outlet(Plane::Data)?, stop })
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
        let patience = Patience::new(deadline, Some(&self.stop));
        let is_data = topics.first().is_none_or(|topic| topic.plane() == Plane::Data);
        if is_data && deadline == Deadline::Stop && self.stop.has_rung() {
            return Err(patience.refusal(topics.first()));
        }
        self.publish_with(topics, message, &patience)
    }

    /// The same, waiting so long for room although the job is to stop.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) fn publish_last_words(
        &self,
        topics: &[Topic],
        message: &Message,
        within: Duration,
    ) -> Result<Tracked, PublishError> {
        self.publish_with(topics, message, &Patience::new(Deadline::Within(within), None))
    }

    fn publish_with(
        &self,
        topics: &[Topic],
        message: &Message,
        patience: &Patience<'_>,
    ) -> Result<Tracked, PublishError> {
        let plane = topics.first().map_or(Plane::Data, Topic::plane);
        let mut guard = self.lock(plane, patience);
        let Some(outlet) = guard.as_mut().and_then(|guard| guard.as_mut()) else {
            return Err(patience.refusal(topics.first()));
        };
        let id = outlet.next_id();
        outlet.take_subscriptions();
        let mut tracked = Tracked { id, plane, routed: 0, bytes: 0 };
        let mut prepared = None;
        let infos = message.payload_infos();
        for topic in topics {
            if !outlet.has_readers(topic) {
                continue;
            }
            let (prepared, ts) = match &prepared {
                Some(prepared) => prepared,
                None => prepared.insert((Prepared::new(message, &self.origin, &named(topics))?, now_ns())),
            };
            let envelope = prepared.copy(id, *ts, &infos, outlet.next_ord(topic));
            match outlet.send(topic, envelope, &message.payloads, patience) {
                Ok(bytes) => tracked.bytes += bytes,
                Err(error) => return Err(error.after(tracked)),
            }
            tracked.routed += 1;
        }
        Ok(tracked)
    }

    /// Whether this publisher has heard, by way of the proxy, that somebody subscribed a topic. It does not
    /// wait: `false` also while another thread publishes. It keeps the view of the subscriptions fresh where a job
    /// publishes seldom.
    pub(crate) fn has_readers(&self, plane: Plane, topic: &Topic) -> bool {
        let mut outlet = self.outlet(plane).try_lock();
        outlet.as_mut().and_then(|outlet| outlet.as_mut()).is_some_and(|outlet| {
            outlet.take_subscriptions();
            outlet.has_readers(topic)
        })
    }

    /// Whether anything was published on a plane.
    pub(crate) fn has_published(&self, plane: Plane) -> bool {
        self.outlet(plane).lock().as_ref().is_some_and(|outlet| outlet.seq > 0)
    }

    /// What is not sent when the data plane is closed is given up.
    pub(crate) fn never_linger(&self) -> Result<(), BusError> {
        self.data.lock().as_ref().map_or(Ok(()), |outlet| outlet.socket.set_linger(0)).map_err(BusError::Socket)
    }

    /// What programs that are no jobs have subscribed on the data plane; `None` while another thread publishes.
    pub(crate) fn outside_subscriptions(&self) -> Option<Vec<String>> {
        let mut outlet = self.data.try_lock()?;
        let outlet = outlet.as_mut()?;
        outlet.take_subscriptions();
        Some(outlet.subscriptions.iter().filter(|name| !name.starts_with('~')).cloned().collect())
    }

    /// Sends a message of the ring to everybody who subscribed one of its topics, as it is, at once or not at all; gives
    /// how many copies were sent, and how many would have been.
    pub(crate) fn forward(&self, plane: Plane, topics: &[Topic], envelope: &[u8], payloads: &[&[u8]]) -> (u64, u64) {
        let mut outlet = self.outlet(plane).lock();
        let Some(outlet) = outlet.as_mut() else { return (0, 0) };
        outlet.take_subscriptions();
        let wanted: Vec<_> = topics.iter().filter(|topic| outlet.has_readers(topic)).collect();
        let sent = wanted.iter().filter(|topic| outlet.forward(topic, envelope, payloads)).count();
        (sent as u64, wanted.len() as u64)
    }

    /// Closes the socket of a plane: what was published still leaves, and its context waits for that; what comes now is
    /// refused.
    pub(crate) fn close(&self, plane: Plane) {
        self.outlet(plane).lock().take();
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
        match patience.until {
            Some(until) => outlet.try_lock_until(until),
            // Whoever has it gives it up soon after the bell.
            None => Some(outlet.lock()),
        }
    }
}

/// The topics of a message as its sender named them.
fn named(topics: &[Topic]) -> Vec<Topic> {
    let mut named = Vec::with_capacity(topics.len());
    for topic in topics.iter().map(Topic::plain) {
        if !named.contains(&topic) {
            named.push(topic);
        }
    }
    named
}

/// How long a caller is ready to wait.
struct Patience<'a> {
    until: Option<Instant>,
    /// Whose ringing ends it.
    stop: Option<&'a Wake>,
}

impl<'a> Patience<'a> {
    fn new(deadline: Deadline, stop: Option<&'a Wake>) -> Self {
        let until = match deadline {
            Deadline::Stop => None,
            Deadline::Within(at_most) => Instant::now().checked_add(at_most),
        };
        Self { until, stop }
    }

    fn is_over(&self) -> bool {
        self.is_stopped() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(Wake::has_rung)
    }

    fn refusal(&self, topic: Option<&Topic>) -> PublishError {
        let topic = topic.cloned().unwrap_or_else(|| Topic::broadcast(""));
        match self.is_stopped() {
            true => PublishError::Stopping { topic, sent: None },
            false => PublishError::Deadline { topic, sent: None },
        }
    }
}

/// The socket of one plane, and who listens to it.
struct Outlet {
    socket: zmq::Socket,
    epoch: u64,
    seq: u64,
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
            let is_data = plane == Plane::Data;
            socket.set_linger(if is_data { DATA_LINGER_MS } else { CONTROL_LINGER_MS })?;
            socket.set_sndtimeo(if is_data { SEND_SLICE_MS } else { 0 })?;
            endpoints.curve.as_ref().map_or(Ok(()), |curve| curve.apply(&socket))
        };
        options().map_err(BusError::Socket)?;
        if plane == Plane::Data {
            set_xpub_nodrop(&mut socket, true).map_err(BusError::Socket)?;
        }
        let address = &endpoints.plane(plane).publish;
        socket.connect(address).map_err(|source| BusError::Address { address: address.clone(), source })?;
        let epoch = uuid::Uuid::new_v4().as_u64_pair().0;
        Ok(Self { socket, epoch, seq: 0, subscriptions: Vec::new(), ords: HashMap::new() })
    }

    fn next_id(&mut self) -> MessageId {
        let id = MessageId { epoch: self.epoch, seq: self.seq };
        self.seq += 1;
        id
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

    /// Whoever subscribes everything means what has a public name.
    fn has_readers(&self, topic: &Topic) -> bool {
        let topic = topic.as_str();
        let may_mean = |subscription: &&String| !subscription.is_empty() || !topic.starts_with('~');
        self.subscriptions.iter().filter(may_mean).any(|subscription| covers(subscription, topic))
    }

    /// Sends one copy; gives its size.
    fn send(
        &self,
        topic: &Topic,
        envelope: Vec<u8>,
        payloads: &[Payload],
        patience: &Patience<'_>,
    ) -> Result<u64, PublishError> {
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

    /// Sends one copy of what the ring holds; `false` if there was no room. It has no `ord`: gaps are no fault here.
    fn forward(&self, topic: &Topic, envelope: &[u8], payloads: &[&[u8]]) -> bool {
        if self.socket.send(topic.as_str(), zmq::SNDMORE | zmq::DONTWAIT).is_err() {
            return false;
        }
        let more = |last: bool| if last { 0 } else { zmq::SNDMORE };
        // Once the first frame is accepted the others are too.
        let mut sent = self.socket.send(envelope, more(payloads.is_empty())).is_ok();
        for (n, payload) in payloads.iter().enumerate() {
            sent &= self.socket.send(*payload, more(n + 1 == payloads.len())).is_ok();
        }
        sent
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
