//! The supervisor's side: makes the segments, finds them again, keeps who writes and who reads.
//!
//! ```text
//!   reader entry   inactive ──add_reader: cells = heads, then table──▶ active ──remove_reader (proven dead)──▶ inactive
//!   writer entry   free ──add_writer: region, then stamp (odd)──▶ in use ──remove_writer (proven dead)──▶ free (even)
//! ```
//! Invariants: an entry changes hands only when its last holder is proven dead. Positions of a writer entry never go
//! back, whoever owns it, so a late acknowledgement can harm nobody. A supervisor that dies between two stores leaves
//! an entry that is not in use yet; the next one begins again.

use crate::layout::{READERS, WRITERS};
use crate::lock::{LockFile, Seat};
use crate::maps::{ControlMap, Owner, RegionMap, id_words};
use crate::plan::{Added, ControlError, Found, Leftovers, ReaderPlan, WriterPlan};
use crate::protocol;
use crate::reader::find_reader;
use crate::segment::{self, RingName, SegmentError};
use crate::status::{self, EdgeStatus, RingStatus, WriterStatus};
use crate::sync::Named;
use crate::topics::{Policy, Subscriber, Table};
use crate::waiting;
use crate::writer::owner_of;
use std::sync::Arc;

/// The ring in its supervisor's hands. Dropped, it leaves the segments as they are.
#[derive(Debug)]
pub struct Control {
    map: Arc<ControlMap>,
    /// The table in force.
    table: Table,
    /// Asks who lives; a descriptor that holds no seat.
    seats: LockFile,
    _seat: LockFile,
}

impl Control {
    /// Makes the ring, or finds that of a former supervisor.
    ///
    /// # Errors
    /// [`ControlError::Busy`], and whatever keeps segments from being made or trusted.
    pub fn open(name: &RingName, leftovers: Leftovers) -> Result<(Self, Found), ControlError> {
        match ControlMap::open(name) {
            Ok(map) => match leftovers {
                Leftovers::Keep => {
                    let control = Self::sit_down(map)?;
                    control.remove_orphans()?;
                    Ok((control, Found::Ring))
                }
                Leftovers::Discard => {
                    let old = Self::sit_down(map)?;
                    let owed = Some(old.owed());
                    let segments = remove_all(name)?;
                    Ok((Self::make(name)?, Found::Discarded { segments, owed }))
                }
            },
            // Regions are made after it and removed before it: somebody else has damaged or removed it.
            Err(SegmentError::Missing(_) | SegmentError::Unfinished(_))
                if leftovers == Leftovers::Keep && !name.regions()?.is_empty() =>
            {
                let found = "regions without a control segment".into();
                Err(SegmentError::ForeignLayout { name: name.control(), found }.into())
            }
            // Without a signature nobody can have used it: its maker died.
            Err(SegmentError::Missing(_) | SegmentError::Unfinished(_)) => {
                remove_all(name)?;
                Ok((Self::make(name)?, Found::Nothing))
            }
            Err(SegmentError::OtherBoot(_)) => {
                let segments = remove_all(name)?;
                Ok((Self::make(name)?, Found::OtherBoot { segments }))
            }
            Err(SegmentError::ForeignLayout { .. }) if leftovers == Leftovers::Discard => {
                let segments = remove_all(name)?;
                Ok((Self::make(name)?, Found::Discarded { segments, owed: None }))
            }
            Err(other) => Err(other.into()),
        }
    }

    fn make(name: &RingName) -> Result<Self, ControlError> {
        Self::sit_down(ControlMap::create(name)?)
    }

    fn sit_down(map: ControlMap) -> Result<Self, ControlError> {
        let (seat, seats) = (LockFile::open(&map.name.control())?, LockFile::open(&map.name.control())?);
        if !seat.try_hold(Seat::Supervisor)? {
            return Err(ControlError::Busy(map.name.to_string()));
        }
        let table = Table::load(&map);
        Ok(Self { map: Arc::new(map), table, seats, _seat: seat })
    }

    /// Regions that no entry names: a supervisor died while it added or removed a writer.
    fn remove_orphans(&self) -> Result<(), SegmentError> {
        let named: Vec<_> = self.owners().map(|owner| self.map.name.region(owner.entry, owner.stamp)).collect();
        let regions = self.map.name.regions()?;
        regions.iter().filter(|region| !named.contains(region)).try_for_each(|region| segment::unlink(region))
    }

    /// Gives a writer a region, or finds the one that it has. To change its size, remove it first, once it is drained.
    ///
    /// # Errors
    /// [`ControlError::TooManyWriters`], [`ControlError::BadShape`], or why the region cannot be made.
    pub fn add_writer(&mut self, plan: &WriterPlan) -> Result<Added, ControlError> {
        let shape = plan.shape()?;
        if let Some(owner) = self.writer(plan.unique_id) {
            let found = RegionMap::open_read_only(&self.map.name, owner)?.shape;
            return Ok(Added::Found { bytes: found.data_bytes, has_planned_shape: found == shape });
        }
        let entry = (0..WRITERS).find(|&entry| owner_of(&self.map, entry).is_none());
        let entry = entry.ok_or(ControlError::TooManyWriters)?;
        let words = &self.map.get().writers[entry].owner.0;
        let stamp = words.stamp.get().wrapping_add(1);
        if words.stamp.get() == 0 {
            words.first.set(plan.first_position);
            for reader in 0..READERS {
                self.map.cell(entry, reader).acked.settle(plan.first_position);
                self.map.cell(entry, reader).seen.settle(plan.first_position);
            }
        }
        let owner = Owner { entry, stamp, unique_id: plan.unique_id, first: words.first.get() };
        // A predecessor that died at this point left a region that no entry names.
        segment::unlink(&self.map.name.region(entry, stamp))?;
        RegionMap::create(&self.map.name, owner, shape)?;
        for (word, value) in words.unique_id.iter().zip(id_words(plan.unique_id)) {
            word.set(value);
        }
        words.stamp.publish(Named::Commit, stamp);
        self.writers_changed();
        Ok(Added::Made)
    }

    /// Takes a dead writer's region away, and says what it did. With [`Leftovers::Discard`] also while readers have not
    /// had all of it: what its edges owe is lost.
    ///
    /// # Errors
    /// [`ControlError::Alive`], [`ControlError::NotDrained`], [`ControlError::Unknown`].
    pub fn remove_writer(&mut self, unique_id: u128, leftovers: Leftovers) -> Result<WriterStatus, ControlError> {
        let owner = self.writer(unique_id).ok_or(ControlError::Unknown { unique_id })?;
        if !self.seats.is_free(Seat::Writer(owner.entry))? {
            return Err(ControlError::Alive { unique_id });
        }
        let region = RegionMap::open_read_only(&self.map.name, owner)?;
        let last = status::of_writer(&self.map, &self.table, owner, &region);
        if leftovers == Leftovers::Keep && last.owed() > 0 {
            return Err(ControlError::NotDrained { records: last.owed() });
        }
        let words = &self.map.get().writers[owner.entry].owner.0;
        words.first.set(region.get().head.0.observe());
        words.stamp.publish(Named::Commit, owner.stamp.wrapping_add(1));
        self.writers_changed();
        segment::unlink(&self.map.name.region(owner.entry, owner.stamp))?;
        Ok(last)
    }

    /// Subscribes a reader: whatever is published from now on is for it. One that is subscribed already keeps its
    /// place, and gets these topics.
    ///
    /// # Errors
    /// [`ControlError::TooManyReaders`], [`ControlError::TableFull`], [`ControlError::OtherPolicy`].
    pub fn add_reader(&mut self, plan: &ReaderPlan) -> Result<(), ControlError> {
        let mut entries = self.table.entries.clone();
        if let Some(reader) = find_reader(&self.map, &self.table, plan.unique_id) {
            if entries[reader].policy != Some(plan.policy) {
                return Err(ControlError::OtherPolicy { unique_id: plan.unique_id });
            }
            entries[reader].topics.clone_from(&plan.topics);
            return self.put_in_force(entries);
        }
        let reader = self.free_reader_entry()?;
        for writer in 0..WRITERS {
            self.prepare_cell(writer, reader);
        }
        for (word, value) in self.map.get().readers[reader].unique_id.0.iter().zip(id_words(plan.unique_id)) {
            word.set(value);
        }
        self.map.reader_bell(reader).set(0);
        let since = self.table.version.wrapping_add(1);
        entries[reader] = Subscriber { since, policy: Some(plan.policy), topics: plan.topics.clone() };
        self.put_in_force(entries)
    }

    /// An entry that nobody holds; the one that has been free for longest.
    fn free_reader_entry(&self) -> Result<usize, ControlError> {
        let entries = self.table.entries.iter().enumerate();
        let mut free: Vec<_> = entries.filter(|(_, entry)| entry.policy.is_none()).map(|(r, e)| (e.since, r)).collect();
        free.sort_unstable();
        for (_, reader) in free {
            if self.seats.is_free(Seat::Reader(reader))? {
                return Ok(reader);
            }
        }
        Err(ControlError::TooManyReaders)
    }

    /// A joining reader begins at each writer's head.
    fn prepare_cell(&self, writer: usize, reader: usize) {
        let cell = self.map.cell(writer, reader);
        let owner = owner_of(&self.map, writer);
        let region = owner.and_then(|owner| RegionMap::open_read_only(&self.map.name, owner).ok());
        let first = self.map.get().writers[writer].owner.0.first.get();
        let head = region.map_or(first, |region| protocol::observe_head(&region.get().head.0));
        for (word, value) in [(&cell.acked, head), (&cell.seen, head), (&cell.pin, 0)] {
            word.settle(value);
        }
        for figure in [&cell.taken, &cell.again, &cell.damaged] {
            figure.settle(0);
        }
    }

    /// Ends a dead reader's subscription, and says what its edges did; what they owe is lost to it.
    ///
    /// # Errors
    /// [`ControlError::Alive`], [`ControlError::Unknown`].
    pub fn remove_reader(&mut self, unique_id: u128) -> Result<Vec<EdgeStatus>, ControlError> {
        let unknown = ControlError::Unknown { unique_id };
        let reader = find_reader(&self.map, &self.table, unique_id).ok_or(unknown)?;
        if !self.seats.is_free(Seat::Reader(reader))? {
            return Err(ControlError::Alive { unique_id });
        }
        let before = self.table.clone();
        let mut entries = before.entries.clone();
        entries[reader] = Subscriber { since: entries[reader].since, ..Subscriber::default() };
        self.put_in_force(entries)?;
        for writer in 0..WRITERS {
            self.map.cell(writer, reader).pin.settle(0);
        }
        let writers = self.regions().map(|(owner, region)| status::of_writer(&self.map, &before, owner, &region));
        let edges = writers.flat_map(|writer| writer.edges).filter(|edge| edge.reader == unique_id).collect();
        self.sweep();
        Ok(edges)
    }

    fn put_in_force(&mut self, entries: Vec<Subscriber>) -> Result<(), ControlError> {
        let next = Table { version: self.table.version.wrapping_add(1), entries };
        next.store(self.map.table()).ok_or(ControlError::TableFull)?;
        self.table = next;
        Ok(())
    }

    /// Wakes everyone who sleeps: after every death, whose last wake-up may be missing.
    pub fn sweep(&self) {
        let control = self.map.get();
        let bells = control.readers.iter().map(|entry| &entry.bell.0);
        for bell in bells.chain(control.writers.iter().map(|entry| &entry.bell.0)) {
            waiting::ring(bell);
        }
    }

    /// Whether a process holds this writer's or reader's seat.
    ///
    /// # Errors
    /// [`ControlError::Segment`] when the system does not say.
    pub fn is_alive(&self, unique_id: u128) -> Result<bool, ControlError> {
        let writer = self.writer(unique_id).map(|owner| Seat::Writer(owner.entry));
        let reader = find_reader(&self.map, &self.table, unique_id).map(Seat::Reader);
        for seat in writer.into_iter().chain(reader) {
            if !self.seats.is_free(seat)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Who is subscribed, and how; in the order of their entries.
    #[must_use]
    pub fn readers(&self) -> Vec<(u128, Policy)> {
        let entries = self.table.entries.iter().enumerate();
        entries.filter_map(|(reader, entry)| Some((status::reader_id(&self.map, reader), entry.policy?))).collect()
    }

    /// Who has a region; in the order of their entries.
    #[must_use]
    pub fn writers(&self) -> Vec<u128> {
        self.owners().map(|owner| owner.unique_id).collect()
    }

    /// Writers whose region cannot be opened: somebody has removed or damaged it.
    #[must_use]
    pub fn unreadable(&self) -> Vec<u128> {
        let is_gone = |owner: &Owner| RegionMap::open_read_only(&self.map.name, *owner).is_err();
        self.owners().filter(is_gone).map(|owner| owner.unique_id).collect()
    }

    /// Whether others still find the control segment.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        ControlMap::open(&self.map.name).is_ok()
    }

    /// What goes on, counted.
    #[must_use]
    pub fn status(&self) -> RingStatus {
        let writers = self.regions().map(|(owner, region)| status::of_writer(&self.map, &self.table, owner, &region));
        RingStatus { writers: writers.collect() }
    }

    /// The edges that still owe something to a lossless reader.
    #[must_use]
    pub fn owed(&self) -> Vec<EdgeStatus> {
        let edges = self.status().writers.into_iter().flat_map(|writer| writer.edges);
        edges.filter(|edge| edge.policy == Policy::Lossless && edge.owed > 0).collect()
    }

    /// Removes all segments: the end of a ring that owes nothing, or what it owes was counted.
    ///
    /// # Errors
    /// [`ControlError::Segment`].
    pub fn remove(self) -> Result<(), ControlError> {
        remove_all(&self.map.name)?;
        Ok(())
    }

    fn owners(&self) -> impl Iterator<Item = Owner> {
        (0..WRITERS).filter_map(|entry| owner_of(&self.map, entry))
    }

    fn regions(&self) -> impl Iterator<Item = (Owner, RegionMap)> {
        self.owners().filter_map(|owner| Some((owner, RegionMap::open_read_only(&self.map.name, owner).ok()?)))
    }

    fn writer(&self, unique_id: u128) -> Option<Owner> {
        self.owners().find(|owner| owner.unique_id == unique_id)
    }

    fn writers_changed(&self) {
        let version = &self.map.get().writers_version.0;
        version.publish(Named::Commit, version.get().wrapping_add(1));
        self.sweep();
    }
}

fn remove_all(name: &RingName) -> Result<usize, SegmentError> {
    let mut names = name.regions()?;
    names.push(name.control());
    for name in &names {
        segment::unlink(name)?;
    }
    Ok(names.len())
}
