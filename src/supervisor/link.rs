//! The supervisor on its own bus: what jobs report comes as mail, stops, heartbeats and statistics go out.

use std::thread;
use std::time::Duration;

use super::dispatcher::{Mail, Mailbox, Report};
use super::forward::CallNews;
use crate::bus::{Arrival, BusError, Contexts, Deadline, Endpoints, PublishError, Publisher, Subscriber};
use crate::message::{
    Alert, Body, JobReady, JobStarted, Message, Origin, Plane, Response, StatsReport, SupervisorInfo, Topic,
};
use crate::os::Wake;

/// Hears and speaks for the supervisor.
#[derive(Debug)]
pub(super) struct Link {
    publisher: Publisher,
    end: Wake,
    thread: Option<thread::JoinHandle<()>>,
}

impl Link {
    /// Connects; from now on reports come as mail.
    pub(super) fn open(
        contexts: &Contexts,
        endpoints: &Endpoints,
        info: &SupervisorInfo,
        mailbox: Mailbox,
    ) -> Result<Self, BusError> {
        let end = Wake::new().map_err(BusError::System)?;
        let origin = Origin {
            supervisor_id: info.supervisor_id.clone(),
            supervisor_tags: info.supervisor_tags.clone(),
            daq_job_type: "Supervisor".into(),
            unique_id: info.supervisor_id.clone(),
            instance_id: uuid::Uuid::new_v4().to_string(),
        };
        let publisher = Publisher::connect(contexts, endpoints, origin, end.clone())?;
        let mut subscriber = Subscriber::connect(contexts, endpoints, &[Plane::Control])?;
        let id = &info.supervisor_id;
        for topic in [Topic::internal(id), Topic::stats(id), Topic::alert(id)] {
            subscriber.subscribe(&topic)?;
        }
        let (bell, own_id) = (end.clone(), id.clone());
        let thread = thread::Builder::new()
            .name("link".into())
            .spawn(move || listen(&mut subscriber, &bell, &mailbox, &own_id))
            .map_err(BusError::System)?;
        Ok(Self { publisher, end, thread: Some(thread) })
    }

    /// Whether anybody would hear it.
    pub(super) fn has_readers(&self, topic: &Topic) -> bool {
        self.publisher.has_readers(Plane::Control, topic)
    }

    /// Gives somebody's message to a job, without waiting; `false` if nobody hears that topic.
    ///
    /// # Errors
    /// [`PublishError`], such as a message that is too long.
    pub(super) fn give(&self, topic: Topic, message: &Message) -> Result<bool, PublishError> {
        let sent = self.publisher.publish(&[topic], message, Deadline::Within(Duration::ZERO))?;
        Ok(sent.routed > 0)
    }

    /// Says something to jobs; on the control plane this never waits. Whether anybody hears it.
    pub(super) fn send<B: Body>(&self, topic: Topic, body: &B) -> bool {
        let message = Message::of(body).expect("the supervisor's own messages can be written");
        match self.publisher.publish(&[topic], &message, Deadline::Within(Duration::ZERO)) {
            Ok(tracked) => tracked.routed > 0,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the bus did not take a message of the supervisor"
                );
                false
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end.ring();
        self.publisher.close(Plane::Control);
        self.publisher.close(Plane::Data);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn listen(subscriber: &mut Subscriber, end: &Wake, mailbox: &Mailbox, supervisor_id: &str) {
    loop {
        match subscriber.next(Duration::MAX, &[end]) {
            Ok(Some(arrival)) => {
                if let Some(mail) = read(&arrival, supervisor_id)
                    && mailbox.blocking_send(mail).is_err()
                {
                    return;
                }
            }
            Ok(None) if end.has_rung() => return,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the supervisor hears its jobs no more");
                return;
            }
        }
    }
}

/// A report as mail; what cannot be read is passed over, as a frame that is no message.
fn read(arrival: &Arrival, supervisor_id: &str) -> Option<Mail> {
    let envelope = &arrival.delivery.envelope;
    let origin = || (envelope.head.src.unique_id.clone(), envelope.head.src.instance_id.clone());
    let report = if let Some(body) = envelope.body::<StatsReport>() {
        Report::Stats(Box::new(body.ok()?.stats))
    } else if let Some(body) = envelope.body::<JobReady>() {
        body.ok()?;
        Report::Ready
    } else if let Some(body) = envelope.body::<JobStarted>() {
        Report::Started(Box::new(body.ok()?.info))
    } else if let Some(body) = envelope.body::<Response>() {
        let (unique_id, instance_id) = origin();
        return Some(Mail::Call(CallNews::Response { unique_id, instance_id, response: body.ok()? }));
    } else if let Some(body) = envelope.body::<Alert>() {
        // The supervisor's own are noted where they are raised.
        let is_own = envelope.head.src.unique_id == supervisor_id;
        return (!is_own).then_some(Mail::Alert(body.ok()?));
    } else {
        return None;
    };
    let (unique_id, instance_id) = origin();
    Some(Mail::Report { unique_id, instance_id, report })
}
