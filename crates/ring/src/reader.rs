//! The reading side: the next record of any writer, in place.
//!
//! ```text
//!   next ──▶ Delivery ──ack──▶
//!     └▶ None: deadline, stop, or a waker's call
//! ```
//! Invariants: of each writer, records come in rising order; a lossless reader that restarts goes on at what it had
//! acknowledged. A reader sleeps on its own bell and polls nothing. Writers that come and go are followed.

use crate::delivery::Delivery;
use crate::lane::{Lane, Pins, Seeker};
use crate::layout::{READERS, WRITERS};
use crate::lock::{LockFile, OpenError, Seat};
use crate::maps::{ControlMap, RegionMap, id_from_words};
use crate::segment::{RingName, SegmentError};
use crate::topics::{Policy, Table};
use crate::waiting::{Bed, Sleeper, Spin, Spinning, Until, Waker};
use crate::writer::owner_of;
use std::sync::Arc;

/// Which reader a process is.
#[derive(Debug, Clone)]
pub struct ReaderSpec {
    /// The supervisor's ring.
    pub ring: RingName,
    /// The job's unique id, as the supervisor added it.
    pub unique_id: u128,
    /// How long to spin for a record before sleeping.
    pub spin: Spin,
}

/// One subscriber of the ring.
#[derive(Debug)]
pub struct Reader {
    seeker: Seeker,
    lanes: Vec<Lane>,
    /// The writers' version that `lanes` follows.
    followed: Option<u64>,
    turn: usize,
    streak: usize,
    spin: Spin,
}

impl Reader {
    /// So many records of one writer in a row, if others have some too.
    const LONGEST_STREAK: usize = 32;

    /// Takes the reader's seat, and goes on where its predecessor ended.
    ///
    /// # Errors
    /// [`OpenError`]; in particular when the predecessor still lives.
    pub fn open(spec: &ReaderSpec) -> Result<Self, OpenError> {
        let control = Arc::new(ControlMap::open(&spec.ring)?);
        let unique_id = spec.unique_id;
        let find = || {
            let table = Table::load(&control);
            let reader = find_reader(&control, &table, unique_id).ok_or(OpenError::Unknown { unique_id })?;
            Ok::<_, OpenError>((reader, table.entries[reader].clone()))
        };
        let reader = find()?.0;
        let seat = LockFile::open(&spec.ring.control())?;
        if !seat.try_hold(Seat::Reader(reader))? {
            return Err(OpenError::Alive { unique_id });
        }
        // The entry may have changed hands before the seat was ours; now it cannot any more.
        let (holder, subscriber) = find()?;
        if holder != reader {
            return Err(OpenError::Unknown { unique_id });
        }
        for writer in 0..WRITERS {
            let pin = &control.cell(writer, reader).pin;
            if pin.get() != 0 {
                crate::protocol::unpin(pin);
            }
        }
        let bed = Bed::new(Arc::clone(&control), Sleeper::Reader(reader));
        let is_lossless = subscriber.policy == Some(Policy::Lossless);
        let seeker = Seeker {
            control,
            reader,
            since: subscriber.since,
            is_lossless,
            bed,
            seat: Arc::new(seat),
            pins: Pins::new(),
        };
        let mut reader = Self { seeker, lanes: Vec::new(), followed: None, turn: 0, streak: 0, spin: spec.spin };
        reader.follow_writers()?;
        Ok(reader)
    }

    /// How the supervisor has it served.
    #[must_use]
    pub fn policy(&self) -> Policy {
        if self.seeker.is_lossless { Policy::Lossless } else { Policy::Latest }
    }

    /// Interrupts this reader's waits.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.seeker.bed.waker()
    }

    /// The next record. Waits for it until the deadline, stop or a waker's call, which give `None`; a record that is
    /// there is handed out even when stop is set.
    ///
    /// # Errors
    /// [`SegmentError`] when a new writer's region cannot be mapped. It is not tried again before writers change.
    pub fn next(&mut self, until: Until<'_>) -> Result<Option<Delivery>, SegmentError> {
        loop {
            if self.seeker.bed.was_called() {
                return Ok(None);
            }
            self.follow_writers()?;
            if let Some(delivery) = self.look() {
                return Ok(Some(delivery));
            }
            if until.is_stopped() || until.is_over() {
                return Ok(None);
            }
            if !self.spin_for_news(&until) {
                let bed = Arc::clone(&self.seeker.bed);
                bed.sleep(&until, || self.has_news());
            }
        }
    }

    fn look(&mut self) -> Option<Delivery> {
        let count = self.lanes.len();
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            let Some(delivery) = self.lanes[index].take() else { continue };
            self.streak = if offset == 0 { self.streak + 1 } else { 1 };
            let is_long = self.streak >= Self::LONGEST_STREAK;
            self.turn = if is_long { index + 1 } else { index };
            self.streak = if is_long { 0 } else { self.streak };
            return Some(delivery);
        }
        None
    }

    fn spin_for_news(&self, until: &Until<'_>) -> bool {
        let spinning = Spinning::new(self.spin);
        while spinning.turn() {
            if self.has_news() || until.is_stopped() || until.is_over() || self.seeker.bed.is_called() {
                return true;
            }
        }
        false
    }

    fn has_news(&self) -> bool {
        self.followed != Some(self.writers_version()) || self.lanes.iter().any(Lane::has_news)
    }

    fn writers_version(&self) -> u64 {
        self.seeker.control.get().writers_version.0.observe()
    }

    /// Opens lanes to new writers and closes those of removed ones.
    fn follow_writers(&mut self) -> Result<(), SegmentError> {
        let version = self.writers_version();
        if self.followed == Some(version) {
            return Ok(());
        }
        self.followed = Some(version);
        let owners: Vec<_> = (0..WRITERS).filter_map(|entry| owner_of(&self.seeker.control, entry)).collect();
        let (kept, gone) =
            std::mem::take(&mut self.lanes).into_iter().partition(|lane| owners.iter().any(|owner| lane.is_of(owner)));
        self.lanes = kept;
        gone.into_iter().for_each(Lane::close);
        let mut failure = Ok(());
        for owner in owners {
            if self.lanes.iter().any(|lane| lane.is_of(&owner)) {
                continue;
            }
            match RegionMap::open_read_only(&self.seeker.control.name, owner) {
                Ok(region) => self.lanes.push(Lane::new(&self.seeker, region, owner)),
                // Removed between our two looks: the version says so.
                Err(SegmentError::Missing(_)) if version != self.writers_version() => self.followed = None,
                Err(error) => failure = Err(error),
            }
        }
        failure
    }
}

/// The active entry of a reader.
pub(crate) fn find_reader(control: &ControlMap, table: &Table, unique_id: u128) -> Option<usize> {
    (0..READERS).find(|&r| {
        let words = &control.get().readers[r].unique_id.0;
        table.entries[r].policy.is_some() && id_from_words([words[0].get(), words[1].get()]) == unique_id
    })
}
