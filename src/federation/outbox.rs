//! What is to go to the other end: a window of what is under way, and behind it a spool on the disk.
//!
//! ```text
//!   window   [in the spool too …][in the ring, or in memory …]      oldest first
//!   spool    [in the window …][read later …]                        a message: u32 length of the envelope, envelope, payload
//! ```
//! Invariants: messages go in the order in which they were kept; a record is acknowledged in the ring when it is in the
//! spool or committed at the other end, never before; while the spool holds what has not been read, all of the window is in
//! the spool.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::link::Letter;
use super::window::Window;
use crate::store::spool::{Mark, RawRead, Spool, SpoolError};

/// How a message is kept until it is acknowledged.
#[derive(Debug)]
pub(super) enum Held {
    Ring(enrgdaq_ring::Delivery),
    Letter(Letter),
    Spool(Mark),
}

/// A message.
#[derive(Debug)]
pub(super) struct Packet {
    held: Held,
    /// When it was committed, by the clock here, ns since the Unix epoch.
    at: i64,
    since: Instant,
}

impl Packet {
    pub(super) fn new(held: Held, at: i64) -> Self {
        Self { held, at, since: Instant::now() }
    }
}

/// What was found when the spool was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Messages that are not wanted any more.
    pub(super) unwanted: u64,
    /// Where there was something that is no message, how many bytes, and where they are kept.
    pub(super) unreadable: Vec<(u64, PathBuf)>,
}

/// What was sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    /// Messages whose place in the spool was changed by somebody: an empty one went instead.
    pub(super) unreadable: u64,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    /// Messages; of what an earlier process has left in the spool, those that are in the window.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) spool_bytes: u64,
    /// When the oldest was committed.
    pub(super) oldest_at: Option<i64>,
}

/// The messages for the other end.
pub(super) struct Outbox {
    window: Window<Packet>,
    /// So many of the window's first are in the spool.
    spilled: usize,
    spool: Spool,
    /// The last that was read of the spool.
    spool_read: Option<Mark>,
    /// Messages in the spool that are not in the window; what an earlier process left is not counted.
    spool_waits: u64,
    /// There is room for it nowhere.
    stuck: Option<Packet>,
}

impl Outbox {
    /// With what an earlier process has left.
    ///
    /// # Errors
    /// [`SpoolError`]: that cannot be opened.
    pub(super) fn open(dir: &Path, spool_limit: u64, window_limit: u64) -> Result<Self, SpoolError> {
        Ok(Self {
            window: Window::new(window_limit),
            spilled: 0,
            spool: Spool::open(dir.join("spool"), spool_limit)?,
            spool_read: None,
            spool_waits: 0,
            stuck: None,
        })
    }

    /// Whether a message more would go into the window at once.
    pub(super) fn has_room(&self) -> bool {
        self.stuck.is_none() && self.spool.is_read() && self.window.has_room()
    }

    /// Whether a message more is to be taken: into the window, or behind those in the spool. With a window full of records,
    /// their acknowledgement is waited for first, while there is somebody to give it.
    pub(super) fn takes_more(&self, is_connected: bool) -> bool {
        let is_in_spool = !self.spool.is_read() || self.spilled == self.window.len();
        !is_connected || self.window.has_room() || is_in_spool
    }

    /// Whether there is room nowhere for a message that was taken.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Whether all is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty() && self.spool.is_read() && self.stuck.is_none()
    }

    /// The number of the oldest that is not acknowledged, and the one that is sent next.
    pub(super) fn numbers(&self) -> (u64, u64) {
        (self.window.first(), self.window.next_to_send())
    }

    /// Keeps a message: in the window, or behind what waits in the spool.
    ///
    /// # Errors
    /// [`SpoolError`]: there is room nowhere. It is kept all the same; nothing more is to be taken before
    /// [`retry`](Self::retry) succeeds.
    pub(super) fn keep(&mut self, packet: Packet) -> Result<(), SpoolError> {
        debug_assert!(self.stuck.is_none(), "one at a time");
        let (envelope, payload) = packet.held.parts();
        if self.spool.is_read() && (self.window.has_room() || self.window.is_empty()) {
            let bytes = (envelope.len() + payload.len()) as u64;
            self.window.push(bytes, packet);
            return Ok(());
        }
        let kept = self.spill().and_then(|()| append(&mut self.spool, envelope, payload));
        match kept {
            Ok(()) => {
                self.spool_waits += 1;
                packet.held.done();
            }
            Err(_) => self.stuck = Some(packet),
        }
        kept
    }

    /// Keeps what had no room.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub(super) fn retry(&mut self) -> Result<(), SpoolError> {
        self.stuck.take().map_or(Ok(()), |packet| self.keep(packet))
    }

    /// All below this number is committed at the other end; gives how many that are.
    pub(super) fn release(&mut self, committed: u64) -> u64 {
        if committed <= self.window.first() {
            return 0;
        }
        let (mut count, mut last) = (0, None);
        for item in self.window.release(committed) {
            count += 1;
            match item.held.held {
                Held::Spool(mark) => last = Some(mark),
                held => held.done(),
            }
        }
        self.spilled = self.spilled.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        self.release_spool(last);
        count
    }

    /// Gives back what the spool holds up to a mark; all of it, where all has been read and none is under way.
    fn release_spool(&mut self, upto: Option<Mark>) {
        let is_through = self.spilled == 0 && self.spool.is_read();
        let upto = if is_through { self.spool_read.take().or(upto) } else { upto };
        upto.into_iter().for_each(|mark| self.spool.release(mark));
    }

    /// From this number on all are sent once more; gives how many had been sent.
    pub(super) fn rewind(&mut self, to: u64) -> u64 {
        self.window.rewind(to)
    }

    /// Fills the window from the spool. `judge` gives when a message was committed, or `None` if it is not wanted.
    ///
    /// # Errors
    /// The disk's; what was found before stays.
    pub(super) fn read_spool(&mut self, mut judge: impl FnMut(&[u8]) -> Option<i64>) -> io::Result<Found> {
        let mut found = Found::default();
        while self.window.has_room() && !self.spool.is_read() {
            match self.spool.next_raw()? {
                Some(RawRead::Body { at, bytes }) => {
                    self.spool_read = Some(at);
                    self.spool_waits = self.spool_waits.saturating_sub(1);
                    let body = split_body(&bytes);
                    match body.and_then(|(envelope, _)| judge(envelope)) {
                        Some(committed) => {
                            self.window.push(bytes.len() as u64, Packet::new(Held::Spool(at), committed));
                            self.spilled += 1;
                        }
                        None => found.unwanted += 1,
                    }
                }
                Some(RawRead::Unreadable { path, bytes }) => found.unreadable.push((bytes, path)),
                None => break,
            }
        }
        if self.spilled == 0 && self.spool_read.is_some() {
            self.release_spool(None);
        }
        Ok(found)
    }

    /// Takes out what has not been sent and is not wanted any more; gives how many messages that are.
    ///
    /// # Errors
    /// The disk's; nothing is taken out then.
    pub(super) fn weed(&mut self, mut judge: impl FnMut(&[u8]) -> Option<i64>) -> io::Result<u64> {
        let mut is_wanted = Vec::new();
        for item in self.window.unsent() {
            is_wanted.push(match &item.held.held {
                // Of what cannot be read an empty message goes.
                Held::Spool(mark) => {
                    let body = self.spool.read(*mark)?;
                    body.as_ref().and_then(split_body).is_none_or(|(envelope, _)| judge(envelope).is_some())
                }
                held => judge(held.parts().0).is_some(),
            });
        }
        let mut wanted = is_wanted.into_iter();
        let weeds = self.window.take_unsent(|_| !wanted.next().unwrap_or(true));
        let count = weeds.len() as u64;
        for weed in weeds {
            self.spilled -= usize::from(matches!(weed.held.held, Held::Spool(_)));
            weed.held.held.done();
        }
        if self.spilled == 0 && self.spool_read.is_some() {
            self.release_spool(None);
        }
        Ok(count)
    }

    /// Sends what is in the window and has not been sent, as long as `send` takes it: number, envelope, payload; it gives the
    /// bytes that this made. Of what cannot be read any more both are empty.
    ///
    /// # Errors
    /// The disk's; what was sent before counts as sent.
    pub(super) fn send_due(
        &mut self,
        mut send: impl FnMut(u64, &[u8], &[u8]) -> Option<u64>,
    ) -> Result<Sent, (Sent, io::Error)> {
        let mut sent = Sent::default();
        while let Some((number, item)) = self.window.due() {
            let bytes = match &item.held.held {
                Held::Spool(mark) => {
                    let body = self.spool.read(*mark).map_err(|error| (sent, error))?;
                    let parts = body.as_ref().and_then(split_body);
                    sent.unreadable += u64::from(parts.is_none());
                    let (envelope, payload) = parts.unwrap_or_default();
                    send(number, envelope, payload)
                }
                held => {
                    let (envelope, payload) = held.parts();
                    send(number, envelope, payload)
                }
            };
            let Some(bytes) = bytes else { break };
            sent.bytes += bytes;
            self.window.note_sent();
        }
        Ok(sent)
    }

    /// Puts the window into the spool if what of it is not there has waited so long.
    ///
    /// # Errors
    /// As [`spill`](Self::spill).
    pub(super) fn spill_after(&mut self, patience: Duration) -> Result<(), SpoolError> {
        let oldest = self.window.items().nth(self.spilled);
        match oldest.is_some_and(|oldest| oldest.held.since.elapsed() >= patience) {
            true => self.spill(),
            false => Ok(()),
        }
    }

    /// Puts all that the window holds otherwise into the spool, so that its writers have room.
    ///
    /// # Errors
    /// [`SpoolError`]: the disk does not take all of it; the rest stays where it is.
    pub(super) fn spill(&mut self) -> Result<(), SpoolError> {
        for item in self.window.items_mut().skip(self.spilled) {
            let at = put_aside(&mut self.spool, &item.held.held)?;
            self.spilled += 1;
            self.spool_read = Some(at);
            std::mem::replace(&mut item.held.held, Held::Spool(at)).done();
        }
        Ok(())
    }

    /// Has what is in the spool survive a power failure.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.spool.sync()
    }

    /// Gives up all that is in it; gives how many messages that were, but for those of an earlier process.
    pub(super) fn give_up(&mut self) -> u64 {
        let stuck = self.stuck.take().into_iter().map(|packet| packet.held);
        let window = self.window.give_up().into_iter().map(|item| item.held.held);
        let lost = stuck.chain(window).map(Held::done).count() as u64 + self.spool_waits;
        (self.spilled, self.spool_waits) = (0, 0);
        while let Ok(Some(read)) = self.spool.next_raw() {
            if let RawRead::Body { at, .. } = read {
                self.spool_read = Some(at);
            }
        }
        self.release_spool(None);
        lost
    }

    /// How much waits.
    pub(super) fn figures(&self) -> Figures {
        let spool_bytes = self.spool.waiting_bytes();
        let beside = if self.spilled == 0 { self.window.bytes() } else { 0 };
        Figures {
            messages: self.window.len() as u64 + self.spool_waits + u64::from(self.stuck.is_some()),
            bytes: spool_bytes + beside,
            spool_bytes,
            oldest_at: self.window.items().next().map(|item| item.held.at),
        }
    }
}

impl Held {
    fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Ring(record) => (record.envelope(), record.payload()),
            Self::Letter(letter) => (&letter.envelope, &letter.payload),
            Self::Spool(_) => (&[], &[]),
        }
    }

    /// It is kept otherwise, or not to be kept any more.
    fn done(self) {
        if let Self::Ring(record) = self {
            record.ack();
        }
    }
}

/// Puts a message of the window into the spool, all of which has been read; gives where it lies.
fn put_aside(spool: &mut Spool, held: &Held) -> Result<Mark, SpoolError> {
    let (envelope, payload) = held.parts();
    append(spool, envelope, payload)?;
    let path = spool.dir().to_owned();
    match spool.next_raw() {
        Ok(Some(RawRead::Body { at, .. })) => Ok(at),
        Ok(_) => Err(SpoolError::Io { path, source: io::ErrorKind::InvalidData.into() }),
        Err(source) => Err(SpoolError::Io { path, source }),
    }
}

fn append(spool: &mut Spool, envelope: &[u8], payload: &[u8]) -> Result<(), SpoolError> {
    let len = u32::try_from(envelope.len()).expect("no envelope has over 16 MiB");
    spool.append_raw(&[&len.to_le_bytes(), envelope, payload])
}

fn split_body(body: &Bytes) -> Option<(&[u8], &[u8])> {
    let (len, rest) = body.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A message with a number in its envelope.
    fn packet(number: u64) -> Packet {
        let envelope = Arc::new(number.to_le_bytes().to_vec());
        let payload = Arc::new(vec![7; 92]);
        Packet::new(Held::Letter(Letter { envelope, payload, at: 0, is_lossy: false }), 0)
    }

    fn number(envelope: &[u8]) -> u64 {
        u64::from_le_bytes(envelope.try_into().unwrap())
    }

    /// Sends and acknowledges until nothing is left; gives what came, in order.
    fn drain(outbox: &mut Outbox) -> Vec<u64> {
        let mut came = Vec::new();
        for _ in 0..1000 {
            outbox.read_spool(|_| Some(0)).unwrap();
            outbox
                .send_due(|_, envelope, payload| {
                    assert_eq!(payload, [7; 92]);
                    came.push(number(envelope));
                    Some(1)
                })
                .unwrap();
            let next = outbox.numbers().1;
            outbox.release(next);
            // A segment that is half read takes its room until it is read.
            outbox.retry().ok();
            if outbox.is_empty() {
                return came;
            }
        }
        panic!("it does not become empty: {came:?}");
    }

    fn open(dir: &Path) -> Outbox {
        Outbox::open(dir, 1 << 20, 1000).unwrap()
    }

    #[test]
    fn what_does_not_fit_the_window_goes_by_the_disk_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path());

        (0..50).for_each(|n| outbox.keep(packet(n)).unwrap());

        assert!(outbox.figures().spool_bytes > 5000 && outbox.figures().messages == 50);
        assert_eq!(drain(&mut outbox), (0..50).collect::<Vec<_>>());
        let nothing = Figures { messages: 0, bytes: 0, spool_bytes: 0, oldest_at: None };
        assert_eq!(outbox.figures(), nothing);
    }

    #[test]
    fn a_window_in_the_spool_is_sent_again_after_a_loss_and_after_a_death() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path());
        (0..5).for_each(|n| outbox.keep(packet(n)).unwrap());
        outbox.send_due(|_, _, _| Some(1)).unwrap();
        outbox.spill().unwrap();
        assert_eq!((outbox.release(2), outbox.rewind(2)), (2, 3));
        let mut again = Vec::new();
        outbox
            .send_due(|at, envelope, _| {
                again.push((at, number(envelope)));
                Some(1)
            })
            .unwrap();
        assert_eq!(again, [(2, 2), (3, 3), (4, 4)]);
        drop(outbox);

        let mut next = open(dir.path());

        // What was acknowledged last may come once more: its name tells.
        let came = drain(&mut next);
        assert!(came.ends_with(&[2, 3, 4]), "{came:?}");
        assert!(open(dir.path()).is_empty());
    }

    #[test]
    fn what_has_room_nowhere_is_kept_and_goes_when_there_is_some() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(dir.path(), 3000, 1000).unwrap();

        let refused = (0..100).find(|&n| outbox.keep(packet(n)).is_err()).unwrap();

        assert!(refused > 20 && outbox.is_stuck() && !outbox.has_room());
        assert!(outbox.retry().is_err());
        assert_eq!(drain(&mut outbox), (0..=refused).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_wanted_any_more_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path());
        (0..20).for_each(|n| outbox.keep(packet(n)).unwrap());
        drop(outbox);
        let mut outbox = open(dir.path());

        let found = outbox.read_spool(|_| None).unwrap();

        assert!(found.unwanted >= 10, "{found:?}");
        assert_eq!((outbox.is_empty(), outbox.figures().spool_bytes), (true, 0));
    }

    #[test]
    fn what_was_taken_before_anybody_said_what_he_wants_is_weeded() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = open(dir.path());
        (0..3).for_each(|n| outbox.keep(packet(n)).unwrap());
        outbox.spill().unwrap();
        (3..6).for_each(|n| outbox.keep(packet(n)).unwrap());
        let mut room = 1;
        let send_one = |_: u64, _: &[u8], _: &[u8]| (std::mem::take(&mut room) > 0).then_some(1);
        outbox.send_due(send_one).unwrap();

        let weeded = outbox.weed(|envelope| number(envelope).is_multiple_of(2).then_some(0)).unwrap();

        assert_eq!(weeded, 3, "1, 3 and 5");
        assert_eq!(drain(&mut outbox), [2, 4], "0 has been sent");
        assert_eq!(outbox.figures().spool_bytes, 0);
    }

    #[test]
    fn what_is_given_up_is_counted_and_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(dir.path(), 3000, 1000).unwrap();
        let refused = (0..100).find(|&n| outbox.keep(packet(n)).is_err()).unwrap();

        assert_eq!(outbox.give_up(), refused + 1);
        assert_eq!((outbox.is_empty(), outbox.figures().spool_bytes), (true, 0));
        outbox.keep(packet(7)).unwrap();
        assert_eq!(drain(&mut outbox), [7]);
    }
}
