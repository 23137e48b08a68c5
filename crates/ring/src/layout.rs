//! Where each shared word lies, and who its author is. The bytes are the contract between processes of one layout
//! version; the assertions below are the contract's text.
//!
//! ```text
//!  control segment (one a supervisor)                    author
//!  ┌──────────────────────────────────────────────────┐
//!  │ header   magic, layout, size, boot id, uid       │  supervisor
//!  │ table_version │ writers_version                  │  supervisor
//!  │ readers[64]   unique id │ bell                   │  supervisor │ sleeper sets, waker takes
//!  │ writers[256]  unique id, stamp, first │ bell     │  supervisor │ sleeper sets, waker takes
//!  │ cells[256][64]  acked, seen, pin, figures        │  the reader (before it joins: the supervisor)
//!  │ tables[2]     who subscribes to what             │  supervisor
//!  └──────────────────────────────────────────────────┘
//!  region (one a writer)
//!  ┌──────────────────────────────────────────────────┐
//!  │ header   magic, layout, geometry, unique id      │  supervisor
//!  │ epoch │ head │ reclaimed │ figures │ ledgers[2]  │  the writer
//!  │ descriptors[places]   64 bytes each              │  the writer
//!  │ data     [envelope][payload, 64-byte aligned]    │  the writer
//!  └──────────────────────────────────────────────────┘
//! ```
//! Words that are written at different times by different processes lie on different pairs of cache lines.

use crate::sync::{Flag, Word};

/// Most readers of a supervisor: one bit each in a record's mask.
pub const READERS: usize = 64;
/// Most writers of a supervisor.
pub const WRITERS: usize = 256;
/// Envelopes and payloads begin at multiples of this.
pub const ALIGNMENT: usize = 64;
/// "enrgring", stored last: a segment without it was never finished.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"enrgring");
/// Rises with every change of this file that moves a byte.
pub(crate) const LAYOUT: u64 = 1;
/// Size of each copy of the topic table.
pub(crate) const TABLE_WORDS: usize = 8192;
/// See [`crate::ledger`].
pub(crate) const LEDGER_WORDS: usize = 4 + 3 * READERS;
/// Descriptors and data begin at a page.
pub(crate) const PAGE: usize = 4096;

/// A word that shares its cache lines with no other.
#[repr(C, align(128))]
pub(crate) struct Alone<T>(pub(crate) T);

/// What every segment begins with; checked before anything else is believed.
#[repr(C)]
pub(crate) struct Identity {
    pub(crate) magic: Word,
    pub(crate) layout: Word,
    pub(crate) size: Word,
    pub(crate) boot_id: [Word; 2],
    pub(crate) uid: Word,
}

#[repr(C)]
pub(crate) struct Control {
    pub(crate) identity: Alone<Identity>,
    /// Version of the topic table (see `protocol::Versioned`).
    pub(crate) table_version: Alone<Word>,
    /// Rises when a writer's entry changes.
    pub(crate) writers_version: Alone<Word>,
    pub(crate) readers: [ReaderEntry; READERS],
    pub(crate) writers: [WriterEntry; WRITERS],
    pub(crate) cells: [[Cell; READERS]; WRITERS],
    pub(crate) tables: [[Word; TABLE_WORDS]; 2],
}

#[repr(C)]
pub(crate) struct ReaderEntry {
    pub(crate) unique_id: Alone<[Word; 2]>,
    pub(crate) bell: Alone<Flag>,
}

#[repr(C)]
pub(crate) struct WriterEntry {
    pub(crate) owner: Alone<WriterOwner>,
    pub(crate) bell: Alone<Flag>,
}

#[repr(C)]
pub(crate) struct WriterOwner {
    pub(crate) unique_id: [Word; 2],
    /// Odd while the entry is in use; rises with every change of owner and names the region.
    pub(crate) stamp: Word,
    /// Where the positions of the region begin: never below those of the entry's former owners.
    pub(crate) first: Word,
}

/// What one reader says about one writer.
#[repr(C, align(64))]
pub(crate) struct Cell {
    /// Lossless: everything below is done.
    pub(crate) acked: Word,
    /// Everything below has been handed out or passed over; above `acked` it comes again after a death.
    pub(crate) seen: Word,
    /// Lossy: the bytes it is looking at (see `record::Bytes`), or 0.
    pub(crate) pin: Word,
    /// Records handed out.
    pub(crate) taken: Word,
    /// Records handed out again after a death.
    pub(crate) again: Word,
    /// Records that made no sense: passed over.
    pub(crate) damaged: Word,
}

#[repr(C)]
pub(crate) struct Region {
    pub(crate) identity: Alone<Identity>,
    pub(crate) geometry: Alone<Geometry>,
    pub(crate) epoch: Alone<Epoch>,
    pub(crate) head: Alone<Word>,
    pub(crate) reclaimed: Alone<Word>,
    pub(crate) figures: Alone<Figures>,
    /// Version of the ledger.
    pub(crate) ledger_version: Alone<Word>,
    pub(crate) ledgers: [[Word; LEDGER_WORDS]; 2],
}

#[repr(C)]
pub(crate) struct Geometry {
    pub(crate) unique_id: [Word; 2],
    pub(crate) stamp: Word,
    /// Number of descriptors, a power of two.
    pub(crate) places: Word,
    pub(crate) data_offset: Word,
    pub(crate) data_bytes: Word,
}

#[repr(C)]
pub(crate) struct Epoch {
    /// Random, new at every start of the writer; 0 before the first.
    pub(crate) number: Word,
    /// Position of its first record.
    pub(crate) first: Word,
}

/// Only for status: nothing depends on them.
#[repr(C)]
pub(crate) struct Figures {
    /// Messages that nobody subscribed to.
    pub(crate) unrouted: Word,
    /// Time spent waiting for room, ns.
    pub(crate) waited_ns: Word,
    /// Since when it waits, on the monotonic clock; 0: it does not.
    pub(crate) waiting_since_ns: Word,
    /// Bytes of data that are taken.
    pub(crate) used_bytes: Word,
}

/// Number of words of a descriptor.
pub(crate) const DESCRIPTOR_WORDS: usize = 8;

/// One record; see `record::Record` for the meaning of the words.
#[repr(C, align(64))]
pub(crate) struct Descriptor(pub(crate) [Word; DESCRIPTOR_WORDS]);

#[cfg(not(loom))] // Loom's atomics are larger; its tests map nothing.
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Word>() == 8 && size_of::<Flag>() == 4);
    assert!(size_of::<ReaderEntry>() == 256 && size_of::<WriterEntry>() == 256);
    assert!(size_of::<Cell>() == 64 && size_of::<Descriptor>() == 64);
    assert!(offset_of!(Control, table_version) == 128);
    assert!(offset_of!(Control, writers_version) == 256);
    assert!(offset_of!(Control, readers) == 384);
    assert!(offset_of!(Control, writers) == 384 + 64 * 256);
    assert!(offset_of!(Control, cells) == 384 + (64 + 256) * 256);
    assert!(offset_of!(Control, tables) == offset_of!(Control, cells) + 256 * 64 * 64);
    assert!(size_of::<Control>() == offset_of!(Control, tables) + 2 * 8 * TABLE_WORDS);
    assert!(offset_of!(WriterEntry, bell) == 128 && offset_of!(ReaderEntry, bell) == 128);
    assert!(offset_of!(Cell, acked) == 0 && offset_of!(Cell, seen) == 8 && offset_of!(Cell, pin) == 16);
    assert!(offset_of!(Region, geometry) == 128 && offset_of!(Region, epoch) == 256);
    assert!(offset_of!(Region, head) == 384 && offset_of!(Region, reclaimed) == 512);
    assert!(offset_of!(Region, figures) == 640 && offset_of!(Region, ledger_version) == 768);
    assert!(offset_of!(Region, ledgers) == 896);
    assert!(size_of::<Region>() <= PAGE);
};
