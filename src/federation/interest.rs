//! Who wants what at the other end of a link, and what may pass. Pure.
//!
//! Invariants: what nobody wants does not cross; a topic that commands (stops, requests) never crosses; no message comes
//! back to the node that sent it first.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::message::{
    Alert, Body, CombinedStats, CombinedTraces, Envelope, Heartbeat, Plane, StatsReport, Topic, TraceReport, covers,
};

/// Topics that a node subscribed, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Interest {
    /// Of these every message is wanted.
    pub(super) all: BTreeSet<String>,
    /// Of these the newest are enough.
    pub(super) latest: BTreeSet<String>,
}

impl Interest {
    /// Nobody has said yet what is wanted: every message may be.
    pub(super) fn unknown() -> Self {
        Self { all: [String::new()].into(), latest: BTreeSet::new() }
    }

    /// A subscription more; of a text that is no topic nothing is wanted.
    pub(crate) fn add(&mut self, topic: &str, is_lossless: bool) {
        if Topic::named(topic).is_ok() {
            let set = if is_lossless { &mut self.all } else { &mut self.latest };
            set.insert(topic.to_owned());
        }
    }

    /// With what another wants.
    pub(super) fn add_all(&mut self, other: &Self) {
        self.all.extend(other.all.iter().cloned());
        self.latest.extend(other.latest.iter().cloned());
    }

    /// What of it lies under one of these prefixes; without prefixes all of it.
    pub(super) fn limited(&self, prefixes: Option<&[String]>) -> Self {
        let Some(prefixes) = prefixes else { return self.clone() };
        let both = |topics: &BTreeSet<String>| {
            let meet = |topic: &String, prefix: &String| match () {
                () if covers(prefix, topic) => Some(topic.clone()),
                () if covers(topic, prefix) => Some(prefix.clone()),
                () => None,
            };
            topics.iter().flat_map(|topic| prefixes.iter().filter_map(move |prefix| meet(topic, prefix))).collect()
        };
        Self { all: both(&self.all), latest: both(&self.latest) }
    }

    /// What came from elsewhere may hold what is no topic; so much of it is kept.
    pub(super) fn checked(self) -> Self {
        const MOST: usize = 4096;
        let checked = |topics: BTreeSet<String>| -> BTreeSet<String> {
            topics.into_iter().filter(|topic| topic.is_empty() || Topic::named(topic).is_ok()).take(MOST).collect()
        };
        Self { all: checked(self.all), latest: checked(self.latest) }
    }

    /// Whether every message of one of these topics is wanted.
    pub(super) fn wants_all(&self, topics: &[Topic]) -> bool {
        is_covered(&self.all, topics)
    }

    /// Whether the newest message of one of these topics is wanted, and not every one.
    pub(super) fn wants_latest(&self, topics: &[Topic]) -> bool {
        is_covered(&self.latest, topics) && !self.wants_all(topics)
    }

    /// What is to be subscribed on a plane to get all, and to get the latest.
    pub(super) fn on(&self, plane: Plane) -> (Vec<String>, Vec<String>) {
        let is_on = |topic: &&String| topic.is_empty() || Topic::named(topic).is_ok_and(|topic| topic.plane() == plane);
        let of = |topics: &BTreeSet<String>| topics.iter().filter(is_on).cloned().collect();
        (of(&self.all), of(&self.latest))
    }
}

fn is_covered(subscribed: &BTreeSet<String>, topics: &[Topic]) -> bool {
    subscribed.iter().any(|one| topics.iter().any(|topic| covers(one, topic.as_str())))
}

/// Who speaks and who hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction<'a> {
    /// From this leaf to the hub.
    Up { leaf: &'a str },
    /// From the hub to this leaf.
    Down { leaf: &'a str },
}

/// Why a message may not cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barred {
    /// It is for stores of its own supervisor only.
    Local,
    /// A leaf speaks for itself only, and hears nothing of what it said.
    Origin,
    /// None of its topics may cross.
    Topic,
}

/// The topics under which a message may cross.
///
/// # Errors
/// [`Barred`].
pub(super) fn crossing(envelope: &Envelope, direction: Direction<'_>) -> Result<Vec<Topic>, Barred> {
    let head = &envelope.head;
    let origin = &head.src.supervisor_id;
    let may_speak = match direction {
        Direction::Up { leaf } => origin == leaf,
        Direction::Down { leaf } => origin != leaf && !origin.is_empty(),
    };
    match () {
        () if head.local => return Err(Barred::Local),
        () if !may_speak => return Err(Barred::Origin),
        () => {}
    }
    let may_cross = |topic: &&Topic| topic.plane() == Plane::Data || says_of_itself(topic, origin, &head.kind);
    let topics: Vec<_> = head.topics.iter().filter(may_cross).cloned().collect();
    if topics.is_empty() { Err(Barred::Topic) } else { Ok(topics) }
}

/// What a node says of itself on the control plane, and commands nobody with.
fn says_of_itself(topic: &Topic, origin: &str, kind: &str) -> bool {
    let of = |make: fn(&str) -> Topic, kinds: &[&str]| *topic == make(origin) && kinds.contains(&kind);
    of(Topic::stats, &[StatsReport::TYPE])
        || of(Topic::combined_stats, &[CombinedStats::TYPE])
        || of(Topic::alert, &[Alert::TYPE])
        || of(Topic::traces, &[TraceReport::TYPE])
        || of(Topic::combined_traces, &[CombinedTraces::TYPE])
        || of(Topic::broadcast, &[Heartbeat::TYPE])
        || of(Topic::internal, &[Heartbeat::TYPE])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, MessageId, Origin, Prepared, Stop, StoreRaw};

    fn interest(all: &[&str], latest: &[&str]) -> Interest {
        let mut interest = Interest::default();
        all.iter().for_each(|topic| interest.add(topic, true));
        latest.iter().for_each(|topic| interest.add(topic, false));
        interest
    }

    fn envelope<B: Body>(body: &B, from: &str, topics: &[Topic], is_local: bool) -> Envelope {
        let mut message = Message::of(body).unwrap();
        message.local = is_local;
        let origin = Origin { supervisor_id: from.into(), ..Origin::default() };
        let prepared = Prepared::new(&message, &origin, topics).unwrap();
        Envelope::decode(&prepared.copy(MessageId { epoch: 1, seq: 1 }, 0, &[], 0)).unwrap()
    }

    #[test]
    fn what_one_wants_wholly_is_not_sent_as_the_latest_too() {
        let wants = interest(&["store.A"], &["store", "scope"]);
        let topics = |names: &[&str]| names.iter().map(|name| Topic::named(name).unwrap()).collect::<Vec<_>>();

        for (names, all, latest) in [
            (&["store.A"][..], true, false),
            (&["store.B"], false, true),
            (&["store.B", "store.A.x"], true, false),
            (&["scope.1"], false, true),
            (&["other"], false, false),
        ] {
            assert_eq!(
                (wants.wants_all(&topics(names)), wants.wants_latest(&topics(names))),
                (all, latest),
                "{names:?}"
            );
        }
        assert!(Interest::unknown().wants_all(&topics(&["anything"])));
    }

    #[test]
    fn a_limit_narrows_wide_subscriptions_and_keeps_narrow_ones() {
        let wants = interest(&["store", "scope.a", "other"], &["stats"]);
        let limit = ["store.CSV".to_owned(), "scope".to_owned()];

        assert_eq!(wants.limited(Some(&limit)), interest(&["store.CSV", "scope.a"], &[]));
        assert_eq!(wants.limited(Some(&[])), Interest::default());
        assert_eq!(wants.limited(None), wants);
    }

    #[test]
    fn a_leaf_speaks_for_itself_and_hears_nothing_of_it() {
        let data = [Topic::store("A")];
        let (own, of_other) = (envelope(&StoreRaw {}, "a", &data, false), envelope(&StoreRaw {}, "b", &data, false));
        let (up, down) = (Direction::Up { leaf: "a" }, Direction::Down { leaf: "a" });

        assert_eq!((crossing(&own, up), crossing(&of_other, up)), (Ok(data.to_vec()), Err(Barred::Origin)));
        assert_eq!((crossing(&own, down), crossing(&of_other, down)), (Err(Barred::Origin), Ok(data.to_vec())));
        let local = envelope(&StoreRaw {}, "a", &data, true);
        assert_eq!(crossing(&local, up), Err(Barred::Local));
    }

    #[test]
    fn nobody_is_commanded_over_a_link() {
        let stop = Stop { reason: "x".into() };
        let up = Direction::Up { leaf: "a" };
        for topic in [Topic::broadcast("hub"), Topic::broadcast("a"), Topic::job("j"), Topic::messages_to("j")] {
            assert_eq!(
                crossing(&envelope(&stop, "a", std::slice::from_ref(&topic), false), up),
                Err(Barred::Topic),
                "{topic}"
            );
        }
        let beat = Heartbeat { next_in_ms: 1, progress: 0, is_ready: true };
        assert!(crossing(&envelope(&beat, "a", &[Topic::broadcast("a")], false), up).is_ok());
        assert_eq!(crossing(&envelope(&beat, "a", &[Topic::broadcast("hub")], false), up), Err(Barred::Topic));
        assert_eq!(crossing(&envelope(&beat, "a", &[Topic::alert("a")], false), up), Err(Barred::Topic));
    }

    #[test]
    fn what_is_no_topic_is_not_subscribed() {
        let mut bad = interest(&["store"], &[]);
        bad.all.insert("~bus.x".into());
        bad.latest.insert("a\nb".into());

        assert_eq!(bad.checked(), interest(&["store"], &[]));
    }
}
