//! The way out of a job: into the ring where that can be, else over the bus.
//!
//! ```text
//!                       ┌─ claim, fill in place, commit ──▶ ring ──▶ readers of the ring
//!   message ── data ────┤      └─ a copy ──▶ bus ~copy.T ──▶ jobs that do not read the ring, if there are any
//!              │        └─ no region, or too large ──▶ bus T, ~bus.T ──▶ everybody
//!              └ control ──▶ bus T
//! ```
//! Invariants: who gets a message gets it by one way; messages that take the same way keep their order; what was given up
//! is counted; what nobody subscribed is counted, and not filled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use enrgdaq_ring::{ClaimError, Size, Until, Writer};
use parking_lot::{Mutex, MutexGuard};
use smallvec::smallvec;

use super::stop::StopBell;
use super::tally::Tally;
use crate::bus::{self, Deadline, PublishError, Tracked};
use crate::message::{
    AlignedBytes, EncodeError, Message, MessageId, Origin, Payload, PayloadInfo, PayloadKind, PayloadList, Plane,
    Prepared, Topic,
};
use crate::os::now_ns;

/// Payloads of one message begin at multiples of this in the ring.
const ALIGNMENT: usize = enrgdaq_ring::ALIGNMENT;

/// Who publishes for so long waits for room.
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// Sends what a job publishes; any thread may use it.
#[derive(Debug)]
pub(super) struct Outlet {
    bus: bus::Publisher,
    ring: Option<Mutex<RingSide>>,
    tally: Arc<Tally>,
    origin: Origin,
    stop: StopBell,
    /// Is never set.
    never: enrgdaq_ring::Stop,
    /// Begun and ended claims of room in the ring: odd while one lasts. Author: who has the writer.
    claims: AtomicU64,
    /// So many threads publish over the bus.
    on_bus: AtomicU32,
}

#[derive(Debug)]
struct RingSide {
    writer: Writer,
    is_told_of_large: bool,
}

/// How a message is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) deadline: Deadline,
    /// Not by the ring.
    pub(super) over_bus: bool,
    /// These are last words: they wait for room until the deadline although the job is to stop.
    pub(super) despite_stop: bool,
    /// The message is kept if there is no room: it is not lost, and does not count as dropped.
    pub(super) is_kept: bool,
}

impl Manner {
    fn plain(deadline: Deadline) -> Self {
        Self { deadline, over_bus: false, despite_stop: false, is_kept: false }
    }
}

/// Messages of one kind to the same topics: all that is the same, prepared.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) message: Message,
    pub(super) topics: Vec<Topic>,
    pub(super) kind: PayloadKind,
    prepared: Prepared,
}

impl Outlet {
    pub(super) fn new(
        bus: bus::Publisher,
        writer: Option<Writer>,
        (tally, origin, stop): (Arc<Tally>, Origin, StopBell),
    ) -> Self {
        let ring = writer.map(|writer| Mutex::new(RingSide { writer, is_told_of_large: false }));
        let (claims, on_bus) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { bus, ring, tally, origin, stop, never: enrgdaq_ring::Stop::new(), claims, on_bus }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.has_rung()
    }

    pub(super) fn stop(&self) -> &StopBell {
        &self.stop
    }

    /// Whether somebody waits for room: readers hold the job up, it does not hang. Takes a moment to look twice where somebody
    /// publishes.
    pub(super) fn is_held_up(&self) -> bool {
        let seen = self.claims.load(Relaxed);
        let is_on_bus = self.on_bus.load(Relaxed) > 0;
        if seen.is_multiple_of(2) && !is_on_bus {
            return false;
        }
        thread::sleep(SECOND_LOOK);
        let is_same_claim = !seen.is_multiple_of(2) && self.claims.load(Relaxed) == seen;
        is_same_claim || is_on_bus && self.on_bus.load(Relaxed) > 0
    }

    fn note_claim(&self) {
        self.claims.store(self.claims.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(super) fn bus(&self) -> &bus::Publisher {
        &self.bus
    }

    pub(super) fn supervisor_id(&self) -> &str {
        &self.origin.supervisor_id
    }

    /// What is the same for all messages like this one, whose payloads are set aside.
    pub(super) fn line(
        &self,
        topics: Vec<Topic>,
        mut message: Message,
        kind: PayloadKind,
    ) -> Result<Line, EncodeError> {
        message.payloads.clear();
        let prepared = Prepared::new(&message, &self.origin, &topics)?;
        Ok(Line { message, topics, kind, prepared })
    }

    /// Sends a whole message.
    pub(super) fn publish(&self, topics: &[Topic], message: &Message, deadline: Deadline) -> Result<(), PublishError> {
        if topics.first().is_some_and(|topic| topic.plane() == Plane::Control) || self.ring.is_none() {
            return self.by_bus(topics, message, Manner::plain(deadline));
        }
        let infos = in_ring(&message.payloads);
        let size = infos.last().map_or(0, |info| info.offset.unwrap_or(0) + info.len);
        let prepared = Prepared::new(message, &self.origin, topics)?;
        let fill = |bytes: &mut [u8]| {
            for (info, payload) in infos.iter().zip(&message.payloads) {
                let start = to_usize(info.offset.unwrap_or(0));
                bytes[start..start + payload.bytes.len()].copy_from_slice(&payload.bytes);
            }
            Some(bytes.len())
        };
        let letter = Letter { topics, prepared: &prepared, infos: &infos };
        let manner = Manner::plain(deadline);
        match self.by_ring(&letter, to_usize(size), manner, fill)? {
            Way::Ring { outsiders: true, .. } => self.copies_beside(topics, message, manner),
            Way::Outsiders(_) => return self.to_outsiders(topics, message, manner),
            Way::Ring { .. } | Way::Nowhere => {}
            Way::Bus(_) => return self.by_bus(topics, message, manner),
        }
        Ok(())
    }

    /// Sends a message of a line, whose one payload of at most `size` bytes is filled in where it is to lie. `fill` gives how
    /// many bytes it has, or `None` to give up.
    pub(super) fn send(
        &self,
        line: &Line,
        size: usize,
        manner: Manner,
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), PublishError> {
        let way = if manner.over_bus || self.ring.is_none() {
            Way::Bus(fill)
        } else {
            let infos = [PayloadInfo { kind: line.kind, len: size as u64, offset: Some(0) }];
            let letter = Letter { topics: &line.topics, prepared: &line.prepared, infos: &infos };
            self.by_ring(&letter, size, manner, fill)?
        };
        match way {
            Way::Ring { outsiders: false, .. } | Way::Nowhere => {}
            Way::Ring { bytes, .. } => self.copies_beside(&line.topics, &with_payload(line, bytes), manner),
            Way::Outsiders(fill) => {
                if let Some(bytes) = filled(size, fill) {
                    return self.to_outsiders(&line.topics, &with_payload(line, bytes), manner);
                }
            }
            Way::Bus(fill) => {
                if let Some(bytes) = filled(size, fill) {
                    return self.by_bus(&line.topics, &with_payload(line, bytes), manner);
                }
            }
        }
        Ok(())
    }

    /// A message that was kept is given up after all: it counts as dropped.
    pub(super) fn give_up(&self, topics: &[Topic], over_bus: bool) {
        match self.ring.as_ref().filter(|_| !over_bus) {
            Some(ring) => {
                ring.lock().writer.count_dropped(topics);
                self.tally.dropped_in_ring();
            }
            None => self.tally.dropped(topics),
        }
    }

    /// Into the ring, or the word which other way is to be taken.
    fn by_ring<F: FnOnce(&mut [u8]) -> Option<usize>>(
        &self,
        letter: &Letter<'_>,
        size: usize,
        Manner { deadline, despite_stop, is_kept, .. }: Manner,
        fill: F,
    ) -> Result<Way<F>, PublishError> {
        let topic = || letter.topics.first().cloned().unwrap_or_else(|| Topic::broadcast(""));
        if deadline == Deadline::Stop && self.stop.has_rung() {
            return Err(PublishError::Stopping { topic: topic(), sent: None });
        }
        let stop = Until::stopped(if despite_stop { &self.never } else { self.stop.of_ring() });
        let (until, lock_until) = match deadline {
            Deadline::Stop => (stop, None),
            Deadline::Within(wait) => {
                let then = Instant::now().checked_add(wait);
                (then.map_or(stop, |then| stop.or_at(then)), then)
            }
        };
        let Some(mut side) = self.side(lock_until) else {
            // Whoever has the writer does not let go of it: the edges learn nothing of this one, the job's figures do.
            if !is_kept {
                self.tally.dropped_in_ring();
            }
            return Err(PublishError::Deadline { topic: topic(), sent: None });
        };
        let side = &mut *side;
        let size = Size { envelope: letter.prepared.size(letter.infos), payload: size };
        self.note_claim();
        let refusal = match side.writer.claim(letter.topics, size, until) {
            Ok(claim) => {
                self.note_claim();
                return Ok(self.fill_and_commit(claim, letter, fill));
            }
            Err(refusal) => refusal,
        };
        self.note_claim();
        match refusal {
            ClaimError::Unrouted if self.tally.has_outsiders() => Ok(Way::Outsiders(fill)),
            ClaimError::Unrouted => {
                self.tally.unrouted_in_ring();
                Ok(Way::Nowhere)
            }
            error @ ClaimError::TooLarge { .. } => {
                if !std::mem::replace(&mut side.is_told_of_large, true) {
                    tracing::warn!("{error}: payloads like this go over the bus, which is slower; raise `ring_mb`");
                }
                Ok(Way::Bus(fill))
            }
            ClaimError::NoRoom => {
                if !is_kept {
                    side.writer.count_dropped(letter.topics);
                    self.tally.dropped_in_ring();
                }
                Err(PublishError::Deadline { topic: topic(), sent: None })
            }
            ClaimError::Stopped => Err(PublishError::Stopping { topic: topic(), sent: None }),
        }
    }

    fn fill_and_commit<F: FnOnce(&mut [u8]) -> Option<usize>>(
        &self,
        mut claim: enrgdaq_ring::Claim<'_>,
        letter: &Letter<'_>,
        fill: F,
    ) -> Way<F> {
        let (_, payload) = claim.parts_mut();
        let whole = payload.len();
        let Some(len) = fill(payload) else { return Way::Nowhere };
        let mut infos = PayloadList::from_slice(letter.infos);
        if len < whole {
            claim.shorten_payload(len);
            if let Some(info) = infos.first_mut() {
                info.len = len as u64;
            }
        }
        let id = MessageId { epoch: claim.epoch(), seq: claim.seq() };
        let (envelope, payload) = claim.parts_mut();
        letter.prepared.write(envelope, id, now_ns(), &infos);
        let outsiders = self.tally.has_outsiders();
        let bytes = if outsiders { payload.to_vec() } else { Vec::new() };
        self.tally.committed((envelope.len() + payload.len()) as u64);
        claim.commit();
        Way::Ring { outsiders, bytes }
    }

    fn side(&self, until: Option<Instant>) -> Option<MutexGuard<'_, RingSide>> {
        let side = self.ring.as_ref()?;
        match until {
            Some(until) => side.try_lock_until(until),
            // Whoever has it gives it up when the job is to stop.
            None => Some(side.lock()),
        }
    }

    /// Over the bus, to everybody.
    fn by_bus(&self, topics: &[Topic], message: &Message, manner: Manner) -> Result<(), PublishError> {
        if topics.first().is_none_or(|topic| topic.plane() == Plane::Control) {
            let tracked = self.over_bus(topics, topics, message, manner)?;
            self.tally.published(topics, tracked);
            return Ok(());
        }
        let both: Vec<_> = topics.iter().flat_map(|topic| [topic.clone(), Topic::by_bus(topic)]).collect();
        let tracked = self.over_bus(topics, &both, message, manner)?;
        self.tally.published(topics, tracked);
        Ok(())
    }

    /// Over the bus, to jobs that do not read the ring; `false` if none of them wants it.
    fn copies(&self, topics: &[Topic], message: &Message, manner: Manner) -> Result<bool, PublishError> {
        let copies: Vec<_> = topics.iter().map(Topic::copy_of).collect();
        let tracked = self.over_bus(&copies, &copies, message, manner)?;
        if tracked.routed > 0 {
            self.tally.published(&copies, tracked);
        }
        Ok(tracked.routed > 0)
    }

    /// Copies of what the ring has already: whatever becomes of them, it was published. What is not sent is counted.
    fn copies_beside(&self, topics: &[Topic], message: &Message, manner: Manner) {
        if let Err(error) = self.copies(topics, message, Manner { is_kept: false, ..manner }) {
            tracing::debug!(error = &error as &dyn std::error::Error, "a job without shared memory misses a message");
        }
    }

    /// What nobody in the ring wants.
    fn to_outsiders(&self, topics: &[Topic], message: &Message, manner: Manner) -> Result<(), PublishError> {
        match self.copies(topics, message, manner)? {
            true => self.tally.sent_past_ring(),
            false => self.tally.unrouted_in_ring(),
        }
        Ok(())
    }

    /// Sends; what could not be sent is counted for the topics that the edges know.
    fn over_bus(
        &self,
        counted: &[Topic],
        topics: &[Topic],
        message: &Message,
        manner: Manner,
    ) -> Result<Tracked, PublishError> {
        self.on_bus.fetch_add(1, Relaxed);
        let sent = match (manner.despite_stop, manner.deadline) {
            (true, Deadline::Within(wait)) => self.bus.publish_last_words(topics, message, wait),
            _ => self.bus.publish(topics, message, manner.deadline),
        };
        self.on_bus.fetch_sub(1, Relaxed);
        if let Err(PublishError::Deadline { sent, .. } | PublishError::Stopping { sent, .. }) = &sent
            && !manner.is_kept
        {
            self.tally.dropped(counted);
            // Some of its readers have it all the same.
            sent.iter().for_each(|tracked| self.tally.published(counted, *tracked));
        }
        sent
    }
}

/// What is sent, but for the bytes of its payload.
struct Letter<'a> {
    topics: &'a [Topic],
    prepared: &'a Prepared,
    infos: &'a [PayloadInfo],
}

/// Which way a message went, or has to go with what is still to be filled.
enum Way<F> {
    /// It is in the ring; for outsiders with a copy of its bytes.
    Ring { outsiders: bool, bytes: Vec<u8> },
    /// Only who does not read the ring may want it.
    Outsiders(F),
    /// The ring cannot take it.
    Bus(F),
    /// Nobody wants it, or it was given up.
    Nowhere,
}

/// Where payloads lie in the ring, one after the other.
fn in_ring(payloads: &[Payload]) -> PayloadList {
    let mut at = 0;
    let mut infos: PayloadList = smallvec![];
    for payload in payloads {
        infos.push(PayloadInfo { kind: payload.kind, len: payload.bytes.len() as u64, offset: Some(at as u64) });
        at += payload.bytes.len().next_multiple_of(ALIGNMENT);
    }
    infos
}

/// The bytes that a message has outside the ring.
fn filled(size: usize, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
    let mut bytes = AlignedBytes::zeroed(size);
    let len = fill(bytes.as_mut_slice())?;
    let mut bytes = bytes.into_vec();
    bytes.truncate(len);
    Some(bytes)
}

fn with_payload(line: &Line, bytes: Vec<u8>) -> Message {
    line.message.clone().with_payload(Payload { kind: line.kind, bytes })
}

/// Lengths of what lies in memory.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
