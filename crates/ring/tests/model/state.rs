//! What the processes share, what each knows, and what only the checker knows.

use crate::faults::Fault;

pub(crate) const WRITERS: usize = 2;
pub(crate) const READERS: usize = 2;
pub(crate) const PLACES: usize = 2;
pub(crate) const BLOCKS: usize = 3;
/// More positions than any scenario reaches.
pub(crate) const POSITIONS: usize = 6;

/// The lossless reader's entry.
pub(crate) const STORE: usize = 0;
/// The lossy reader's entry.
pub(crate) const MONITOR: usize = 1;

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) writers: usize,
    /// Messages that each writer sends.
    pub(crate) messages: u8,
    pub(crate) kills: u8,
    pub(crate) supervisor_kills: u8,
    pub(crate) removals: u8,
    /// How often a removed reader's entry is given to another.
    pub(crate) joins: u8,
    /// Without, the monitor's entry is active and nobody ever reads there.
    pub(crate) has_monitor: bool,
    pub(crate) fault: Option<Fault>,
}

impl Scenario {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

/// What stands in a block of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Bytes {
    #[default]
    Torn,
    /// A message, as this life of the writer filled it in.
    Of { message: u8, life: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Descriptor {
    pub(crate) position: u8,
    pub(crate) block: u8,
    pub(crate) mask: u8,
    pub(crate) routed_by: u8,
}

impl Descriptor {
    pub(crate) fn is_for(&self, reader: usize, entry: Entry, scenario: &Scenario) -> bool {
        self.mask >> reader & 1 == 1 && (self.routed_by >= entry.since || scenario.has(Fault::SinceIgnored))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Region {
    pub(crate) head: u8,
    pub(crate) reclaimed: u8,
    pub(crate) places: [Descriptor; PLACES],
    pub(crate) blocks: [Bytes; BLOCKS],
}

impl Region {
    pub(crate) fn descriptor(&self, position: u8) -> Descriptor {
        self.places[usize::from(position) % PLACES]
    }

    /// Whether a committed record that is not reclaimed owns the block.
    pub(crate) fn is_live(&self, block: u8) -> bool {
        (self.reclaimed..self.head).any(|position| self.descriptor(position).block == block)
    }
}

/// What a reader says about a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Cell {
    pub(crate) acked: u8,
    pub(crate) seen: u8,
    pub(crate) pin: Option<u8>,
}

/// What the table says about a reader entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) active: bool,
    pub(crate) since: u8,
    /// Counts the owners of the entry: the first subscribes to all messages, the later ones to those from 2 on.
    pub(crate) owner: u8,
}

impl Entry {
    pub(crate) fn wants(&self, message: u8) -> bool {
        self.owner == 0 || message >= 2
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    pub(crate) version: u8,
    pub(crate) entries: [Entry; READERS],
}

impl Table {
    pub(crate) fn mask(&self, message: u8) -> u8 {
        (0..READERS).fold(0, |mask, r| {
            let entry = self.entries[r];
            mask | u8::from(entry.active && entry.wants(message)) << r
        })
    }
}

/// Where a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WriterAt {
    Idle,
    Routed,
    /// `reclaimed` has passed the record of this block; pins are next.
    Reclaimed {
        block: u8,
    },
    Filling {
        block: u8,
    },
    /// So many steps of descriptor and commit are done.
    Describing {
        block: u8,
        steps: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) alive: bool,
    pub(crate) at: WriterAt,
    pub(crate) mask: u8,
    /// The table as it last looked.
    pub(crate) table: Table,
    /// Blocks that were reclaimed while pinned.
    pub(crate) pinned: [bool; BLOCKS],
}

/// Where the lossless reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum StoreAt {
    Idle,
    Read { writer: u8, descriptor: Descriptor },
    Seen { writer: u8, descriptor: Descriptor },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) alive: bool,
    pub(crate) at: StoreAt,
    pub(crate) next: [u8; WRITERS],
    /// Positions that are out and not acknowledged, one bit each.
    pub(crate) held: [u8; WRITERS],
}

/// Where the lossy reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MonitorAt {
    Idle,
    Read { writer: u8, position: u8, descriptor: Descriptor },
    Pinned { writer: u8, position: u8, descriptor: Descriptor },
    Holding { writer: u8, position: u8, block: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Monitor {
    pub(crate) alive: bool,
    pub(crate) at: MonitorAt,
    pub(crate) next: [u8; WRITERS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SupervisorAt {
    Idle,
    /// Setting the cells of an entry, writer by writer, then the table.
    Joining {
        reader: u8,
        done: u8,
    },
}

/// What was committed at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Committed {
    pub(crate) bytes: Bytes,
    pub(crate) message: u8,
    pub(crate) block: u8,
    /// The store entry's owner that was subscribed when the publication began.
    pub(crate) owed_to: Option<u8>,
}

/// What only the checker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Ghost {
    /// Messages that a writer is done with.
    pub(crate) sent: [u8; WRITERS],
    /// Starts of a writer.
    pub(crate) lives: [u8; WRITERS],
    pub(crate) committed: [[Option<Committed>; POSITIONS]; WRITERS],
    /// To whom the publication that is on is owed.
    pub(crate) owed_to: [Option<u8>; WRITERS],
    /// Positions that the store entry's present owner was given, one bit each.
    pub(crate) delivered: [u8; WRITERS],
    pub(crate) kills: u8,
    pub(crate) supervisor_kills: u8,
    pub(crate) removals: u8,
    pub(crate) joins: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) regions: [Region; WRITERS],
    pub(crate) cells: [[Cell; READERS]; WRITERS],
    pub(crate) table: Table,
    pub(crate) writers: [Writer; WRITERS],
    pub(crate) store: Store,
    pub(crate) monitor: Monitor,
    pub(crate) supervisor: SupervisorAt,
    pub(crate) ghost: Ghost,
}

impl State {
    /// Everybody is there, nothing has been sent.
    pub(crate) fn first(scenario: &Scenario) -> Self {
        let table = Table { version: 1, entries: [Entry { active: true, since: 1, owner: 0 }; READERS] };
        let writer = Writer { alive: true, at: WriterAt::Idle, mask: 0, table, pinned: [false; BLOCKS] };
        let ghost = Ghost {
            sent: std::array::from_fn(|w| if w < scenario.writers { 0 } else { scenario.messages }),
            kills: scenario.kills,
            supervisor_kills: scenario.supervisor_kills,
            removals: scenario.removals,
            joins: scenario.joins,
            ..Ghost::default()
        };
        Self {
            regions: [Region::default(); WRITERS],
            cells: [[Cell::default(); READERS]; WRITERS],
            table,
            writers: [writer; WRITERS],
            store: Store { alive: true, at: StoreAt::Idle, next: [0; WRITERS], held: [0; WRITERS] },
            monitor: Monitor { alive: scenario.has_monitor, at: MonitorAt::Idle, next: [0; WRITERS] },
            supervisor: SupervisorAt::Idle,
            ghost,
        }
    }

    /// Whether the block still holds what was committed at the position.
    pub(crate) fn is_intact(&self, writer: usize, position: u8, block: u8) -> bool {
        let committed = self.ghost.committed[writer][usize::from(position)];
        committed.is_some_and(|c| c.bytes == self.regions[writer].blocks[usize::from(block)])
    }

    /// Whether the entry's owner subscribed to what was committed at the position.
    pub(crate) fn is_wanted(&self, reader: usize, writer: usize, position: u8) -> bool {
        let committed = self.ghost.committed[writer][usize::from(position)];
        committed.is_some_and(|c| self.table.entries[reader].wants(c.message))
    }
}

/// Something that one process can do next.
pub(crate) struct Step {
    /// Who does what, for the trace.
    pub(crate) label: String,
    pub(crate) outcome: Result<State, &'static str>,
}

/// Collects what can happen next.
#[derive(Default)]
pub(crate) struct Steps(pub(crate) Vec<Step>);

impl Steps {
    pub(crate) fn add(&mut self, label: impl Into<String>, next: State) {
        self.0.push(Step { label: label.into(), outcome: Ok(next) });
    }

    pub(crate) fn violation(&mut self, label: impl Into<String>, what: &'static str) {
        self.0.push(Step { label: label.into(), outcome: Err(what) });
    }
}
