//! What each writer produced and each reader got, over all their starts.
//!
//! Every start of a job has a tally of its own, exact to the last message even after a kill. When a job ends its tally
//! is added to what earlier starts left; an edge compares the sums of a writer with those of a reader.
//!
//! `produced` counts what the writer published to a set of topics of which the reader subscribes at least one, since the
//! reader is known; `missing` is what of it did not arrive, including what is still under way.

use std::collections::BTreeMap;

use crate::control::Edge;
use crate::job::TallySnapshot;
use crate::message::covers;

/// How topics begin that jobs use among themselves: for what does not ride the ring, and for copies of what does.
const BY_BUS: &str = "~bus.";
const COPY: &str = "~copy.";

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
    /// Writer → what it had sent when this reader became ready: that is not on its way to it.
    marks: BTreeMap<String, Mark>,
    /// Writer → what it had produced for this reader when that was ready for the first time: that is not lost.
    unheard: Option<BTreeMap<String, u64>>,
}

/// How far a writer has come: a count within an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    epoch: u64,
    up_to: u64,
}

impl Mark {
    /// How many messages come after another mark; all of them if that is of another epoch.
    fn beyond(self, other: Mark) -> u64 {
        match self.epoch == other.epoch {
            true => self.up_to.saturating_sub(other.up_to),
            false => self.up_to,
        }
    }
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

    /// How far this writer has come with what it sent to a reader.
    pub(super) fn sent_for(&self, hearing: Hearing<'_>) -> Mark {
        let latest = self.latest();
        let sent = latest.sets.iter().filter(|set| hearing.is_reached_by(&set.topics));
        Mark { epoch: latest.epoch, up_to: sent.map(|set| set.sent_up_to).max().unwrap_or(0) }
    }

    /// From that writer only what it sends after this mark is on its way to this reader.
    pub(super) fn expect_from(&mut self, writer: String, mark: Mark) {
        self.marks.insert(writer, mark);
    }

    /// It is ready; the first time, what writers had produced for it before it was there was not to arrive.
    pub(super) fn begin_to_hear(&mut self, produced: BTreeMap<String, u64>) {
        self.unheard.get_or_insert(produced);
    }

    fn produced_for(&self, hearing: Hearing<'_>) -> u64 {
        let before = self.produced_before.iter().map(|(topics, messages)| (topics, *messages));
        let now = self.now.sets.iter().map(|set| (&set.topics, set.messages));
        before.chain(now).filter(|(topics, _)| hearing.is_reached_by(topics)).map(|(_, messages)| messages).sum()
    }

    fn arrived_from(&self, writer: &str) -> u64 {
        let now = self.now.sources.iter().filter(|source| source.unique_id == writer);
        self.arrived_before.get(writer).copied().unwrap_or(0) + now.map(|source| source.messages).sum::<u64>()
    }
}

/// What reaches a job over the bus.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hearing<'a> {
    pub(super) subscriptions: &'a [String],
    /// What rides the ring reaches it there: copies of it are for others.
    pub(super) reads_ring: bool,
}

impl Hearing<'_> {
    fn is_reached_by(self, topics: &[String]) -> bool {
        let plain = topics.iter().filter_map(|topic| match topic.strip_prefix(COPY) {
            Some(plain) => (!self.reads_ring).then_some(plain),
            None => Some(topic.strip_prefix(BY_BUS).unwrap_or(topic)),
        });
        plain.into_iter().any(|topic| self.subscriptions.iter().any(|subscription| covers(subscription, topic)))
    }
}

/// One side of an edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Party<'a> {
    pub(super) name: &'a str,
    pub(super) unique_id: &'a str,
    pub(super) hearing: Hearing<'a>,
    pub(super) book: &'a Book,
}

impl Party<'_> {
    /// Its id, and what it has produced for a reader so far.
    pub(super) fn produced_for(&self, reader: &Party<'_>) -> (String, u64) {
        (self.unique_id.to_owned(), self.book.produced_for(reader.hearing))
    }
}

/// What never arrived over the bus of what a writer produced since the reader was there; a reader that never was has lost
/// nothing.
pub(super) fn lost(writer: &Party<'_>, reader: &Party<'_>) -> u64 {
    let Some(unheard) = &reader.book.unheard else { return 0 };
    edge(writer, reader).missing.saturating_sub(unheard.get(writer.unique_id).copied().unwrap_or(0))
}

/// All edges of the bus on which something was produced or arrived.
pub(super) fn edges(parties: &[Party<'_>]) -> Vec<Edge> {
    let pairs = parties.iter().flat_map(|writer| parties.iter().map(move |reader| (writer, reader)));
    pairs.map(|(writer, reader)| edge(writer, reader)).filter(|edge| edge.produced > 0 || edge.arrived > 0).collect()
}

fn edge(writer: &Party<'_>, reader: &Party<'_>) -> Edge {
    let produced = writer.book.produced_for(reader.hearing);
    let arrived = reader.book.arrived_from(writer.unique_id);
    Edge {
        writer: writer.name.into(),
        reader: reader.name.into(),
        produced,
        arrived,
        missing: produced.saturating_sub(arrived),
        ..Edge::default()
    }
}

/// How many messages of a writer's latest start are on their way to a reader: those after the newest that it has seen, and
/// after what had been sent when it became ready.
pub(super) fn under_way(writer: &Party<'_>, reader: &Party<'_>) -> u64 {
    let sent = writer.book.sent_for(reader.hearing);
    let source = reader.book.latest().sources.iter().find(|source| source.unique_id == writer.unique_id);
    let seen = source.map(|source| Mark { epoch: source.epoch, up_to: source.received_up_to }).unwrap_or_default();
    let expected = reader.book.marks.get(writer.unique_id).copied().unwrap_or_default();
    // A message to another set of topics counts too; more than the edge misses cannot be on the way.
    let missing = edge(writer, reader).missing;
    sent.beyond(seen).min(sent.beyond(expected)).min(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{SetTally, SourceTally};

    fn wrote(messages: u64) -> TallySnapshot {
        let set = SetTally { topics: vec!["store.A".into()], messages, sent_up_to: messages, ..SetTally::default() };
        TallySnapshot { sets: vec![set], epoch: 5, ..TallySnapshot::default() }
    }

    fn read(messages: u64) -> TallySnapshot {
        let source = SourceTally {
            unique_id: "w".into(),
            messages,
            epoch: 5,
            received_up_to: messages,
            ..SourceTally::default()
        };
        TallySnapshot { sources: vec![source], ..TallySnapshot::default() }
    }

    fn hears(subscriptions: &[String]) -> Hearing<'_> {
        Hearing { subscriptions, reads_ring: true }
    }

    fn edge_of(writer: &Book, reader: &Book) -> (Vec<Edge>, u64) {
        let subscriptions = ["store.A".to_owned()];
        let writer = Party { name: "w", unique_id: "w", hearing: hears(&[]), book: writer };
        let reader = Party { name: "r", unique_id: "r", hearing: hears(&subscriptions), book: reader };
        (edges(&[writer, reader]), under_way(&writer, &reader))
    }

    #[test]
    fn what_a_dead_start_of_a_reader_got_still_counts() {
        let (mut writer, mut reader) = (Book::default(), Book::default());
        writer.update(wrote(100));
        reader.update(read(40));
        reader.close();
        reader.update(read(50));

        let (edges, _) = edge_of(&writer, &reader);

        let expected =
            Edge { writer: "w".into(), reader: "r".into(), produced: 100, arrived: 90, missing: 10, ..Edge::default() };
        assert_eq!(edges, [expected]);
    }

    #[test]
    fn under_way_is_what_comes_after_the_newest_that_was_seen() {
        let (mut writer, mut reader) = (Book::default(), Book::default());
        writer.update(wrote(100));
        reader.update(read(97));
        writer.close();

        assert_eq!(edge_of(&writer, &reader).1, 3);
    }

    #[test]
    fn a_writer_that_starts_again_is_not_taken_for_its_earlier_start() {
        let (mut writer, mut reader) = (Book::default(), Book::default());
        writer.update(wrote(100));
        writer.close();
        reader.update(read(100));
        writer.update(TallySnapshot { epoch: 6, ..wrote(20) });

        assert_eq!(edge_of(&writer, &reader).1, 20);
    }

    #[test]
    fn what_was_sent_before_a_reader_was_ready_is_missing_but_not_on_its_way() {
        let (mut writer, mut reader) = (Book::default(), Book::default());
        writer.update(wrote(100));
        reader.expect_from("w".into(), writer.sent_for(hears(&["store.A".into()])));
        assert_eq!(edge_of(&writer, &reader).1, 0);
        writer.update(wrote(103));

        let (edges, under_way) = edge_of(&writer, &reader);

        assert_eq!((edges[0].missing, under_way), (103, 3));
    }

    #[test]
    fn nobody_has_an_edge_to_what_it_did_not_subscribe() {
        let (mut writer, reader) = (Book::default(), Book::default());
        writer.update(wrote(1));
        let other = ["store.B".to_owned()];
        let writer = Party { name: "w", unique_id: "w", hearing: hears(&[]), book: &writer };
        let reader = Party { name: "r", unique_id: "r", hearing: hears(&other), book: &reader };

        assert!(edges(&[writer, reader]).is_empty());
    }

    #[test]
    fn copies_of_what_rides_the_ring_are_for_those_who_do_not_read_it() {
        let subscriptions = ["store.A".to_owned()];
        let (reader, outsider) = (hears(&subscriptions), Hearing { reads_ring: false, ..hears(&subscriptions) });

        for (topic, reader_hears, outsider_hears) in [
            ("store.A.run7", true, true),
            ("~bus.store.A", true, true),
            ("~copy.store.A", false, true),
            ("~copy.store.B", false, false),
        ] {
            let topics = [topic.to_owned()];
            assert_eq!(reader.is_reached_by(&topics), reader_hears, "{topic}");
            assert_eq!(outsider.is_reached_by(&topics), outsider_hears, "{topic}");
        }
    }
}
