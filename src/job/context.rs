//! What a job holds of the world while it runs.
//!
//! Opening it is the ready handshake. Every subscription is confirmed by a round trip: the job subscribes its topics,
//! last a topic that only it knows, and publishes there until it hears itself, on both planes. Subscriptions of one
//! socket are handled in order, so the earlier ones stand by then; and as its own publishers passed the message on, they
//! have heard of every subscription that stood before. So the first message of a source finds the stores that were ready
//! before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::inbox::Inbox;
use super::measures::Latencies;
use super::publisher::Publisher;
use super::spec::JobSpec;
use super::tally::Tally;
use super::types::JobError;
use crate::bus::{self, BusError, Deadline, Subscriber};
use crate::message::{Body, Heartbeat, JobInfo, JobReady, JobStarted, Message, Origin, Plane, Probe, Severity, Topic};
use crate::os::Wake;

/// How often the probe is repeated until it comes back.
const PROBE_EVERY: Duration = Duration::from_millis(5);

/// A job's publisher, inbox, identity and stop; clones are the same.
#[derive(Debug, Clone)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: JobSpec,
    publisher: Publisher,
    inbox: Inbox,
    stop: Wake,
    progress: AtomicU64,
    latencies: Arc<Latencies>,
    tally: Arc<Tally>,
    topics: Vec<Topic>,
}

/// What a context is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) spec: JobSpec,
    pub(super) tally: Tally,
    pub(super) stop: Wake,
    /// Topics that the job's type subscribes.
    pub(super) topics: Vec<Topic>,
    pub(super) backends: std::collections::BTreeMap<&'static str, Vec<&'static str>>,
}

impl Context {
    /// Connects to the bus, and waits until all subscriptions stand.
    pub(super) fn open(zmq: &zmq::Context, parts: Parts) -> Result<Self, JobError> {
        let Parts { spec, tally, stop, mut topics, backends } = parts;
        for name in &spec.topics_to_subscribe {
            let named =
                Topic::named(name).map_err(|error| JobError::Config(format!("topics_to_subscribe: {error}")))?;
            topics.push(named);
        }
        let origin = Origin {
            supervisor_id: spec.supervisor.supervisor_id.clone(),
            supervisor_tags: spec.supervisor.supervisor_tags.clone(),
            daq_job_type: spec.job_type.clone(),
            unique_id: spec.unique_id.clone(),
            instance_id: spec.instance_id.clone(),
        };
        let bus = bus::Publisher::connect(zmq, &spec.endpoints, origin, stop.clone())?;
        let mut subscriber = Subscriber::connect(zmq, &spec.endpoints)?;
        topics.iter().try_for_each(|topic| subscriber.subscribe(topic))?;
        confirm(&bus, &mut subscriber, &Topic::probe(&spec.instance_id), &stop)?;
        let (tally, latencies) = (Arc::new(tally), Arc::new(Latencies::new()));
        let supervisor_id = spec.supervisor.supervisor_id.clone();
        let publisher = Publisher::new(bus, tally.clone(), supervisor_id, backends);
        let inbox = Inbox::new(subscriber, tally.clone(), latencies.clone(), stop.clone());
        let inner = Inner { spec, publisher, inbox, stop, progress: AtomicU64::new(0), latencies, tally, topics };
        Ok(Self(Arc::new(inner)))
    }

    /// The job's name: its file's name without `.toml`.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// The job's name for ever.
    pub fn unique_id(&self) -> &str {
        &self.0.spec.unique_id
    }

    /// The supervisor's id.
    pub fn supervisor_id(&self) -> &str {
        &self.0.spec.supervisor.supervisor_id
    }

    /// Publishes.
    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// Receives what the job subscribed: its type's topics, and `topics_to_subscribe` of its config.
    pub fn inbox(&self) -> &Inbox {
        &self.0.inbox
    }

    /// Whether the job is to end.
    pub fn stopping(&self) -> bool {
        self.0.stop.has_rung()
    }

    /// Sleeps; `false` as soon as the job is to end.
    pub fn sleep(&self, duration: Duration) -> bool {
        !self.0.stop.wait(duration)
    }

    /// Sleeps until then; `false` as soon as the job is to end.
    pub fn sleep_until(&self, then: Instant) -> bool {
        self.sleep(then.saturating_duration_since(Instant::now()))
    }

    /// Something was done: feeds the watchdog of jobs that have `watchdog_timeout_seconds`.
    pub fn alive(&self) {
        self.0.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// The job cannot use messages that it received: they are counted, and shown in its status.
    pub fn refuse(&self, messages: u64) {
        self.0.tally.refused(messages);
    }

    /// Tells people.
    pub fn alert(&self, severity: Severity, text: impl Into<String>) {
        self.publisher().alert(severity, text);
    }

    /// Tells the supervisor that the job takes messages from now on.
    pub(super) fn ready(&self) -> Result<(), JobError> {
        self.report(&JobReady {})
    }

    /// Tells the supervisor what runs here.
    pub(super) fn started(&self) -> Result<(), JobError> {
        let spec = &self.0.spec;
        self.report(&JobStarted {
            info: JobInfo {
                daq_job_type: spec.job_type.clone(),
                unique_id: spec.unique_id.clone(),
                instance_id: spec.instance_id.clone(),
                config: spec.config_text.clone(),
                subscribed_topics: self.0.topics.iter().map(|topic| topic.as_str().to_owned()).collect(),
                supervisor_info: spec.supervisor.clone(),
            },
        })
    }

    pub(super) fn heartbeat(&self, next: Duration) -> Result<(), JobError> {
        let next_in_ms = u64::try_from(next.as_millis()).unwrap_or(u64::MAX);
        self.report(&Heartbeat { next_in_ms, progress: self.0.progress.load(Ordering::Relaxed) })
    }

    /// To the supervisor, past the tally: it counts what the job does, not what the SDK says.
    fn report<B: Body>(&self, body: &B) -> Result<(), JobError> {
        self.send_uncounted(&Topic::internal(self.supervisor_id()), body)
    }

    pub(super) fn send_uncounted<B: Body>(&self, topic: &Topic, body: &B) -> Result<(), JobError> {
        let message = Message::of(body).map_err(bus::PublishError::Encode)?;
        self.0.publisher.bus().publish(std::slice::from_ref(topic), &message, Deadline::Stop)?;
        Ok(())
    }

    pub(super) fn spec(&self) -> &JobSpec {
        &self.0.spec
    }

    pub(super) fn stop_bell(&self) -> &Wake {
        &self.0.stop
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    pub(super) fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }

    /// Closes all sockets; what was published still leaves. Threads that still hold the context get errors.
    pub(super) fn close(&self) {
        self.0.stop.ring();
        self.0.inbox.close();
        self.0.publisher.bus().close();
    }
}

/// Publishes to itself until it hears itself, on both planes.
fn confirm(bus: &bus::Publisher, subscriber: &mut Subscriber, probe: &Topic, stop: &Wake) -> Result<(), JobError> {
    let planes = [Plane::Control, Plane::Data];
    planes.iter().try_for_each(|plane| subscriber.subscribe_on(*plane, probe))?;
    let message = Message::of(&Probe {}).map_err(bus::PublishError::Encode)?;
    for plane in planes {
        while !heard(subscriber, probe)? {
            if stop.has_rung() {
                return Err(JobError::Stopping);
            }
            bus.publish_on(plane, std::slice::from_ref(probe), &message, Deadline::Stop)?;
        }
        // The other copies of this probe that are still under way are passed over from here on.
        subscriber.unsubscribe_on(plane, probe, false)?;
    }
    Ok(())
}

/// Whether the probe came back. Anything else that comes here came before the job was ready, so it is not its.
fn heard(subscriber: &mut Subscriber, probe: &Topic) -> Result<bool, BusError> {
    let silent = Wake::new().map_err(BusError::System)?;
    Ok(subscriber.next(PROBE_EVERY, &silent)?.is_some_and(|arrival| arrival.delivery.topic == *probe))
}
