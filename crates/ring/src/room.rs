//! Room for records: which bytes and places of a region are in use, and when they may be used again.
//!
//! ```text
//!   live      committed, not reclaimed, in order      ──reclaim──▶  free, or
//!   pinned    reclaimed, but a lossy reader still looks at the bytes: passed by until the pin is gone
//! ```
//! A record is done when every active lossless reader that it was routed to has acknowledged it. The newest few that a
//! lossy reader may want stay until their room is needed. Invariants: `reclaimed` is stored before a byte or a
//! descriptor is used again; nothing here believes a word that another process wrote except as a position to compare.

use crate::allocator::Allocator;
use crate::layout::READERS;
use crate::lock::OpenError;
use crate::maps::{ControlMap, RegionMap};
use crate::position::{self, distance, is_before};
use crate::protocol;
use crate::record::{Bytes, Route, bits};
use crate::routes::Routes;
use std::collections::VecDeque;

/// So many of the newest records stay for lossy readers while there is room.
const KEPT_FOR_LATEST: u64 = 4;
/// Acknowledgements are looked at each time that this many units (64 KiB) have been taken.
const COLLECT_AFTER_UNITS: u32 = 1024;

/// What the writer has to know of a committed record until it is reclaimed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    pub(crate) bytes: Bytes,
    pub(crate) route: Route,
}

#[derive(Debug)]
pub(crate) struct Room {
    allocator: Allocator,
    live: VecDeque<Live>,
    pinned: Vec<Bytes>,
    /// What each reader had acknowledged when we last looked.
    acked: [u64; READERS],
    reclaimed: u64,
    places: usize,
    taken_since: u32,
}

/// How far to reclaim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reclaim {
    /// All that is done, but what lossy readers may want.
    Comfortable,
    /// One record at least, if one is done.
    Needed,
}

/// Where a room's words lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) control: &'a ControlMap,
    pub(crate) region: &'a RegionMap,
    pub(crate) entry: usize,
}

impl Room {
    /// The room as a predecessor left it: what is live and what is pinned is in use, all else is free.
    pub(crate) fn rebuild(site: Site<'_>) -> Result<Self, OpenError> {
        let Site { control, region, entry } = site;
        let damaged = |what: &'static str| OpenError::Damaged { entry, what };
        let head = region.get().head.0.observe();
        let reclaimed = region.get().reclaimed.0.observe();
        let places = usize::try_from(region.shape.places).map_err(|_| damaged("places"))?;
        if head.wrapping_sub(reclaimed) > region.shape.places {
            return Err(damaged("head and reclaimed"));
        }
        let units = u32::try_from(region.shape.data_units()).map_err(|_| damaged("data size"))?;
        let mut allocator = Allocator::new(units, places + READERS + 1);
        let mut live = VecDeque::with_capacity(places);
        for position in position::range(reclaimed, head) {
            let record = region.record(position).ok_or_else(|| damaged("descriptor"))?;
            if !allocator.take_exactly(record.bytes) {
                return Err(damaged("overlapping records"));
            }
            live.push_back(Live { bytes: record.bytes, route: record.route });
        }
        // Reclaims of the predecessor come before our look at the pins, as after its own `reclaim`.
        protocol::reclaim(&region.get().reclaimed.0, reclaimed);
        let mut pinned = Vec::with_capacity(READERS * 2);
        for reader in 0..READERS {
            let bytes = Bytes::from_word(control.cell(entry, reader).pin.observe());
            // A pin on a live record is found when that is reclaimed; one across records holds nothing.
            if bytes.units > 0 && bytes.end() <= u64::from(units) && allocator.take_exactly(bytes) {
                pinned.push(bytes);
            }
        }
        Ok(Self { allocator, live, pinned, acked: [reclaimed; READERS], reclaimed, places, taken_since: 0 })
    }

    /// Bytes in use.
    pub(crate) fn used_units(&self) -> u64 {
        self.allocator.used_units()
    }

    /// Room for a record: reclaims from time to time, and as far as needed if there is none.
    pub(crate) fn take(&mut self, units: u32, site: Site<'_>, routes: &Routes) -> Option<Bytes> {
        if self.taken_since >= COLLECT_AFTER_UNITS || self.live.len() >= self.places {
            self.reclaim(Reclaim::Comfortable, site, routes);
        }
        let mut taken = self.take_free(units);
        if taken.is_none() {
            self.reclaim(Reclaim::Comfortable, site, routes);
            taken = self.take_free(units);
        }
        while taken.is_none() && self.reclaim(Reclaim::Needed, site, routes) {
            taken = self.take_free(units);
        }
        taken
    }

    fn take_free(&mut self, units: u32) -> Option<Bytes> {
        if self.live.len() >= self.places {
            return None;
        }
        let bytes = self.allocator.take(units)?;
        self.taken_since = self.taken_since.saturating_add(units);
        Some(bytes)
    }

    /// Bytes that were taken and not committed.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        self.allocator.give_back(bytes);
    }

    /// A record was committed.
    pub(crate) fn push(&mut self, record: Live) {
        self.live.push_back(record);
    }

    /// Reclaims; `true` if it made room.
    fn reclaim(&mut self, how: Reclaim, site: Site<'_>, routes: &Routes) -> bool {
        self.taken_since = 0;
        let unpinned = self.sweep_pinned(site);
        let count = self.count_done(how, site, routes);
        if count == 0 {
            return unpinned;
        }
        self.reclaimed = self.reclaimed.wrapping_add(count as u64);
        protocol::reclaim(&site.region.get().reclaimed.0, self.reclaimed);
        for record in self.live.drain(..count) {
            let word = record.bytes.to_word();
            let is_pinned =
                bits(record.route.mask).any(|r| protocol::is_pinned(&site.control.cell(site.entry, r).pin, word));
            if is_pinned {
                self.pinned.push(record.bytes);
            } else {
                self.allocator.give_back(record.bytes);
            }
        }
        true
    }

    /// How many of the oldest records may be reclaimed.
    fn count_done(&mut self, how: Reclaim, site: Site<'_>, routes: &Routes) -> usize {
        let head = self.reclaimed.wrapping_add(self.live.len() as u64);
        let mut count = 0;
        for (position, record) in position::range(self.reclaimed, head).zip(&self.live) {
            let is_kept = match how {
                Reclaim::Comfortable => {
                    record.route.mask & routes.latest != 0 && distance(position, head) <= KEPT_FOR_LATEST
                }
                Reclaim::Needed => count > 0,
            };
            if is_kept || !is_done(position, record.route, &mut self.acked, (site, routes)) {
                break;
            }
            count += 1;
        }
        count
    }

    /// Frees what is no longer looked at.
    fn sweep_pinned(&mut self, site: Site<'_>) -> bool {
        let before = self.pinned.len();
        let allocator = &mut self.allocator;
        self.pinned.retain(|&bytes| {
            let word = bytes.to_word();
            let is_held = (0..READERS).any(|r| protocol::is_pinned(&site.control.cell(site.entry, r).pin, word));
            if !is_held {
                allocator.give_back(bytes);
            }
            is_held
        });
        self.pinned.len() < before
    }
}

/// Whether every active lossless reader of the record has acknowledged it.
fn is_done(position: u64, route: Route, acked: &mut [u64; READERS], (site, routes): (Site<'_>, &Routes)) -> bool {
    bits(route.mask & routes.lossless).all(|r| {
        if !route.leads_to(r, routes.table.entries[r].since) {
            return true;
        }
        if !is_before(position, acked[r]) {
            acked[r] = protocol::observe_acked(&site.control.cell(site.entry, r).acked);
        }
        is_before(position, acked[r])
    })
}
