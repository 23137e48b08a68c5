//! The stream to the other end: everything that it wants wholly, from the ring and the bus, each message kept until it is
//! acknowledged.
//!
//! ```text
//!   ring ──▶ window (16 MB): the record stays in the ring ──▶ link ──ack──▶ acknowledged in the ring
//!     │         │ not acknowledged in time, or no link
//!     │         ▼
//!     └──▶ spool on disk, acknowledged in the ring ──▶ window ──▶ link ──ack──▶ released
//!            │ full
//!            ▼ nothing is taken from the ring any more: back-pressure
//! ```
//! Invariant: what is taken from the ring or the bus is in the [`Outbox`], or is not wanted at the other end.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use enrgdaq_ring::{Policy, Reader, ReaderSpec, RingName, Spin, Stop, Until};

use super::frame::Session;
use super::interest::{Interest, crossing};
use super::link::{Asks, Ending, Letter, Link, add};
use super::node::{Node, reader_number};
use super::outbox::{Held, Outbox, Packet};
use super::packing::Packer;
use super::quay::MAX_MESSAGE;
use crate::message::{Decoder, Plane, Severity};
use crate::os::now_ns;
use crate::store::spool::SpoolError;

/// How often it looks around when nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// A record waits so long in the ring for its acknowledgement before it goes to the disk.
const PATIENCE: Duration = Duration::from_millis(500);

/// A spool that is full for a leaf that has been away for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// At the end the ring is empty when so many looks in a row have found nothing.
const LAST_LOOKS: usize = 20;

/// A topic that nobody publishes: whoever subscribes it keeps what it has, and gets no more.
const NOTHING: &str = "~nothing";

/// Sends one stream.
pub(super) struct Sender {
    node: Arc<Node>,
    link: Arc<Link>,
    letters: Receiver<Letter>,
    outbox: Outbox,
    reader: Option<Reader>,
    /// What the ring is subscribed for.
    subscribed: Vec<String>,
    is_subscribed: bool,
    is_place_told: bool,
    is_size_told: bool,
    session: Option<Session>,
    judge: Judge,
    packer: Packer,
    down_since: Instant,
    is_disk_told: bool,
    /// What was published for the other end is lost to it, until it comes back.
    is_given_up: bool,
    look_at: Instant,
    begun_at: Instant,
    never: Stop,
}

/// Says what the other end is to have.
struct Judge {
    node: Arc<Node>,
    link: Arc<Link>,
    interest: Arc<Interest>,
    decoder: Decoder,
}

/// What is to become of a message.
enum Verdict {
    /// It goes; when it was committed, by the clock here.
    Goes(i64),
    /// It could go, and is not wanted wholly at the other end.
    Unwanted,
    /// It may not cross.
    Stays,
}

impl Judge {
    fn verdict(&mut self, envelope: &[u8]) -> Verdict {
        let Ok(envelope) = self.decoder.decode(envelope) else {
            add(&self.link.counts.refused, 1);
            return Verdict::Stays;
        };
        match crossing(&envelope, self.node.outward(&self.link)) {
            Ok(topics) if self.interest.wants_all(&topics) => Verdict::Goes(envelope.committed_at()),
            Ok(_) => Verdict::Unwanted,
            Err(_) => Verdict::Stays,
        }
    }

    /// When a message was committed, if it goes.
    fn of(&mut self, envelope: &[u8]) -> Option<i64> {
        match self.verdict(envelope) {
            Verdict::Goes(at) => Some(at),
            Verdict::Unwanted | Verdict::Stays => None,
        }
    }
}

impl Sender {
    /// # Errors
    /// [`SpoolError`]: what an earlier process left cannot be opened.
    pub(super) fn new(node: Arc<Node>, link: Arc<Link>, letters: Receiver<Letter>) -> Result<Self, SpoolError> {
        let (spool_limit, window_limit) = (node.config.spool_limit_bytes(), node.config.window_bytes());
        let interest = link.interest();
        let now = Instant::now();
        Ok(Self {
            outbox: Outbox::open(&link.dir, spool_limit, window_limit)?,
            packer: Packer::new(node.config.compress),
            judge: Judge { node: node.clone(), link: link.clone(), interest, decoder: Decoder::default() },
            node,
            link,
            letters,
            reader: None,
            subscribed: Vec::new(),
            is_subscribed: false,
            is_place_told: false,
            is_size_told: false,
            session: None,
            down_since: now,
            is_disk_told: false,
            is_given_up: false,
            look_at: now,
            begun_at: now,
            never: Stop::new(),
        })
    }

    /// Works until the link is finished.
    pub(super) fn run(mut self) {
        self.link.wakes(None);
        loop {
            self.hear_news();
            self.go_on();
            let patience = if self.session.is_some() { PATIENCE } else { Duration::ZERO };
            let spilled = self.outbox.spill_after(patience);
            self.note_kept(spilled);
            self.count();
            if let Ending::By(deadline) = self.link.ending() {
                return self.finish(deadline);
            }
            if !self.outbox.takes_more(self.session.is_some()) {
                std::thread::park_timeout(TICK);
            } else if !self.take() {
                self.wait();
            }
        }
    }

    /// Session, where to go on, what is wanted.
    fn hear_news(&mut self) {
        let Some(course) = self.link.news(Asks::Sender) else {
            if !self.is_subscribed && Instant::now() >= self.look_at {
                self.subscribe();
            }
            return;
        };
        if self.session.is_some() && course.session.is_none() {
            self.down_since = Instant::now();
        }
        self.session = course.session;
        self.is_given_up &= self.session.is_none();
        if course.is_dismissed {
            self.give_up_leaf(Severity::Warning, "is not in `[federation.curve.clients]` any more");
        }
        if let Some(resume) = course.resume {
            add(&self.link.counts.resent, self.outbox.rewind(resume));
            self.show_numbers();
        }
        if *self.judge.interest != *course.interest {
            self.judge.interest = course.interest;
            match self.outbox.weed(|envelope| self.judge.of(envelope)) {
                Ok(weeded) => self.note_unwanted(weeded),
                Err(error) => self.tell_disk(&error.to_string()),
            }
        }
        self.subscribe();
    }

    fn show_numbers(&self) {
        let (first, next) = self.outbox.numbers();
        self.link.first.store(first, Relaxed);
        self.link.next.store(next, Relaxed);
    }

    /// Has the ring subscribed for what is wanted, and opens its reader.
    fn subscribe(&mut self) {
        let (mut topics, _) = self.judge.interest.on(Plane::Data);
        if topics.is_empty() && self.subscribed.is_empty() {
            self.is_subscribed = true;
            return;
        }
        self.is_subscribed = false;
        self.look_at = Instant::now() + TICK;
        if topics.is_empty() {
            // What waits for it in the ring still goes.
            topics.push(NOTHING.into());
        }
        if topics != self.subscribed {
            match self.node.home.subscribe(&self.link.key, Policy::Lossless, topics.clone()) {
                Ok(()) => self.subscribed = topics,
                Err(why) => {
                    self.tell_no_place(&why);
                    return;
                }
            }
        }
        if self.reader.is_none() {
            self.open_reader();
        }
        self.is_subscribed = self.reader.is_some();
    }

    fn tell_no_place(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_place_told, true) {
            let text =
                format!("the link to {} has no place in the ring, and carries nothing of it: {why}", self.link.peer());
            self.node.home.raise(Severity::Error, text);
        }
    }

    fn open_reader(&mut self) {
        let Ok(ring) = RingName::new(&self.node.ring) else { return };
        let unique_id = reader_number(&self.link.key);
        // A former process may still be about to end.
        let Ok(reader) = Reader::open(&ReaderSpec { ring, unique_id, spin: Spin::default() }) else { return };
        self.link.wakes(Some(reader.waker()));
        self.reader = Some(reader);
    }

    /// What is acknowledged is done with, what waits on the disk moves up, what is due is sent.
    fn go_on(&mut self) {
        add(&self.link.counts.sent, self.outbox.release(self.link.committed()));
        let found = self.outbox.read_spool(|envelope| self.judge.of(envelope));
        match found {
            Ok(found) => {
                self.note_unwanted(found.unwanted);
                for (bytes, path) in found.unreadable {
                    let (peer, path) = (self.link.peer(), path.display());
                    let text = format!(
                        "{bytes} bytes that wait for {peer} cannot be read any more: a disk or somebody changed them; \
                         they are kept as {path}"
                    );
                    self.node.home.raise(Severity::Error, text);
                }
            }
            Err(error) => self.tell_disk(&error.to_string()),
        }
        self.send_due();
        self.show_numbers();
    }

    fn send_due(&mut self) {
        let Some(session) = self.session else { return };
        let (packer, port, offered) = (&mut self.packer, &self.node.port, &self.link.offered);
        let sent = self.outbox.send_due(|number, envelope, payload| {
            // Known before it can be acknowledged.
            offered.fetch_max(number + 1, SeqCst);
            packer.send(port, &session, number, envelope, payload)
        });
        let (sent, failed) = sent.map_or_else(|(sent, error)| (sent, Some(error)), |sent| (sent, None));
        add(&self.link.counts.sent_bytes, sent.bytes);
        add(&self.link.counts.dropped, sent.unreadable);
        if let Some(error) = failed {
            self.tell_disk(&error.to_string());
        }
    }

    /// Whether there was room; where there was none, people are told, and a leaf that stays away is given up.
    fn note_kept(&mut self, kept: Result<(), SpoolError>) -> bool {
        match kept {
            Ok(()) => {
                // Told once an episode, which is over when half of the room is free again.
                let is_half_free = self.outbox.figures().spool_bytes < self.node.config.spool_limit_bytes() / 2;
                self.is_disk_told &= self.outbox.is_stuck() || !is_half_free;
                return true;
            }
            Err(SpoolError::Full(_)) if self.node.is_hub && self.is_long_away() => {
                self.give_up_leaf(Severity::Error, "stays away, and `spool_max_gb` is reached");
            }
            Err(SpoolError::Full(_)) if self.is_disk_told => {}
            Err(SpoolError::Full(bytes)) => {
                self.is_disk_told = true;
                let text = format!(
                    "{bytes} bytes wait for {}, and `spool_max_gb` is reached: what is published for it waits in the \
                     ring now, and then its writers do",
                    self.link.peer()
                );
                self.node.home.raise(Severity::Error, text);
            }
            Err(error @ SpoolError::Io { .. }) => {
                let text = crate::error_chain(&error);
                self.tell_disk(&text);
            }
        }
        false
    }

    fn tell_disk(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_disk_told, true) {
            let peer = self.link.peer();
            let text = format!("what waits for {peer} cannot be kept on the disk, and waits in the ring: {why}");
            self.node.home.raise(Severity::Error, text);
        }
    }

    fn is_long_away(&self) -> bool {
        self.session.is_none() && self.down_since.elapsed() >= GIVE_UP_AFTER
    }

    /// A leaf stays away, and there is no room for what it is to have, or it is not let in any more: nobody waits for it.
    fn give_up_leaf(&mut self, severity: Severity, why: &str) {
        self.is_given_up = true;
        let has_waiting = self.outbox.figures().bytes > 0;
        let lost = self.outbox.give_up();
        self.show_numbers();
        add(&self.link.counts.dropped, lost);
        self.node.forget(&self.link);
        let peer = self.link.peer();
        let text = format!(
            "{peer} {why}: {lost} messages or more that waited for it are lost to it, and nothing is kept for it until it \
             comes back"
        );
        match has_waiting {
            true => self.node.home.raise(severity, text),
            false => self.node.home.raise(Severity::Info, format!("{peer} {why}; nothing waited for it")),
        }
    }

    /// Takes one message more; `false` if there is none, or no room.
    fn take(&mut self) -> bool {
        if self.outbox.is_stuck() {
            let kept = self.outbox.retry();
            return self.note_kept(kept);
        }
        match self.letters.try_recv() {
            Ok(letter) if letter.is_lossy && !(self.session.is_some() && self.outbox.has_room()) => {
                add(&self.link.counts.dropped, 1);
                true
            }
            Ok(letter) => {
                let at = letter.at;
                let kept = self.outbox.keep(Packet::new(Held::Letter(letter), at));
                self.note_kept(kept)
            }
            Err(_) => self.take_record(None),
        }
    }

    /// Takes a record of the ring that is there, or that comes within this time.
    fn take_record(&mut self, within: Option<Duration>) -> bool {
        let until = Until::stopped(&self.never);
        let until = within.map_or(until.or_at(self.begun_at), |within| until.or_after(within));
        let record = self.reader.as_mut().and_then(|reader| reader.next(until).ok().flatten());
        let Some(record) = record else { return false };
        match self.judge.verdict(record.envelope()) {
            Verdict::Goes(_) if record.payload().len() as u64 > MAX_MESSAGE => self.pass_over(record.payload().len()),
            Verdict::Goes(at) => {
                let kept = self.outbox.keep(Packet::new(Held::Ring(record), at));
                return self.note_kept(kept);
            }
            Verdict::Unwanted => self.note_unwanted(1),
            Verdict::Stays => {}
        }
        record.ack();
        true
    }

    /// Messages waited for one that was given up, and are lost to it; or for one that wants them no more.
    fn note_unwanted(&self, messages: u64) {
        let counts = &self.link.counts;
        add(if self.is_given_up { &counts.dropped } else { &counts.unwanted }, messages);
    }

    /// A message that is too large for a link is lost to it: the other end would close the connection.
    fn pass_over(&mut self, bytes: usize) {
        add(&self.link.counts.dropped, 1);
        if !std::mem::replace(&mut self.is_size_told, true) {
            let peer = self.link.peer();
            let text = format!(
                "a message of {bytes} bytes is lost to {peer}: a link carries {} MiB at most; make messages smaller; \
                 `dropped` counts them",
                MAX_MESSAGE >> 20
            );
            self.node.home.raise(Severity::Error, text);
        }
    }

    /// Waits until something happens, and takes the message if it is one.
    fn wait(&mut self) {
        if self.reader.is_none() || self.outbox.is_stuck() {
            std::thread::park_timeout(TICK);
        } else {
            self.take_record(Some(TICK));
        }
    }

    fn count(&self) {
        let figures = self.outbox.figures();
        let counts = &self.link.counts;
        counts.lag_messages.store(figures.messages, Relaxed);
        counts.lag_bytes.store(figures.bytes, Relaxed);
        counts.spool_bytes.store(figures.spool_bytes, Relaxed);
        let age = figures.oldest_at.map_or(0, |at| now_ns().saturating_sub(at));
        counts.lag_ms.store(u64::try_from(age / 1_000_000).unwrap_or(0), Relaxed);
    }

    /// The end: all that the ring has for the other end is sent until the deadline, and what is not acknowledged by then
    /// goes to the disk.
    fn finish(mut self, deadline: Instant) {
        // A look that was interrupted finds nothing, too.
        let mut empty_looks = 0;
        while !self.outbox.is_stuck() && empty_looks < LAST_LOOKS {
            let has_taken = self.take() || !self.outbox.is_stuck() && self.take_record(Some(Duration::from_millis(1)));
            match has_taken {
                true => empty_looks = 0,
                false => empty_looks += 1,
            }
            self.go_on();
        }
        while !self.outbox.is_empty() && self.session.is_some() && Instant::now() < deadline {
            self.hear_news();
            self.go_on();
            if !self.take() {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
        self.go_on();
        let spilled = self.outbox.spill();
        if self.note_kept(spilled)
            && let Err(error) = self.outbox.sync()
        {
            tracing::warn!("what waits for {} may not survive a power failure: {error}", self.link.peer());
        }
        self.count();
    }
}
