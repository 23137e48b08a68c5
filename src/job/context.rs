//! What a job holds of the world while it runs.
//!
//! Opening it is the ready handshake. Subscriptions are confirmed by a round trip through the proxies: the job subscribes
//! its topics, last a name that only it knows, and waits until its own publisher has heard of that subscription, on both
//! planes. Subscriptions of one socket are handled in their order, so the earlier ones stand by then; and its publisher
//! has heard of every subscription that stood before. So the first message of a source finds the stores that were ready
//! before it. Subscriptions travel against the stream: a reader that holds up the data holds up no handshake.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::inbox::Inbox;
use super::measures::{Figures, Latencies};
use super::operation::{Operation, Post};
use super::outlet::Outlet;
use super::publisher::Publisher;
use super::requests::{RequestDesk, Requests};
use super::seats::Seats;
use super::spec::JobSpec;
use super::stop::StopBell;
use super::tally::Tally;
use super::types::JobError;
use crate::bus::{self, BusError, Contexts, Deadline, Subscriber};
use crate::message::{
    Body, JobInfo, JobReady, JobStarted, Message, Origin, Plane, Receipt, Request, Response, Severity, Topic,
};
use crate::os::Wake;

/// How often the publisher is asked whether it has heard.
const CONFIRM_POLL: Duration = Duration::from_millis(1);

/// A job's publisher, inbox, identity and stop; clones are the same.
#[derive(Debug, Clone)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: JobSpec,
    publisher: Publisher,
    inbox: Inbox,
    stop: StopBell,
    requests: Arc<RequestDesk>,
    progress: AtomicU64,
    is_ready: AtomicBool,
    latencies: Arc<Latencies>,
    tally: Arc<Tally>,
    figures: Figures,
    topics: Vec<Topic>,
}

/// What a context is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) spec: JobSpec,
    pub(super) tally: Tally,
    pub(super) stop: StopBell,
    pub(super) backends: std::collections::BTreeMap<&'static str, Vec<&'static str>>,
    /// Its type takes messages from outside.
    pub(super) takes_messages: bool,
}

impl Context {
    /// Connects to the bus, and waits until all subscriptions stand.
    pub(super) fn open(contexts: &Contexts, parts: Parts) -> Result<Self, JobError> {
        let Parts { spec, tally, stop, backends, takes_messages } = parts;
        let topics = spec.topics.iter().map(|name| Topic::named(name)).collect::<Result<Vec<_>, _>>();
        let topics = topics.map_err(|error| JobError::Config(format!("topics_to_subscribe: {error}")))?;
        let origin = Origin {
            supervisor_id: spec.supervisor.supervisor_id.clone(),
            supervisor_tags: spec.supervisor.supervisor_tags.clone(),
            daq_job_type: spec.job_type.clone(),
            unique_id: spec.unique_id.clone(),
            instance_id: spec.instance_id.clone(),
        };
        let Seats { writer, reader } = Seats::take(&spec, &stop)?;
        let bus = bus::Publisher::connect(contexts, &spec.endpoints, origin.clone(), stop.bell().clone())?;
        let planes = [Plane::Control, Plane::Data];
        let mut subscriber = Subscriber::connect(contexts, &spec.endpoints, &planes)?;
        let own = takes_messages.then(|| Topic::messages_to(&spec.unique_id));
        topics
            .iter()
            .flat_map(|topic| on_bus(topic, reader.is_some()))
            .chain(own)
            .try_for_each(|topic| subscriber.subscribe(&topic))?;
        confirm(&bus, &mut subscriber, &planes, &Topic::probe(&spec.instance_id, "inbox"), stop.bell())?;
        let (tally, latencies) = (Arc::new(tally), Arc::new(Latencies::new()));
        let outlet = Outlet::new(bus, writer, (tally.clone(), origin, stop.clone()));
        let publisher = Publisher::new(outlet, backends);
        let inbox = Inbox::new((subscriber, topics.clone()), reader, (tally.clone(), latencies.clone()), stop.clone())?;
        let requests = Arc::new(RequestDesk::new(stop.clone()).map_err(BusError::System)?);
        let inner = Inner {
            spec,
            publisher,
            inbox,
            stop,
            requests,
            progress: AtomicU64::new(0),
            is_ready: AtomicBool::new(false),
            latencies,
            tally,
            figures: Figures::default(),
            topics,
        };
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

    /// The name of this start of the job.
    pub fn instance_id(&self) -> &str {
        &self.0.spec.instance_id
    }

    /// The supervisor's id.
    pub fn supervisor_id(&self) -> &str {
        &self.0.spec.supervisor.supervisor_id
    }

    /// A directory of the job's own, for what must survive a restart; nobody has made it yet.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.0.spec.state_dir
    }

    /// Publishes.
    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// Receives what the job subscribed: its type's topics, `topics_to_subscribe` of its config, and the
    /// [messages](super::Job::messages) that somebody outside gives to it.
    pub fn inbox(&self) -> &Inbox {
        &self.0.inbox
    }

    /// What people and programs outside ask of this job with `enrgdaq call`. A job answers operations as long as it holds
    /// this; without it all fail at once. Take it in [`Job::new`](super::Job::new): then the job answers from when it is
    /// ready on.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use enrgdaq::job::{Context, Operation, Requests};
    /// #[derive(serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Range { low: f64, high: f64 }
    ///
    /// fn take_data(cx: &Context, requests: &Requests) {
    ///     let mut range = Range { low: 0.0, high: 1.0 };
    ///     while !cx.stopping() {
    ///         // … a row of data; then, where the job would sleep:
    ///         let Some(operation) = requests.next(Duration::from_secs(1)) else { continue };
    ///         match operation.name() {
    ///             "set_range" => {
    ///                 let Some(wanted) = operation.parse() else { continue };
    ///                 range = wanted;
    ///                 operation.finish(());
    ///             }
    ///             "width" => operation.finish(range.high - range.low),
    ///             _ => operation.fail_unknown(&["set_range", "width"]),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn requests(&self) -> Requests {
        Requests::new(self.0.requests.clone())
    }

    /// The same for a job that cannot look for operations itself, since it waits for a device or for messages: a thread of
    /// its own hands them to `handler`, one after the other, until the job is to end. A panic there ends the thread, and
    /// operations fail from then on.
    ///
    /// ```no_run
    /// # use enrgdaq::job::{Context, JobError};
    /// # fn new(cx: &Context) -> Result<(), JobError> {
    /// cx.answer(|operation| match operation.name() {
    ///     "ping" => operation.finish("pong"),
    ///     _ => operation.fail_unknown(&["ping"]),
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn answer(&self, mut handler: impl FnMut(Operation) + Send + 'static) -> Result<(), JobError> {
        let requests = self.requests();
        let work = move || {
            while let Some(operation) = requests.next(Duration::MAX) {
                handler(operation);
            }
        };
        let begun = std::thread::Builder::new().name("operations".into()).spawn(work);
        begun.map(drop).map_err(|error| JobError::failed("the system refused a thread for operations", error))
    }

    /// Whether the job is to end.
    pub fn stopping(&self) -> bool {
        self.0.stop.has_rung()
    }

    /// Sleeps; `false` as soon as the job is to end.
    pub fn sleep(&self, duration: Duration) -> bool {
        !self.0.stop.bell().wait(duration)
    }

    /// Sleeps until then; `false` as soon as the job is to end.
    pub fn sleep_until(&self, then: Instant) -> bool {
        self.sleep(then.saturating_duration_since(Instant::now()))
    }

    /// For a poll of one's own: readable as soon as the job is to end, and then for ever.
    pub fn stop_fd(&self) -> BorrowedFd<'_> {
        self.0.stop.bell().as_fd()
    }

    /// `stop_timeout_seconds`: how long the job may take to end before it gets SIGTERM; after as long again, SIGKILL.
    pub fn stop_timeout(&self) -> Duration {
        self.0.spec.stop_timeout
    }

    /// When this share of the time that the job has for its end will have passed; soon after 1.0 it gets SIGKILL. `None` as long as
    /// it is not to end. Told by a message a job has twice [`stop_timeout`](Self::stop_timeout), by SIGTERM once.
    pub fn share_of_end(&self, share: f64) -> Option<Instant> {
        self.0.stop.share_passed_at(share)
    }

    /// `watchdog_timeout_seconds`: how long the job may go without [`alive`](Self::alive); `None`: for ever. While it waits
    /// for room for what it publishes, it is alive.
    pub fn watchdog_timeout(&self) -> Option<Duration> {
        self.0.spec.watchdog_timeout
    }

    /// Something was done: feeds the watchdog of jobs that have `watchdog_timeout_seconds`.
    pub fn alive(&self) {
        self.0.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// The job cannot use messages that it received: they are counted, and shown in its status.
    pub fn refuse(&self, messages: u64) {
        self.0.tally.refused(messages);
    }

    /// Shows a figure of the job's own in its statistics: a rate, a temperature, how many of something. The last value
    /// counts, and leaves the job once a second; of more than 256 names the first are shown.
    pub fn figure(&self, name: &str, value: f64) {
        self.0.figures.set(name, value);
    }

    /// Shows in the job's statistics what went wrong last, with the time; who is to hear of it at once is told by
    /// [`alert`](Self::alert).
    pub fn last_error(&self, text: &str) {
        self.0.figures.set_last_error(text);
    }

    /// Tells people.
    pub fn alert(&self, severity: Severity, text: impl Into<String>) {
        self.publisher().alert(severity, text);
    }

    /// Tells the supervisor that the job takes messages from now on.
    pub(super) fn ready(&self) -> Result<(), JobError> {
        self.0.is_ready.store(true, Ordering::Relaxed);
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

    /// Tells the supervisor that the job is there: by the page that they share, which costs nobody a message.
    pub(super) fn heartbeat(&self) {
        if self.publisher().outlet().is_held_up() {
            self.alive();
        }
        // An idle publisher would never read who subscribes; asking reads it.
        self.bus().has_readers(Plane::Data, &Topic::broadcast(self.supervisor_id()));
        self.tally().beat(self.0.progress.load(Ordering::Relaxed), self.0.is_ready.load(Ordering::Relaxed));
    }

    /// To the supervisor, past the tally: it counts what the job does, not what the SDK says.
    fn report<B: Body>(&self, body: &B) -> Result<(), JobError> {
        self.send_uncounted(&Topic::internal(self.supervisor_id()), body)
    }

    pub(super) fn send_uncounted<B: Body>(&self, topic: &Topic, body: &B) -> Result<(), JobError> {
        let message = Message::of(body).map_err(bus::PublishError::Encode)?;
        self.bus().publish(std::slice::from_ref(topic), &message, Deadline::Stop)?;
        Ok(())
    }

    pub(super) fn bus(&self) -> &bus::Publisher {
        self.0.publisher.outlet().bus()
    }

    pub(super) fn spec(&self) -> &JobSpec {
        &self.0.spec
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.0.figures
    }

    pub(super) fn stop_bell(&self) -> &StopBell {
        &self.0.stop
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    pub(super) fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }

    /// Takes in what somebody asks of this start of the job; what is for another start was answered when that ended.
    pub(super) fn take_request(&self, request: Request) {
        let is_mine = request.instance_id.is_empty() || request.instance_id == self.instance_id();
        // Data may have to wait for its readers, and who answers must not.
        let topic = Topic::named(&request.reply_topic).ok().filter(|topic| topic.plane() == Plane::Control);
        let (true, Some(topic)) = (is_mine, topic) else { return };
        let outlet = self.publisher().outlet().clone();
        let post = Post::new(move |response: &Response| {
            let message = Message::of(response).map_err(bus::PublishError::Encode);
            let topics = std::slice::from_ref(&topic);
            let sent = message.and_then(|message| outlet.bus().publish(topics, &message, Deadline::Stop));
            if let Err(error) = sent {
                tracing::warn!(error = &error as &dyn std::error::Error, "a response could not be sent");
            }
        });
        self.0.requests.take(request.id, request.operation, post);
    }

    /// Hears what became of responses.
    pub(super) fn take_receipt(&self, receipt: Receipt) {
        self.0.requests.receipt(receipt.id, receipt.taken, receipt.cancel);
    }

    /// Last responses that perhaps were not heard are sent again.
    pub(super) fn repeat_responses(&self) {
        self.0.requests.repeat();
    }

    /// What is asked and not answered has failed.
    pub(super) fn close_requests(&self) {
        self.0.requests.close();
    }

    /// Nothing is received any more.
    pub(super) fn close_inbox(&self) {
        self.0.inbox.close();
    }

    /// Closes the socket of the data plane. Threads that still hold the context get errors.
    pub(super) fn close_data(&self) {
        self.bus().close(Plane::Data);
    }
}

/// Under which names a job hears a topic on the bus. What rides the ring comes there, or, to a job that does not read it, as
/// a copy.
fn on_bus(topic: &Topic, reads_ring: bool) -> Vec<Topic> {
    match topic.plane() {
        Plane::Control => vec![topic.clone()],
        Plane::Data if reads_ring => vec![Topic::by_bus(topic)],
        Plane::Data => vec![Topic::by_bus(topic), Topic::copy_of(topic)],
    }
}

/// Waits until a subscriber's topics stand: until the publisher hears of the one that it subscribes last.
pub(super) fn confirm(
    bus: &bus::Publisher,
    subscriber: &mut Subscriber,
    planes: &[Plane],
    probe: &Topic,
    stop: &Wake,
) -> Result<(), JobError> {
    for &plane in planes {
        subscriber.subscribe_on(plane, probe)?;
        while !bus.has_readers(plane, probe) {
            if stop.wait(CONFIRM_POLL) {
                return Err(JobError::Stopping);
            }
        }
        subscriber.unsubscribe_on(plane, probe, false)?;
    }
    Ok(())
}
