//! The two kinds of segment as typed memory: [`ControlMap`] and [`RegionMap`].
//!
//! Invariant: identity and geometry are copied out and checked once, when mapped; afterwards no address is computed
//! from a word that another process can change.
#![expect(unsafe_code, reason = "views mapped memory as the types of layout.rs")]

use crate::layout::{self, Alone, Control, Descriptor, Identity, LAYOUT, MAGIC, PAGE, Region};
use crate::protocol::Versioned;
use crate::record::{Bytes, Record};
use crate::segment::{self, Mapping, RingName, SegmentError};
use crate::sync::{Flag, Named};

/// The control segment of a supervisor.
#[derive(Debug)]
pub(crate) struct ControlMap {
    mapping: Mapping,
    pub(crate) name: RingName,
}

impl ControlMap {
    /// Makes it, all zeros but for its identity.
    pub(crate) fn create(name: &RingName) -> Result<Self, SegmentError> {
        let mapping = Mapping::create(&name.control(), size_of::<Control>())?;
        let map = Self { mapping, name: name.clone() };
        sign(&map.get().identity.0, size_of::<Control>())?;
        Ok(map)
    }

    /// Finds it, and checks whose it is.
    pub(crate) fn open(name: &RingName) -> Result<Self, SegmentError> {
        let mapping = Mapping::open(&name.control(), size_of::<Alone<Identity>>())?;
        // SAFETY: the mapping is page-aligned, long enough for an identity, and lives to the end of this function.
        let identity = unsafe { mapping.base().cast::<Alone<Identity>>().as_ref() };
        check(&name.control(), &identity.0, size_of::<Control>(), mapping.len())?;
        Ok(Self { mapping, name: name.clone() })
    }

    pub(crate) fn get(&self) -> &Control {
        // SAFETY: the mapping is page-aligned, was checked to be long enough, lives as long as `self`, and holds
        // atomics only, for which all values are valid and which others may change.
        unsafe { self.mapping.base().cast::<Control>().as_ref() }
    }

    pub(crate) fn table(&self) -> Versioned<'_> {
        let control = self.get();
        Versioned { version: &control.table_version.0, copies: [&control.tables[0], &control.tables[1]] }
    }

    pub(crate) fn cell(&self, writer: usize, reader: usize) -> &layout::Cell {
        &self.get().cells[writer][reader]
    }

    pub(crate) fn reader_bell(&self, reader: usize) -> &Flag {
        &self.get().readers[reader].bell.0
    }

    pub(crate) fn writer_bell(&self, writer: usize) -> &Flag {
        &self.get().writers[writer].bell.0
    }
}

/// How a region is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) places: u64,
    pub(crate) data_bytes: usize,
}

impl Shape {
    /// Most descriptors of a region.
    pub(crate) const MOST_PLACES: u64 = 1 << 20;
    /// Most data of a region: 64-byte units are counted in 32 bits.
    pub(crate) const MOST_BYTES: usize = 128 << 30;

    /// Whether a region may be cut like this; nothing else is computed from a shape that may not.
    pub(crate) fn is_possible(self) -> bool {
        let Self { places, data_bytes } = self;
        places.is_power_of_two()
            && (16..=Self::MOST_PLACES).contains(&places)
            && (1 << 16..=Self::MOST_BYTES).contains(&data_bytes)
            && data_bytes.is_multiple_of(PAGE)
    }

    fn data_offset(self) -> usize {
        let places = usize::try_from(self.places).expect("at most 2^20");
        PAGE + (places * size_of::<Descriptor>()).next_multiple_of(PAGE)
    }

    pub(crate) fn total(self) -> usize {
        self.data_offset() + self.data_bytes
    }

    pub(crate) fn data_units(self) -> u64 {
        (self.data_bytes / layout::ALIGNMENT) as u64
    }
}

/// Who a region is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) entry: usize,
    pub(crate) stamp: u64,
    pub(crate) unique_id: u128,
    pub(crate) first: u64,
}

/// The region of one writer.
#[derive(Debug)]
pub(crate) struct RegionMap {
    mapping: Mapping,
    pub(crate) shape: Shape,
}

impl RegionMap {
    /// Makes it: empty, its positions beginning at `owner.first`.
    pub(crate) fn create(name: &RingName, owner: Owner, shape: Shape) -> Result<Self, SegmentError> {
        let mapping = Mapping::create(&name.region(owner.entry, owner.stamp), shape.total())?;
        let map = Self { mapping, shape };
        let region = map.get();
        let geometry = &region.geometry.0;
        let [low, high] = id_words(owner.unique_id);
        geometry.unique_id[0].set(low);
        geometry.unique_id[1].set(high);
        geometry.stamp.set(owner.stamp);
        geometry.places.set(shape.places);
        geometry.data_offset.set(shape.data_offset() as u64);
        geometry.data_bytes.set(shape.data_bytes as u64);
        region.head.0.set(owner.first);
        region.reclaimed.0.set(owner.first);
        region.ledgers[0][0].set(owner.first);
        sign(&region.identity.0, shape.total())?;
        Ok(map)
    }

    pub(crate) fn open(name: &RingName, owner: Owner) -> Result<Self, SegmentError> {
        let segment = name.region(owner.entry, owner.stamp);
        Self::checked(&segment, Mapping::open(&segment, PAGE)?, owner)
    }

    pub(crate) fn open_read_only(name: &RingName, owner: Owner) -> Result<Self, SegmentError> {
        let segment = name.region(owner.entry, owner.stamp);
        Self::checked(&segment, Mapping::open_read_only(&segment, PAGE)?, owner)
    }

    fn checked(segment: &str, mapping: Mapping, owner: Owner) -> Result<Self, SegmentError> {
        let found = Self { mapping, shape: Shape { places: 0, data_bytes: 0 } };
        let region = found.get();
        let geometry = &region.geometry.0;
        let shape = Shape {
            places: geometry.places.get(),
            data_bytes: usize::try_from(geometry.data_bytes.get()).unwrap_or(usize::MAX),
        };
        if !shape.is_possible() {
            return Err(foreign(segment, "an impossible geometry"));
        }
        check(segment, &region.identity.0, shape.total(), found.mapping.len())?;
        let is_sane = geometry.data_offset.get() == shape.data_offset() as u64
            && geometry.stamp.get() == owner.stamp
            && [geometry.unique_id[0].get(), geometry.unique_id[1].get()] == id_words(owner.unique_id);
        if !is_sane {
            return Err(foreign(segment, "a geometry that is not its entry's"));
        }
        Ok(Self { shape, ..found })
    }

    pub(crate) fn get(&self) -> &Region {
        // SAFETY: the mapping is page-aligned and at least a page long, which holds a `Region`; it lives as long as
        // `self` and holds atomics only. Who mapped it read-only only loads.
        unsafe { self.mapping.base().cast::<Region>().as_ref() }
    }

    pub(crate) fn ledger(&self) -> Versioned<'_> {
        let region = self.get();
        Versioned { version: &region.ledger_version.0, copies: [&region.ledgers[0], &region.ledgers[1]] }
    }

    pub(crate) fn descriptor(&self, position: u64) -> &Descriptor {
        let place = usize::try_from(position & (self.shape.places - 1)).expect("below the number of places");
        // SAFETY: `place` is below `places`, whose descriptors lie between the first page and the data, inside the
        // mapping, as checked when it was made or opened.
        let at = unsafe { self.mapping.base().byte_add(PAGE + place * size_of::<Descriptor>()) };
        // SAFETY: 64-byte aligned, inside the mapping, atomics only, lives as long as `self`.
        unsafe { at.cast::<Descriptor>().as_ref() }
    }

    /// What the descriptor of `position` says, if it can be believed.
    pub(crate) fn record(&self, position: u64) -> Option<Record> {
        Record::checked(Record::copy_out(self.descriptor(position)), position, self.shape.data_units())
    }

    /// Where a range of the data area begins in this process.
    ///
    /// # Panics
    /// If the range does not lie inside the data area: callers have it from [`Record::checked`] or the allocator.
    pub(crate) fn data(&self, bytes: Bytes) -> std::ptr::NonNull<u8> {
        assert!(bytes.end() <= self.shape.data_units(), "a range inside the data area");
        // SAFETY: the data area lies inside the mapping, and the range inside the data area.
        unsafe { self.mapping.base().byte_add(self.shape.data_offset() + bytes.start_byte()) }
    }
}

pub(crate) fn id_words(id: u128) -> [u64; 2] {
    let half = |value: u128| u64::try_from(value & u128::from(u64::MAX)).expect("masked to 64 bits");
    [half(id), half(id >> 64)]
}

pub(crate) fn id_from_words([low, high]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Signs a new segment; the magic comes last.
fn sign(identity: &Identity, bytes: usize) -> Result<(), SegmentError> {
    identity.layout.set(LAYOUT);
    identity.size.set(bytes as u64);
    for (word, value) in identity.boot_id.iter().zip(segment::boot_id()?) {
        word.set(value);
    }
    identity.uid.set(u64::from(segment::own_uid()));
    identity.magic.publish(Named::Commit, MAGIC);
    Ok(())
}

fn check(name: &str, identity: &Identity, expected: usize, mapped: usize) -> Result<(), SegmentError> {
    if identity.magic.observe() == 0 {
        return Err(SegmentError::Unfinished(name.to_owned()));
    }
    if identity.magic.observe() != MAGIC {
        return Err(foreign(name, "no signature"));
    }
    if identity.layout.get() != LAYOUT {
        return Err(foreign(name, &format!("layout {}, ours is {LAYOUT}", identity.layout.get())));
    }
    if identity.size.get() != expected as u64 || mapped < expected {
        return Err(foreign(name, &format!("{mapped} bytes, {expected} expected")));
    }
    if identity.uid.get() != u64::from(segment::own_uid()) {
        return Err(foreign(name, &format!("signed by user {}", identity.uid.get())));
    }
    if [identity.boot_id[0].get(), identity.boot_id[1].get()] != segment::boot_id()? {
        return Err(SegmentError::OtherBoot(name.to_owned()));
    }
    Ok(())
}

fn foreign(name: &str, found: &str) -> SegmentError {
    SegmentError::ForeignLayout { name: name.to_owned(), found: found.to_owned() }
}
