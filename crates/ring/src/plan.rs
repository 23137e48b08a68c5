//! What a supervisor can ask of the ring, and the answers.

use crate::layout::{PAGE, READERS, WRITERS};
use crate::maps::Shape;
use crate::segment::SegmentError;
use crate::status::EdgeStatus;
use crate::topics::Policy;

/// Why the supervisor's wish cannot be fulfilled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A segment cannot be made or used.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Another supervisor of this id lives.
    #[error("another supervisor holds the ring {0}: stop it, or choose another `info.supervisor_id`")]
    Busy(String),
    /// The job is alive, perhaps stopped: its entry cannot change hands.
    #[error("{unique_id:032x} still lives: end it first")]
    Alive {
        /// Whose entry it is.
        unique_id: u128,
    },
    /// No such entry.
    #[error("the ring has no entry for {unique_id:032x}")]
    Unknown {
        /// Who was asked for.
        unique_id: u128,
    },
    /// All reader entries are taken: serve this one over the bus.
    #[error("the ring has no more than {READERS} readers: the next one has to use the bus")]
    TooManyReaders,
    /// All writer entries are taken: this one has to use the bus.
    #[error("the ring has no more than {WRITERS} writers: the next one has to use the bus")]
    TooManyWriters,
    /// The reader is subscribed under the other policy.
    #[error("{unique_id:032x} is subscribed under another delivery policy: remove it first")]
    OtherPolicy {
        /// Which reader.
        unique_id: u128,
    },
    /// The subscriptions of all readers together are too long.
    #[error("the topics of all readers together are over 60 kB: shorten subscriptions")]
    TableFull,
    /// The region's size makes no sense.
    #[error("a region of {bytes} bytes with {places} records is impossible: use 64 KiB to 128 GiB and 16 to 1048576")]
    BadShape {
        /// Bytes of data that were asked for.
        bytes: usize,
        /// Records that were asked for.
        places: usize,
    },
    /// The region holds records that some reader has not acknowledged.
    #[error("{records} records of this writer wait for their readers: let them drain, or discard them")]
    NotDrained {
        /// How many, summed over readers.
        records: u64,
    },
}

/// What to do with segments of a former run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// Go on with them; refuse foreign layouts.
    Keep,
    /// Throw them away, counted.
    Discard,
}

/// What [`crate::Control::open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the ring is new.
    Nothing,
    /// The ring of a former supervisor; it goes on.
    Ring,
    /// The ring of another boot, of so many segments; removed.
    OtherBoot {
        /// How many segments were removed.
        segments: usize,
    },
    /// A ring that was discarded as asked.
    Discarded {
        /// How many segments were removed.
        segments: usize,
        /// The edges that still owed something: it is lost. `None`: the layout is foreign, nobody can count it.
        owed: Option<Vec<EdgeStatus>>,
    },
}

/// What [`crate::Control::add_writer`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// Made an empty region.
    Made,
    /// Found the region that the writer has had.
    Found {
        /// The size of its data area.
        bytes: usize,
        /// Whether it is cut as planned.
        has_planned_shape: bool,
    },
}

/// A writer to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterPlan {
    /// The job's unique id.
    pub unique_id: u128,
    /// Size of the data area, rounded up to whole pages.
    pub bytes: usize,
    /// Most records at a time, rounded up to a power of two.
    pub places: usize,
    /// Where positions begin in an entry that was never used: 0, but for tests of the wrap.
    pub first_position: u64,
}

impl WriterPlan {
    /// A region of `bytes`, with a place for each KiB of it, 1024 at least and 65536 at most.
    #[must_use]
    pub fn new(unique_id: u128, bytes: usize) -> Self {
        Self { unique_id, bytes, places: (bytes / 1024).clamp(1024, 65_536), first_position: 0 }
    }

    pub(crate) fn shape(&self) -> Result<Shape, ControlError> {
        let Self { bytes, places, .. } = *self;
        let shape = Shape {
            places: places.checked_next_power_of_two().unwrap_or(0) as u64,
            data_bytes: bytes.checked_next_multiple_of(PAGE).unwrap_or(0),
        };
        if shape.is_possible() { Ok(shape) } else { Err(ControlError::BadShape { bytes, places }) }
    }
}

/// A reader to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderPlan {
    /// The job's unique id.
    pub unique_id: u128,
    /// How it is served.
    pub policy: Policy,
    /// What it subscribes to; see [`crate::matches`].
    pub topics: Vec<String>,
}
