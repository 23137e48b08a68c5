//! The writing side: claim room, fill it in place, commit.
//!
//! ```text
//!   claim ──▶ Claim (envelope_mut, payload_mut) ──commit──▶ on its way to every reader that was subscribed
//!     │          └─drop──▶ given up, no trace
//!     └▶ ClaimError: unrouted · too large · no room in time · stopped
//! ```
//! Invariants: one author a region (the seat is locked for life); a commit is one store; in the steady state a
//! publication makes no read-modify-write, no system call while its readers are awake, and no allocation. A writer
//! that dies leaves nothing to repair: the next one rebuilds its room and goes on at `head`.

use crate::claim::{Claim, ClaimError};
use crate::layout::{ALIGNMENT, WRITERS};
use crate::ledger::Ledger;
use crate::lock::{LockFile, OpenError, Seat};
use crate::maps::{ControlMap, Owner, RegionMap, id_from_words};
use crate::position::distance;
use crate::protocol;
use crate::record::{Bytes, Record, Route, Size, bits};
use crate::room::{Live, Room, Site};
use crate::routes::Routes;
use crate::segment::RingName;
use crate::waiting::{self, Bed, Sleeper, Spin, Spinning, Until, Waker};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which writer a process is.
#[derive(Debug, Clone)]
pub struct WriterSpec {
    /// The supervisor's ring.
    pub ring: RingName,
    /// The job's unique id, as the supervisor added it.
    pub unique_id: u128,
    /// How long to spin for room before sleeping.
    pub spin: Spin,
}

/// The one author of a region.
pub struct Writer {
    control: Arc<ControlMap>,
    region: RegionMap,
    entry: usize,
    routes: Routes,
    room: Room,
    ledger: Ledger,
    /// Up to here the ledger in force counts.
    counted: u64,
    head: u64,
    epoch: u64,
    epoch_first: u64,
    spin: Spin,
    bed: Arc<Bed>,
    _seat: LockFile,
}

impl Writer {
    /// Takes the writer's seat, and goes on where its predecessor ended.
    ///
    /// # Errors
    /// [`OpenError`]; in particular when the predecessor still lives.
    pub fn open(spec: &WriterSpec) -> Result<Self, OpenError> {
        let control = Arc::new(ControlMap::open(&spec.ring)?);
        let unique_id = spec.unique_id;
        let find = || {
            let owner = (0..WRITERS).find_map(|entry| owner_of(&control, entry).filter(|o| o.unique_id == unique_id));
            owner.ok_or(OpenError::Unknown { unique_id })
        };
        let owner = find()?;
        let seat = LockFile::open(&spec.ring.control())?;
        if !seat.try_hold(Seat::Writer(owner.entry))? {
            return Err(OpenError::Alive { unique_id });
        }
        // The entry may have changed hands before the seat was ours; now it cannot any more.
        if find()? != owner {
            return Err(OpenError::Unknown { unique_id });
        }
        let region = RegionMap::open(&spec.ring, owner)?;
        let room = Room::rebuild(Site { control: &control, region: &region, entry: owner.entry })?;
        let routes = Routes::load(&control);
        let ledger =
            Ledger::recount(&region, &routes.table).ok_or(OpenError::Damaged { entry: owner.entry, what: "ledger" })?;
        let head = region.get().head.0.observe();
        let epoch = random_epoch();
        region.get().epoch.0.number.set(epoch);
        region.get().epoch.0.first.set(head);
        region.get().figures.0.waiting_since_ns.set(0);
        let bed = Bed::new(Arc::clone(&control), Sleeper::Writer(owner.entry));
        let counted = head;
        let mut writer = Self {
            control,
            region,
            entry: owner.entry,
            routes,
            room,
            ledger,
            counted,
            head,
            epoch,
            epoch_first: head,
            spin: spec.spin,
            bed,
            _seat: seat,
        };
        writer.store_ledger();
        Ok(writer)
    }

    /// The number of this start of the writer; random.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Interrupts this writer's waits.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.bed.waker()
    }

    /// The most bytes that a record may take, envelope and payload each rounded up to 64.
    #[must_use]
    pub fn largest_record(&self) -> usize {
        self.region.shape.data_bytes / 2
    }

    /// Room for a record to all who subscribe to one of `topics`. Waits for it until the deadline or stop.
    ///
    /// # Errors
    /// [`ClaimError`]: what the caller can do differs.
    pub fn claim<T: AsRef<str>>(
        &mut self,
        topics: &[T],
        size: Size,
        until: Until<'_>,
    ) -> Result<Claim<'_>, ClaimError> {
        let limit = self.largest_record();
        let too_large = ClaimError::TooLarge { bytes: size.envelope.saturating_add(size.payload), limit };
        let units = size.units().filter(|&units| u64::from(units) <= self.region.shape.data_units() / 2);
        let units = units.ok_or(too_large)?;
        let (mask, bytes) = match self.try_claim(topics, units)? {
            Some(claimed) => claimed,
            None => self.wait_for_room(topics, units, until)?,
        };
        self.show_used();
        let record = Record {
            position: self.head,
            epoch: self.epoch,
            seq: self.head.wrapping_sub(self.epoch_first),
            route: Route { mask, version: self.routes.table.version },
            bytes,
            size,
        };
        Ok(Claim::new(self, record))
    }

    /// Counts a message that was not sent for want of room as dropped, for each reader that should have had it.
    pub fn count_dropped<T: AsRef<str>>(&mut self, topics: &[T]) {
        self.routes.refresh(&self.control);
        let mask = self.routes.mask(topics);
        self.ledger.add_dropped(mask, &self.routes.table);
        self.store_ledger();
    }

    fn try_claim<T: AsRef<str>>(&mut self, topics: &[T], units: u32) -> Result<Option<(u64, Bytes)>, ClaimError> {
        self.routes.refresh(&self.control);
        let mask = self.routes.mask(topics);
        if mask == 0 {
            let unrouted = &self.region.get().figures.0.unrouted;
            unrouted.set(unrouted.get().wrapping_add(1));
            return Err(ClaimError::Unrouted);
        }
        let site = Site { control: &self.control, region: &self.region, entry: self.entry };
        Ok(self.room.take(units, site, &self.routes).map(|bytes| (mask, bytes)))
    }

    #[cold]
    fn wait_for_room<T: AsRef<str>>(
        &mut self,
        topics: &[T],
        units: u32,
        until: Until<'_>,
    ) -> Result<(u64, Bytes), ClaimError> {
        let begin = Instant::now();
        self.region.get().figures.0.waiting_since_ns.set(monotonic_ns());
        let outcome = self.spin_then_sleep(topics, units, until);
        let figures = &self.region.get().figures.0;
        figures.waited_ns.set(figures.waited_ns.get().wrapping_add(nanoseconds(begin.elapsed())));
        figures.waiting_since_ns.set(0);
        outcome
    }

    fn spin_then_sleep<T: AsRef<str>>(
        &mut self,
        topics: &[T],
        units: u32,
        until: Until<'_>,
    ) -> Result<(u64, Bytes), ClaimError> {
        let bed = Arc::clone(&self.bed);
        loop {
            let spinning = Spinning::new(self.spin);
            while spinning.turn() {
                if let Some(claimed) = self.check_wait(topics, units, &until)? {
                    return Ok(claimed);
                }
            }
            let mut last_look = Ok(None);
            bed.sleep(&until, || {
                last_look = self.check_wait(topics, units, &until);
                !matches!(last_look, Ok(None))
            });
            bed.was_called();
            if let Some(claimed) = last_look? {
                return Ok(claimed);
            }
        }
    }

    fn check_wait<T: AsRef<str>>(
        &mut self,
        topics: &[T],
        units: u32,
        until: &Until<'_>,
    ) -> Result<Option<(u64, Bytes)>, ClaimError> {
        let claimed = self.try_claim(topics, units)?;
        match claimed {
            Some(_) => Ok(claimed),
            None if until.is_stopped() => Err(ClaimError::Stopped),
            None if until.is_over() => Err(ClaimError::NoRoom),
            None => Ok(None),
        }
    }

    /// Sends what a claim has filled.
    pub(crate) fn commit(&mut self, record: Record) -> u64 {
        record.write(self.region.descriptor(record.position));
        self.head = record.position.wrapping_add(1);
        protocol::commit(&self.region.get().head.0, self.head);
        protocol::announce();
        for reader in bits(record.route.mask) {
            let bell = self.control.reader_bell(reader);
            if protocol::is_asleep(bell) {
                waiting::wake(bell);
            }
        }
        self.room.push(Live { bytes: record.bytes, route: record.route });
        self.ledger.add_routed(record.route.mask, &self.routes.table);
        if distance(self.counted, self.head) >= self.region.shape.places / 2 {
            self.store_ledger();
        }
        record.position
    }

    /// Takes back bytes that were not committed.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        self.room.give_back(bytes);
        self.show_used();
    }

    /// Where the bytes of a claim lie.
    pub(crate) fn data(&self, bytes: Bytes) -> NonNull<u8> {
        self.region.data(bytes)
    }

    fn show_used(&self) {
        self.region.get().figures.0.used_bytes.set(self.room.used_units() * ALIGNMENT as u64);
    }

    fn store_ledger(&mut self) {
        self.ledger.upto = self.head;
        self.ledger.store(&self.region);
        self.counted = self.head;
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, head, epoch, .. } = self;
        f.debug_struct("Writer").field("entry", entry).field("head", head).field("epoch", epoch).finish_non_exhaustive()
    }
}

/// Who owns a writer entry now.
pub(crate) fn owner_of(control: &ControlMap, entry: usize) -> Option<Owner> {
    let words = &control.get().writers[entry].owner.0;
    let stamp = words.stamp.observe();
    let unique_id = id_from_words([words.unique_id[0].get(), words.unique_id[1].get()]);
    (stamp & 1 == 1).then(|| Owner { entry, stamp, unique_id, first: words.first.get() })
}

fn random_epoch() -> u64 {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    debug_assert!(filled.is_ok(), "eight bytes are always given");
    // 0 means "no epoch yet".
    u64::from_le_bytes(bytes).max(1)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).map_or(0, nanoseconds).max(1)
}
