//! What goes over the bus here, and is wanted at the other end of a link: statistics, heartbeats and alerts, and payloads
//! of jobs that have no region.
//!
//! Invariants: an alert and a payload are put into the stream, and waited for where that has no room; all else is given
//! up, counted, where it cannot go at once. The control plane is never behind data: each has a thread.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::interest::{Interest, crossing};
use super::link::{Letter, Link, add};
use super::node::Node;
use super::quay::MAX_MESSAGE;
use crate::bus::{Arrival, BusError, Contexts, Endpoints, Subscriber};
use crate::message::{Alert, Body, Plane, Topic};
use crate::os::Wake;

/// How often it is looked who wants what.
const TICK: Duration = Duration::from_millis(50);

/// How long a pause is while the stream has no room.
const PAUSE: Duration = Duration::from_millis(5);

/// All links, for the threads that look at each of them.
pub(super) type Links = Arc<Mutex<Vec<Arc<Link>>>>;

/// The threads, one a plane.
#[derive(Debug)]
pub(super) struct Relays {
    stop: Wake,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Relays {
    /// # Errors
    /// [`BusError`]: no descriptors, no thread.
    pub(super) fn start(
        contexts: &Contexts,
        endpoints: &Endpoints,
        node: &Arc<Node>,
        links: &Links,
    ) -> Result<Self, BusError> {
        let stop = Wake::new().map_err(BusError::System)?;
        let mut relays = Self { stop: stop.clone(), threads: Vec::new() };
        for (plane, name) in [(Plane::Control, "link-control"), (Plane::Data, "link-data")] {
            let subscriber = Subscriber::connect(contexts, endpoints, &[plane])?;
            let (node, links, stop) = (node.clone(), links.clone(), stop.clone());
            let relay = Relay { plane, subscriber, node, links, stop, subscribed: Vec::new(), version: 0 };
            let thread = thread::Builder::new().name(name.into()).spawn(move || relay.run());
            relays.threads.push(thread.map_err(BusError::System)?);
        }
        Ok(relays)
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.stop.ring();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

struct Relay {
    plane: Plane,
    subscriber: Subscriber,
    node: Arc<Node>,
    links: Links,
    stop: Wake,
    subscribed: Vec<Topic>,
    version: u64,
}

impl Relay {
    fn run(mut self) {
        let stop = self.stop.clone();
        while !stop.has_rung() {
            if let Err(error) = self.subscribe() {
                tracing::error!(error = &error as &dyn std::error::Error, "links hear nothing of the bus any more");
                return;
            }
            match self.subscriber.next(TICK, &[&stop]) {
                Ok(Some(arrival)) => self.pass_on(&arrival),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "links hear nothing of the bus any more");
                    return;
                }
            }
        }
    }

    /// What any link wants.
    fn subscribe(&mut self) -> Result<(), BusError> {
        let version = self.node.version();
        if version == self.version {
            return Ok(());
        }
        self.version = version;
        let mut all = Interest::default();
        self.links.lock().iter().for_each(|link| all.add_all(&link.interest()));
        let (wholly, latest) = all.on(self.plane);
        let mut wanted: Vec<_> = wholly.iter().chain(&latest).filter_map(|name| self.topic(name)).collect();
        wanted.sort();
        wanted.dedup();
        for topic in self.subscribed.iter().filter(|topic| !wanted.contains(topic)) {
            self.subscriber.unsubscribe_on(self.plane, topic, false)?;
        }
        for topic in wanted.iter().filter(|topic| !self.subscribed.contains(topic)) {
            self.subscriber.subscribe_on(self.plane, topic)?;
        }
        self.subscribed = wanted;
        Ok(())
    }

    /// Where a name is heard: payloads that ride the ring are not heard here too. Of everything only alerts are meant on the
    /// control plane.
    fn topic(&self, name: &str) -> Option<Topic> {
        match (self.plane, name) {
            (Plane::Control, "") => Topic::named("alert").ok(),
            (Plane::Control, name) => Topic::named(name).ok(),
            (Plane::Data, "") => Some(Topic::all_by_bus()),
            (Plane::Data, name) => Topic::named(name).ok().as_ref().map(Topic::by_bus),
        }
    }

    fn pass_on(&self, arrival: &Arrival) {
        let delivery = &arrival.delivery;
        let envelope = &delivery.envelope;
        let topics = match envelope.head.topics.is_empty() {
            true => vec![delivery.topic.plain()],
            false => envelope.head.topics.clone(),
        };
        let Ok(encoded) = envelope.in_ring(&topics, enrgdaq_ring::ALIGNMENT) else { return };
        let encoded = Arc::new(encoded);
        let mut payload = Vec::new();
        for frame in &delivery.payloads {
            payload.resize(payload.len().next_multiple_of(enrgdaq_ring::ALIGNMENT), 0);
            payload.extend_from_slice(frame);
        }
        let payload = Arc::new(payload);
        let is_too_large = payload.len() as u64 > MAX_MESSAGE;
        let is_kept = self.plane == Plane::Data || envelope.head.kind == Alert::TYPE;
        let links = self.links.lock().clone();
        for link in links {
            let Ok(topics) = crossing(envelope, self.node.outward(&link)) else { continue };
            let interest = link.interest();
            let is_wanted_wholly = interest.wants_all(&topics);
            if !is_wanted_wholly && !interest.wants_latest(&topics) {
                continue;
            }
            if is_too_large {
                add(&link.counts.dropped, 1);
                continue;
            }
            let (envelope, payload, at) = (encoded.clone(), payload.clone(), envelope.committed_at());
            self.post(&link, Letter { envelope, payload, at, is_lossy: !(is_kept && is_wanted_wholly) });
        }
    }

    fn post(&self, link: &Link, mut letter: Letter) {
        loop {
            match link.post(letter) {
                Ok(()) => return,
                Err(back) if back.is_lossy || self.stop.has_rung() => return add(&link.counts.dropped, 1),
                Err(back) => letter = back,
            }
            self.stop.wait(PAUSE);
        }
    }
}
