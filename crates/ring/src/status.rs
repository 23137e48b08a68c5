//! What a ring looks like from outside, counted without disturbing anyone.
//!
//! Per edge (writer → reader): `routed` = acknowledged + `owed` + (for a lossy reader) missed. The counts are exact
//! whenever the writer stands still, after any number of kills; while it runs they are those of some recent moment.

use crate::layout::READERS;
use crate::ledger::{Account, Ledger};
use crate::maps::{ControlMap, Owner, RegionMap, id_from_words};
use crate::position::{self, distance, later};
use crate::topics::{Policy, Table};
use crate::writer::monotonic_ns;
use std::time::Duration;

/// The state of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingStatus {
    /// One for each writer.
    pub writers: Vec<WriterStatus>,
}

/// The state of a writer and its region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterStatus {
    /// Whose region it is.
    pub unique_id: u128,
    /// Position after the last committed record.
    pub head: u64,
    /// Records that are not reclaimed.
    pub live: u64,
    /// Most records at a time.
    pub places: u64,
    /// Bytes of data in use.
    pub used_bytes: u64,
    /// Size of the data area.
    pub data_bytes: u64,
    /// Messages that nobody subscribed to.
    pub unrouted: u64,
    /// Time spent waiting for room, up to now, by all starts of the writer.
    pub waited: Duration,
    /// Records routed to readers that are gone.
    pub bygone_routed: u64,
    /// Messages dropped for readers that are gone.
    pub bygone_dropped: u64,
    /// One for each active reader.
    pub edges: Vec<EdgeStatus>,
}

impl WriterStatus {
    /// Records that are owed to lossless readers, summed over them.
    #[must_use]
    pub fn owed(&self) -> u64 {
        self.edges.iter().filter(|edge| edge.policy == Policy::Lossless).map(|edge| edge.owed).sum()
    }
}

/// The state of one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeStatus {
    /// The writer.
    pub writer: u128,
    /// The reader.
    pub reader: u128,
    /// How it is served.
    pub policy: Policy,
    /// Records committed for it since it joined.
    pub routed: u64,
    /// Lossless: not acknowledged, and lost if the reader is removed now. Latest: not looked at, and still there.
    pub owed: u64,
    /// Messages that were not sent for want of room.
    pub dropped: u64,
    /// Latest: records that it skipped.
    pub missed: u64,
    /// Records handed out, repeats included.
    pub taken: u64,
    /// Records handed out again after a death.
    pub redelivered: u64,
    /// Descriptors that made no sense.
    pub damaged: u64,
}

pub(crate) fn of_writer(control: &ControlMap, table: &Table, owner: Owner, region: &RegionMap) -> WriterStatus {
    let ledger = settled_ledger(region, table);
    let words = region.get();
    let head = words.head.0.observe();
    let figures = &words.figures.0;
    let waiting_since = figures.waiting_since_ns.get();
    let waiting = if waiting_since == 0 { 0 } else { monotonic_ns().saturating_sub(waiting_since) };
    let (active, inactive): (Vec<usize>, _) = (0..READERS).partition(|&r| table.entries[r].policy.is_some());
    let gone = |count: fn(&Account) -> u64| -> u64 {
        inactive.iter().map(|&r| count(&ledger.accounts[r])).fold(0, u64::wrapping_add)
    };
    WriterStatus {
        unique_id: owner.unique_id,
        head,
        live: distance(words.reclaimed.0.get(), head),
        places: region.shape.places,
        used_bytes: figures.used_bytes.get(),
        data_bytes: region.shape.data_bytes as u64,
        unrouted: figures.unrouted.get(),
        waited: Duration::from_nanos(figures.waited_ns.get().saturating_add(waiting)),
        bygone_routed: ledger.bygone.routed.wrapping_add(gone(|account| account.routed)),
        bygone_dropped: ledger.bygone.dropped.wrapping_add(gone(|account| account.dropped)),
        edges: active.into_iter().map(|r| edge(control, table, (owner, region), &ledger, r)).collect(),
    }
}

fn edge(
    control: &ControlMap,
    table: &Table,
    (owner, region): (Owner, &RegionMap),
    ledger: &Ledger,
    r: usize,
) -> EdgeStatus {
    let policy = table.entries[r].policy.unwrap_or(Policy::Latest);
    let cell = control.cell(owner.entry, r);
    let account = ledger.accounts[r];
    let is_its = account.since == table.entries[r].since;
    let (routed, dropped) = if is_its { (account.routed, account.dropped) } else { (0, 0) };
    let owed = count_owed(control, table, owner, region, r);
    let taken = cell.taken.get();
    let missed = match policy {
        Policy::Lossless => 0,
        Policy::Latest => routed.saturating_sub(taken).saturating_sub(owed),
    };
    EdgeStatus {
        writer: owner.unique_id,
        reader: reader_id(control, r),
        policy,
        routed,
        owed,
        dropped,
        missed,
        taken,
        redelivered: cell.again.get(),
        damaged: cell.damaged.get(),
    }
}

/// Records for reader `r` that are still there and that it is not done with.
fn count_owed(control: &ControlMap, table: &Table, owner: Owner, region: &RegionMap, r: usize) -> u64 {
    let cell = control.cell(owner.entry, r);
    let done = match table.entries[r].policy {
        Some(Policy::Lossless) => &cell.acked,
        _ => &cell.seen,
    };
    let head = region.get().head.0.observe();
    let first = later(done.get(), region.get().reclaimed.0.observe());
    if distance(first, head) > region.shape.places {
        return 0;
    }
    let records = position::range(first, head).filter_map(|position| region.record(position));
    records.filter(|record| record.route.leads_to(r, table.entries[r].since)).count() as u64
}

/// The ledger of some moment; a writer that is faster than us for long leaves its last version.
fn settled_ledger(region: &RegionMap, table: &Table) -> Ledger {
    const TRIES: usize = 100;
    (0..TRIES).find_map(|_| Ledger::recount(region, table)).unwrap_or_else(Ledger::empty)
}

pub(crate) fn reader_id(control: &ControlMap, r: usize) -> u128 {
    let words = &control.get().readers[r].unique_id.0;
    id_from_words([words[0].get(), words[1].get()])
}
