//! Topics: every name is made here, and here it is said which plane carries it and what a subscription matches.
//!
//! A name is a row of parts with dots between. A subscription matches the topic itself and what continues it after a
//! dot. Dots, percent signs and control characters of an id are escaped (`%2E`, `%25`), so that it is one part and `lab.1`
//! never hears what is meant for `lab`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest topic, in bytes.
const MAX_LEN: usize = 255;

/// How topics begin that jobs use among themselves; no other topic begins with `~`.
const BY_BUS: &str = "~bus.";
const COPY: &str = "~copy.";

/// Which pair of proxies carries a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plane {
    /// Stop, heartbeats, statistics, alerts, requests: small, never behind data.
    Control,
    /// Payloads.
    Data,
}

/// The name under which a message is sent, or for which somebody subscribes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a text is no topic.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TopicError {
    /// Nothing in it.
    #[error("a topic must not be empty")]
    Empty,
    /// Longer than 255 bytes.
    #[error("a topic has at most {MAX_LEN} bytes, this one has {0}")]
    TooLong(usize),
    /// A control character.
    #[error("a topic must not contain control characters")]
    ControlCharacter,
    /// A name that jobs use among themselves.
    #[error("a topic must not begin with `~`")]
    Reserved,
}

impl Topic {
    /// The alerts of all supervisors.
    pub const ALERTS: &'static str = "alert";

    /// A topic by its full name, as a job's `topics_to_subscribe` gives it.
    ///
    /// # Errors
    /// [`TopicError`]: empty, too long, or with control characters.
    pub fn named(name: &str) -> Result<Self, TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty);
        }
        if name.len() > MAX_LEN {
            return Err(TopicError::TooLong(name.len()));
        }
        if name.chars().any(char::is_control) {
            return Err(TopicError::ControlCharacter);
        }
        if name.starts_with('~') {
            return Err(TopicError::Reserved);
        }
        Ok(Self(name.into()))
    }

    /// A topic as it comes from the bus: also one of those that jobs use among themselves.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub(crate) fn received(name: &str) -> Result<Self, TopicError> {
        let plain = [BY_BUS, COPY, "~"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        Self::named(plain)?;
        Ok(Self(name.into()))
    }

    /// To all jobs of a supervisor: stop, the supervisor's heartbeat, run start and stop.
    pub fn broadcast(supervisor_id: &str) -> Self {
        Self(format!("supervisor.{}.daq_job.broadcast", part(supervisor_id)).into())
    }

    /// From jobs to their supervisor: started, ready, heartbeat.
    pub fn internal(supervisor_id: &str) -> Self {
        Self(format!("supervisor.{}.internal", part(supervisor_id)).into())
    }

    /// To one job.
    pub fn job(unique_id: &str) -> Self {
        Self(format!("daq_job.{}", part(unique_id)).into())
    }

    /// To one job: messages of its own, from somebody outside. No continuation of [`job`](Self::job), so that whoever waits
    /// there for a stop does not hear them.
    pub fn messages_to(unique_id: &str) -> Self {
        Self(format!("messages.daq_job.{}", part(unique_id)).into())
    }

    /// A name that nobody publishes: whoever subscribes it last, and hears of that subscription as a publisher, knows
    /// that its earlier ones stand. A proxy repeats subscriptions to a new publisher in the order of their bytes, so it
    /// begins with one that comes after all others.
    pub fn probe(instance_id: &str, of: &str) -> Self {
        Self(format!("~probe.{}.{}", part(instance_id), part(of)).into())
    }

    /// To the jobs that subscribed a topic of the data plane, where the message does not ride the ring. Other programs
    /// subscribe the topic itself: what rides the ring is sent to them too, as far as they can follow.
    pub fn by_bus(topic: &Self) -> Self {
        Self(format!("{BY_BUS}{topic}").into())
    }

    /// Everything that goes [`by_bus`](Self::by_bus), to be subscribed.
    pub(crate) fn all_by_bus() -> Self {
        Self(BY_BUS.trim_end_matches('.').into())
    }

    /// To the jobs that are no readers of the ring: a copy of what rides it.
    pub fn copy_of(topic: &Self) -> Self {
        Self(format!("{COPY}{topic}").into())
    }

    /// Whether a name is that of copies for jobs that are no readers of the ring.
    pub(crate) fn is_copy(name: &str) -> bool {
        name.starts_with(COPY)
    }

    /// The topic as its publisher named it.
    #[must_use]
    pub fn plain(&self) -> Self {
        let plain = self.0.strip_prefix(BY_BUS).or_else(|| self.0.strip_prefix(COPY));
        plain.map_or_else(|| self.clone(), |plain| Self(plain.into()))
    }

    /// To the stores of a type, on every supervisor.
    pub fn store(job_type: &str) -> Self {
        Self(format!("store.{}", part(job_type)).into())
    }

    /// To the stores of a type of one supervisor.
    pub fn store_of(supervisor_id: &str, job_type: &str) -> Self {
        Self(format!("store.supervisor.{}.{}", part(supervisor_id), part(job_type)).into())
    }

    /// A job's own report, once a second.
    pub fn stats(supervisor_id: &str) -> Self {
        Self(format!("stats.supervisor.{}", part(supervisor_id)).into())
    }

    /// The combined statistics of a supervisor.
    pub fn combined_stats(supervisor_id: &str) -> Self {
        Self(format!("stats.combined.supervisor.{}", part(supervisor_id)).into())
    }

    /// A job's traces.
    pub fn traces(supervisor_id: &str) -> Self {
        Self(format!("traces.supervisor.{}", part(supervisor_id)).into())
    }

    /// The combined traces of a supervisor.
    pub fn combined_traces(supervisor_id: &str) -> Self {
        Self(format!("traces.combined.supervisor.{}", part(supervisor_id)).into())
    }

    /// Alerts of a supervisor and its jobs.
    pub fn alert(supervisor_id: &str) -> Self {
        Self(format!("alert.supervisor.{}", part(supervisor_id)).into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which plane carries it: data for the stores and for names of one's own, control for all the others.
    pub fn plane(&self) -> Plane {
        const CONTROL: [&str; 6] = ["supervisor", "daq_job", "messages.daq_job", "stats", "traces", "alert"];
        match CONTROL.iter().any(|family| covers(family, &self.0)) {
            true => Plane::Control,
            false => Plane::Data,
        }
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a subscription takes a topic: the topic itself, and what continues it after a dot. The empty one takes all.
pub fn covers(subscription: &str, topic: &str) -> bool {
    match topic.strip_prefix(subscription) {
        Some(rest) => subscription.is_empty() || rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

/// An id as one part of a name.
fn part(id: &str) -> Cow<'_, str> {
    let is_plain = |c: char| !matches!(c, '.' | '%') && !c.is_control();
    if id.chars().all(is_plain) {
        return id.into();
    }
    id.chars()
        .map(|c| if is_plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) })
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_takes_its_topic_and_what_follows_a_dot() {
        let table = [
            ("stats.supervisor.lab1", "stats.supervisor.lab1", true),
            ("stats.supervisor.lab1", "stats.supervisor.lab10", false),
            ("stats", "stats.supervisor.lab1", true),
            ("stats.supervisor.lab10", "stats.supervisor.lab1", false),
            ("", "anything", true),
            ("a.b", "a", false),
        ];
        for (subscription, topic, expected) in table {
            assert_eq!(covers(subscription, topic), expected, "{subscription} on {topic}");
        }
    }

    #[test]
    fn an_id_with_a_dot_is_one_part() {
        let outer = Topic::stats("lab");
        let inner = Topic::stats("lab.1");

        assert_eq!(inner.as_str(), "stats.supervisor.lab%2E1");
        assert_eq!(Topic::job("a%\nb").as_str(), "daq_job.a%25%0Ab");
        assert!(!covers(outer.as_str(), inner.as_str()));
    }

    #[test]
    fn control_traffic_and_payloads_take_different_planes() {
        let to_supervisor = [Topic::broadcast("a"), Topic::internal("a"), Topic::stats("a"), Topic::alert("a")];
        for topic in to_supervisor.into_iter().chain([Topic::job("u"), Topic::messages_to("u")]) {
            assert_eq!(topic.plane(), Plane::Control, "{topic}");
        }
        let of_ones_own = ["statsistics", "messages.mine"].map(|name| Topic::named(name).unwrap());
        for topic in of_ones_own.into_iter().chain([Topic::store("DAQJobStoreCSV"), Topic::store_of("a", "X")]) {
            assert_eq!(topic.plane(), Plane::Data, "{topic}");
        }
    }

    #[test]
    fn what_jobs_use_among_themselves_is_data_and_hides_no_name() {
        let topic = Topic::store("T");

        for internal in [Topic::by_bus(&topic), Topic::copy_of(&topic)] {
            assert_eq!((internal.plane(), internal.plain()), (Plane::Data, topic.clone()));
            assert!(!covers(topic.as_str(), internal.as_str()));
        }
        assert_eq!(topic.plain(), topic);
        assert!(covers(Topic::all_by_bus().as_str(), Topic::by_bus(&topic).as_str()));
    }

    #[test]
    fn texts_that_are_no_topics_are_refused() {
        assert_eq!(Topic::named(""), Err(TopicError::Empty));
        assert_eq!(Topic::named(&"x".repeat(256)), Err(TopicError::TooLong(256)));
        assert_eq!(Topic::named("a\0b"), Err(TopicError::ControlCharacter));
        assert_eq!(Topic::named("~bus.a"), Err(TopicError::Reserved));
    }

    #[test]
    fn the_longest_name_is_received_whichever_way_it_comes() {
        let topic = Topic::named(&"x".repeat(MAX_LEN)).unwrap();

        for sent in [topic.clone(), Topic::by_bus(&topic), Topic::copy_of(&topic), Topic::probe("i", "end")] {
            assert_eq!(Topic::received(sent.as_str()), Ok(sent));
        }
    }
}
