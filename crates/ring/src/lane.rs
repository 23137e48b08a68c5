//! What one reader sees of one writer: its walk through the region, and the deliveries that are out.
//!
//! ```text
//!   lossless   next ──▶ every record with my bit, in order; others are passed over
//!   latest     the newest record with my bit; pinned while it is looked at, one at a time
//! ```
//! Invariants: a descriptor is copied out, then checked, then used; a record is handed out only if it had not been
//! reclaimed after it was read (lossless: my missing acknowledgement holds it; lossy: my pin does).

use crate::delivery::Delivery;
use crate::front::Front;
use crate::layout::{Cell, WRITERS};
use crate::lock::LockFile;
use crate::maps::{ControlMap, Owner, RegionMap};
use crate::position::{distance, is_before, later};
use crate::protocol;
use crate::record::Record;
use crate::sync::Word;
use crate::waiting::{self, Bed};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

/// Lossy: for each writer entry, whether a delivery is out. A cell has one pin, also when the entry changes hands while
/// a delivery of the old owner is out: the new one has to wait.
#[derive(Debug)]
pub(crate) struct Pins([AtomicBool; WRITERS]);

impl Pins {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(std::array::from_fn(|_| AtomicBool::new(false))))
    }
}

/// What a lane shares with its deliveries, on any thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) control: Arc<ControlMap>,
    pub(crate) region: RegionMap,
    pub(crate) owner: Owner,
    pub(crate) reader: usize,
    pub(crate) bed: Arc<Bed>,
    /// Nobody takes the reader's seat while a delivery is out: the cell has one author.
    _seat: Arc<LockFile>,
    /// `None`: the entry has another owner now, late acknowledgements mean nothing.
    front: Mutex<Option<Front>>,
    /// See [`Pins`].
    pins: Arc<Pins>,
}

impl Shared {
    pub(crate) fn cell(&self) -> &Cell {
        self.control.cell(self.owner.entry, self.reader)
    }

    fn is_pinned(&self) -> &AtomicBool {
        &self.pins.0[self.owner.entry]
    }

    /// The records `from..to` are done with; `true` if the shared word rose.
    fn finish(&self, from: u64, to: u64) -> bool {
        let mut front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
        let risen = front.as_mut().and_then(|front| front.finish(from, to));
        // Stored under the lock: the word must not fall.
        if let Some(acked) = risen {
            protocol::ack(&self.cell().acked, acked);
        }
        risen.is_some()
    }

    pub(crate) fn acknowledge(&self, position: u64) {
        if self.finish(position, position.wrapping_add(1)) {
            waiting::ring(self.control.writer_bell(self.owner.entry));
        }
    }

    pub(crate) fn release(&self) {
        protocol::unpin(&self.cell().pin);
        self.is_pinned().store(false, SeqCst);
        waiting::ring(self.control.writer_bell(self.owner.entry));
        waiting::ring(self.bed.bell());
    }
}

#[derive(Debug)]
pub(crate) struct Lane {
    shared: Arc<Shared>,
    /// The table version at which this reader joined.
    since: u64,
    next: u64,
    /// What is committed, when last looked at.
    head: u64,
    /// A head that makes no sense: no news until it changes.
    ignored_head: Option<u64>,
    redelivered_below: u64,
    is_lossless: bool,
}

/// For whom a lane is opened.
#[derive(Debug, Clone)]
pub(crate) struct Seeker {
    pub(crate) control: Arc<ControlMap>,
    pub(crate) reader: usize,
    pub(crate) since: u64,
    pub(crate) is_lossless: bool,
    pub(crate) bed: Arc<Bed>,
    pub(crate) seat: Arc<LockFile>,
    pub(crate) pins: Arc<Pins>,
}

impl Lane {
    /// Goes on where this reader, or its predecessor, ended.
    pub(crate) fn new(seeker: &Seeker, region: RegionMap, owner: Owner) -> Self {
        let cell = seeker.control.cell(owner.entry, seeker.reader);
        let reclaimed = region.get().reclaimed.0.observe();
        let seen = cell.seen.get();
        let acked = if seeker.is_lossless { cell.acked.get() } else { seen };
        let next = later(acked, reclaimed);
        let front = seeker.is_lossless.then(|| Front::new(next, region.shape.places));
        let shared = Arc::new(Shared {
            control: Arc::clone(&seeker.control),
            region,
            owner,
            reader: seeker.reader,
            bed: Arc::clone(&seeker.bed),
            _seat: Arc::clone(&seeker.seat),
            front: Mutex::new(front),
            pins: Arc::clone(&seeker.pins),
        });
        let (since, is_lossless) = (seeker.since, seeker.is_lossless);
        Self { shared, since, next, head: next, ignored_head: None, redelivered_below: seen, is_lossless }
    }

    /// Whether it looks at the region that this owner has.
    pub(crate) fn is_of(&self, owner: &Owner) -> bool {
        (self.shared.owner.entry, self.shared.owner.stamp) == (owner.entry, owner.stamp)
    }

    /// Deliveries that are still out go on looking at their bytes; their acknowledgements mean nothing any more.
    pub(crate) fn close(self) {
        *self.shared.front.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether [`Lane::take`] is worth a try.
    pub(crate) fn has_news(&self) -> bool {
        let head = protocol::observe_head(&self.shared.region.get().head.0);
        let is_free = self.is_lossless || !self.shared.is_pinned().load(SeqCst);
        is_free && is_before(self.next, head) && self.ignored_head != Some(head)
    }

    pub(crate) fn take(&mut self) -> Option<Delivery> {
        if self.is_lossless { self.take_next() } else { self.take_latest() }
    }

    fn take_next(&mut self) -> Option<Delivery> {
        let begin = self.next;
        let found = self.walk();
        if begin != self.next {
            self.shared.finish(begin, self.next);
        }
        let record = found?;
        self.next = record.position.wrapping_add(1);
        let redelivered = is_before(record.position, self.redelivered_below);
        if redelivered {
            count(&self.shared.cell().again);
        }
        Some(self.hand_out(record, redelivered))
    }

    /// Moves `next` to the next record for this reader.
    fn walk(&mut self) -> Option<Record> {
        loop {
            if self.next == self.head && !self.look_at_head() {
                return None;
            }
            let region = &self.shared.region;
            let words = Record::copy_out(region.descriptor(self.next));
            if !protocol::still_there(&region.get().reclaimed.0, self.next) {
                self.next = region.get().reclaimed.0.get();
                self.head = self.next;
                continue;
            }
            match Record::checked(words, self.next, region.shape.data_units()) {
                Some(record) if record.route.leads_to(self.shared.reader, self.since) => return Some(record),
                Some(_) => {}
                None => count(&self.shared.cell().damaged),
            }
            self.next = self.next.wrapping_add(1);
        }
    }

    /// Learns what is committed; `false`: nothing new, or nothing that makes sense.
    fn look_at_head(&mut self) -> bool {
        let region = self.shared.region.get();
        let head = protocol::observe_head(&region.head.0);
        if !is_before(self.next, head) || self.ignored_head == Some(head) {
            return false;
        }
        let first = later(self.next, region.reclaimed.0.observe());
        if is_before(head, first) || distance(first, head) > self.shared.region.shape.places {
            count(&self.shared.cell().damaged);
            self.ignored_head = Some(head);
            return false;
        }
        (self.next, self.head, self.ignored_head) = (first, head, None);
        self.next != self.head
    }

    fn take_latest(&mut self) -> Option<Delivery> {
        const TRIES: usize = 8;
        if self.shared.is_pinned().load(SeqCst) {
            return None;
        }
        for _ in 0..TRIES {
            self.head = self.next;
            if !self.look_at_head() {
                return None;
            }
            let Some(record) = self.newest() else { continue };
            let Some(record) = record else {
                self.next = self.head;
                self.shared.cell().seen.set(self.next);
                return None;
            };
            let reclaimed = &self.shared.region.get().reclaimed.0;
            if protocol::pin(&self.shared.cell().pin, record.bytes.to_word(), reclaimed, record.position) {
                self.shared.is_pinned().store(true, SeqCst);
                self.next = record.position.wrapping_add(1);
                return Some(self.hand_out(record, false));
            }
        }
        None
    }

    /// The newest record for this reader in `next..head`, if there is one; the outer `None`: overtaken while looking.
    #[expect(clippy::option_option, reason = "two different absences, told apart at the one call")]
    fn newest(&self) -> Option<Option<Record>> {
        let region = &self.shared.region;
        for back in 1..=distance(self.next, self.head) {
            let position = self.head.wrapping_sub(back);
            let words = Record::copy_out(region.descriptor(position));
            if !protocol::still_there(&region.get().reclaimed.0, position) {
                return None;
            }
            match Record::checked(words, position, region.shape.data_units()) {
                Some(record) if record.route.leads_to(self.shared.reader, self.since) => return Some(Some(record)),
                Some(_) => {}
                None => count(&self.shared.cell().damaged),
            }
        }
        Some(None)
    }

    fn hand_out(&self, record: Record, redelivered: bool) -> Delivery {
        let cell = self.shared.cell();
        cell.seen.set(later(cell.seen.get(), record.position.wrapping_add(1)));
        count(&cell.taken);
        Delivery::new(Arc::clone(&self.shared), record, redelivered, self.is_lossless)
    }
}

/// Adds one to a figure that this process alone writes.
fn count(figure: &Word) {
    figure.set(figure.get().wrapping_add(1));
}
