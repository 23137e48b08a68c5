//! What went through the ring from each writer to each reader, in the time of this supervisor. Pure.
//!
//! The ring counts since a reader has joined, which may have been long before this supervisor. So what is found has a
//! *base*, which is subtracted: only what waited then counts, since it arrives now. Edges that are gone leave their sums.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use enrgdaq_ring::{EdgeStatus, Policy};

use crate::control::Edge;

/// Writer and reader, by their numbers.
pub(super) type Pair = (u128, u128);

/// The counts of one edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flow {
    produced: u64,
    arrived: u64,
    waiting: u64,
    dropped: u64,
    skipped: u64,
    redelivered: u64,
}

/// What an edge had counted when this supervisor found it, without what waited.
#[derive(Debug, Clone, Copy, Default)]
struct Base {
    routed: u64,
    taken: u64,
    dropped: u64,
    redelivered: u64,
}

impl Base {
    fn of(edge: &EdgeStatus) -> Self {
        let routed = edge.routed.saturating_sub(edge.owed);
        Self { routed, taken: edge.taken, dropped: edge.dropped, redelivered: edge.redelivered }
    }
}

impl Flow {
    fn since(base: Base, edge: &EdgeStatus) -> Self {
        let routed = edge.routed.saturating_sub(base.routed);
        let dropped = edge.dropped.saturating_sub(base.dropped);
        let waiting = edge.owed.min(routed);
        let done = routed - waiting;
        let arrived = match edge.policy {
            Policy::Lossless => done,
            Policy::Latest => done.min(edge.taken.saturating_sub(base.taken)),
        };
        Self {
            produced: routed.saturating_add(dropped),
            arrived,
            waiting,
            dropped,
            skipped: done - arrived,
            redelivered: edge.redelivered.saturating_sub(base.redelivered),
        }
    }

    /// The edge is no more: what waited does not arrive.
    fn ended(self, policy: Policy) -> Self {
        let (dropped, skipped) = match policy {
            Policy::Lossless => (self.dropped.saturating_add(self.waiting), self.skipped),
            Policy::Latest => (self.dropped, self.skipped.saturating_add(self.waiting)),
        };
        Self { waiting: 0, dropped, skipped, ..self }
    }
}

impl AddAssign for Flow {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.produced, other.produced);
        add(&mut self.arrived, other.arrived);
        add(&mut self.waiting, other.waiting);
        add(&mut self.dropped, other.dropped);
        add(&mut self.skipped, other.skipped);
        add(&mut self.redelivered, other.redelivered);
    }
}

/// The counts of all edges.
#[derive(Debug, Default)]
pub(super) struct Flows {
    bases: BTreeMap<Pair, Base>,
    ended: BTreeMap<Pair, Flow>,
}

impl Flows {
    /// These edges are there before anything runs: what they have counted so far was another's time.
    pub(super) fn adopt<'e>(&mut self, edges: impl IntoIterator<Item = &'e EdgeStatus>) {
        for edge in edges {
            self.bases.entry(pair(edge)).or_insert_with(|| Base::of(edge));
        }
    }

    /// These edges are gone; the ring begins a new one of the same pair with zeros.
    pub(super) fn end<'e>(&mut self, edges: impl IntoIterator<Item = &'e EdgeStatus>) {
        for edge in edges {
            let base = self.bases.remove(&pair(edge)).unwrap_or_default();
            *self.ended.entry(pair(edge)).or_default() += Flow::since(base, edge).ended(edge.policy);
        }
    }

    /// All edges, those that are gone and those that are there.
    pub(super) fn all<'e>(&self, edges: impl IntoIterator<Item = &'e EdgeStatus>) -> BTreeMap<Pair, Flow> {
        let mut all = self.ended.clone();
        for edge in edges {
            let base = self.bases.get(&pair(edge)).copied().unwrap_or_default();
            *all.entry(pair(edge)).or_default() += Flow::since(base, edge);
        }
        all
    }
}

fn pair(edge: &EdgeStatus) -> Pair {
    (edge.writer, edge.reader)
}

/// Adds what went through the ring to what went over the bus. `is_tap`: whoever reads here only listens in; what it
/// skipped is missed by nobody.
pub(super) fn merge(edges: &mut Vec<Edge>, (writer, reader): (&str, &str), flow: Flow, is_tap: bool) {
    if flow == Flow::default() {
        return;
    }
    let known = edges.iter().position(|edge| edge.writer == writer && edge.reader == reader);
    let at = known.unwrap_or_else(|| {
        edges.push(Edge { writer: writer.into(), reader: reader.into(), ..Edge::default() });
        edges.len() - 1
    });
    let edge = &mut edges[at];
    edge.produced += flow.produced;
    edge.arrived += flow.arrived;
    edge.waiting += flow.waiting;
    edge.dropped += flow.dropped;
    edge.skipped += flow.skipped;
    edge.redelivered += flow.redelivered;
    edge.missing += if is_tap { 0 } else { flow.dropped.saturating_add(flow.skipped) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(policy: Policy, routed: u64, owed: u64) -> EdgeStatus {
        EdgeStatus {
            writer: 1,
            reader: 2,
            policy,
            routed,
            owed,
            dropped: 0,
            missed: 0,
            taken: 0,
            redelivered: 0,
            damaged: 0,
        }
    }

    #[test]
    fn of_a_former_supervisors_edge_only_what_waited_counts() {
        let mut flows = Flows::default();
        flows.adopt([&EdgeStatus { dropped: 3, redelivered: 4, ..edge(Policy::Lossless, 100, 10) }]);

        let now = EdgeStatus { dropped: 5, redelivered: 14, ..edge(Policy::Lossless, 120, 1) };

        let expected = Flow { produced: 32, arrived: 29, waiting: 1, dropped: 2, skipped: 0, redelivered: 10 };
        assert_eq!(flows.all([&now])[&(1, 2)], expected);
    }

    #[test]
    fn what_waited_for_a_removed_reader_is_dropped_and_its_successor_begins_with_nothing() {
        let mut flows = Flows::default();
        flows.adopt([&edge(Policy::Lossless, 100, 10)]);
        flows.end([&edge(Policy::Lossless, 100, 4)]);

        let all = flows.all([&edge(Policy::Lossless, 5, 2)]);

        let expected = Flow { produced: 15, arrived: 9, waiting: 2, dropped: 4, ..Flow::default() };
        assert_eq!(all[&(1, 2)], expected);
    }

    #[test]
    fn a_reader_of_the_latest_skips_what_it_did_not_take() {
        let mut flows = Flows::default();
        flows.adopt([&EdgeStatus { taken: 40, ..edge(Policy::Latest, 100, 10) }]);

        let all = flows.all([&EdgeStatus { taken: 70, ..edge(Policy::Latest, 200, 5) }]);

        let expected = Flow { produced: 110, arrived: 30, waiting: 5, skipped: 75, ..Flow::default() };
        assert_eq!(all[&(1, 2)], expected);
    }

    #[test]
    fn ring_and_bus_are_one_edge_and_a_tap_misses_nothing() {
        let bus =
            Edge { writer: "a".into(), reader: "b".into(), produced: 5, arrived: 4, missing: 1, ..Edge::default() };
        let mut edges = vec![bus.clone()];
        let flow = Flow { produced: 10, arrived: 6, waiting: 1, dropped: 1, skipped: 2, redelivered: 3 };

        merge(&mut edges, ("a", "b"), flow, false);
        merge(&mut edges, ("a", "bus"), flow, true);
        merge(&mut edges, ("a", "idle"), Flow::default(), false);

        let both = Edge { produced: 15, arrived: 10, waiting: 1, missing: 4, dropped: 1, skipped: 2, ..bus };
        assert_eq!(edges[0], Edge { redelivered: 3, ..both });
        assert_eq!((edges.len(), edges[1].skipped, edges[1].missing), (2, 2, 0));
    }
}
