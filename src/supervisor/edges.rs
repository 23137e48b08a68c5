//! What each writer produced and each reader got, over all their starts.
//!
//! Every start of a job has a tally of its own, exact to the last message even after a kill. When a job ends its tally
//! is added to what earlier starts left; an edge compares the sums of a writer with those of a reader.
//!
//! `produced` counts what the writer published to a set of topics of which the reader subscribes at least one, since the
//! reader is known; `missing` is what of it did not arrive, including what is still under way.

use std::collections::BTreeMap;

use crate::control::Edge;
use crate::job::{SourceTally, TallySnapshot};
use crate::message::covers;

/// The sums of all ended starts of a job, and how far its present one has come.
#[derive(Debug, Default, Clone)]
pub(super) struct Book {
    /// Of starts that have ended: topics → messages.
    produced_before: BTreeMap<Vec<String>, u64>,
    /// Of starts that have ended: writer → messages.
    arrived_before: BTreeMap<String, u64>,
    /// The present start.
    now: TallySnapshot,
    /// The start that ended last.
    ended: Option<TallySnapshot>,
}

impl Book {
    /// Takes the present start's figures.
    pub(super) fn update(&mut self, now: TallySnapshot) {
        self.now = now;
        self.ended = None;
    }

    /// The present start has ended.
    pub(super) fn close(&mut self) {
        let ended = std::mem::take(&mut self.now);
        for set in &ended.sets {
            *self.produced_before.entry(set.topics.clone()).or_default() += set.messages;
        }
        for source in &ended.sources {
            *self.arrived_before.entry(source.unique_id.clone()).or_default() += source.messages;
        }
        self.ended = Some(ended);
    }

    /// The figures of the present start, else of the last one.
    fn latest(&self) -> &TallySnapshot {
        self.ended.as_ref().unwrap_or(&self.now)
    }

    fn produced_for(&self, subscriptions: &[String]) -> u64 {
        let before = self.produced_before.iter().map(|(topics, messages)| (topics, *messages));
        let now = self.now.sets.iter().map(|set| (&set.topics, set.messages));
        before.chain(now).filter(|(topics, _)| reaches(topics, subscriptions)).map(|(_, messages)| messages).sum()
    }

    fn arrived_from(&self, writer: &str) -> u64 {
        let now = self.now.sources.iter().filter(|source| source.unique_id == writer);
        self.arrived_before.get(writer).copied().unwrap_or(0) + now.map(|source| source.messages).sum::<u64>()
    }
}

fn reaches(topics: &[String], subscriptions: &[String]) -> bool {
    topics.iter().any(|topic| subscriptions.iter().any(|subscription| covers(subscription, topic)))
}

/// One side of an edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Party<'a> {
    pub(super) name: &'a str,
    pub(super) unique_id: &'a str,
    pub(super) subscriptions: &'a [String],
    pub(super) book: &'a Book,
}

/// All edges on which something was produced or arrived.
pub(super) fn edges(parties: &[Party<'_>]) -> Vec<Edge> {
    let pairs = parties.iter().flat_map(|writer| parties.iter().map(move |reader| (writer, reader)));
    pairs
        .map(|(writer, reader)| {
            let produced = writer.book.produced_for(reader.subscriptions);
            let arrived = reader.book.arrived_from(writer.unique_id);
            Edge {
                writer: writer.name.into(),
                reader: reader.name.into(),
                produced,
                arrived,
                missing: produced.saturating_sub(arrived),
            }
        })
        .filter(|edge| edge.produced > 0 || edge.arrived > 0)
        .collect()
}

/// How many messages of a writer's last start, sent while somebody listened, a reader has not seen yet: those after the
/// newest one that it saw.
pub(super) fn under_way(writer: &Party<'_>, reader: &Party<'_>) -> u64 {
    let sent = writer.book.latest().sets.iter().filter(|set| reaches(&set.topics, reader.subscriptions));
    let sent_up_to = sent.map(|set| set.sent_up_to).max().unwrap_or(0);
    let seen = |source: &&SourceTally| source.unique_id == writer.unique_id;
    let received_up_to = reader.book.latest().sources.iter().find(seen).map_or(0, |source| source.received_up_to);
    sent_up_to.saturating_sub(received_up_to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::SetTally;

    fn wrote(messages: u64) -> TallySnapshot {
        let set = SetTally { topics: vec!["store.A".into()], messages, sent_up_to: messages, ..SetTally::default() };
        TallySnapshot { sets: vec![set], ..TallySnapshot::default() }
    }

    fn read(messages: u64) -> TallySnapshot {
        let source =
            SourceTally { unique_id: "w".into(), messages, received_up_to: messages, ..SourceTally::default() };
        TallySnapshot { sources: vec![source], ..TallySnapshot::default() }
    }

    fn edge(writer: &Book, reader: &Book) -> (Vec<Edge>, u64) {
        let subscriptions = ["store.A".to_owned()];
        let writer = Party { name: "w", unique_id: "w", subscriptions: &[], book: writer };
        let reader = Party { name: "r", unique_id: "r", subscriptions: &subscriptions, book: reader };
        (edges(&[writer, reader]), under_way(&writer, &reader))
    }

    #[test]
    fn what_a_dead_start_of_a_reader_got_still_counts() {
        let (mut writer, mut reader) = (Book::default(), Book::default());
        writer.update(wrote(100));
        reader.update(read(40));
        reader.close();
        reader.update(read(50));

        let (edges, _) = edge(&writer, &reader);

        let expected = Edge { writer: "w".into(), reader: "r".into(), produced: 100, arrived: 90, missing: 10 };
        assert_eq!(edges, [expected]);
    }

    #[test]
    fn under_way_is_what_comes_after_the_newest_that_was_seen() {
        let (mut writer, mut reader) = (Book::default(), Book::default());
        writer.update(wrote(100));
        reader.update(read(97));
        writer.close();

        assert_eq!(edge(&writer, &reader).1, 3);
    }

    #[test]
    fn nobody_has_an_edge_to_what_it_did_not_subscribe() {
        let (mut writer, reader) = (Book::default(), Book::default());
        writer.update(wrote(1));
        let other = ["store.B".to_owned()];
        let writer = Party { name: "w", unique_id: "w", subscriptions: &[], book: &writer };
        let reader = Party { name: "r", unique_id: "r", subscriptions: &other, book: &reader };

        assert!(edges(&[writer, reader]).is_empty());
    }
}
