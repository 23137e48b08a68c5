//! What the other end wants as the latest only: taken from the ring as fast as the link is, and no faster. What is passed
//! over the ring counts, as for every reader of the latest.
//!
//! Invariant: it holds up nobody: neither writers, nor the stream beside it, since little of it is under way at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use enrgdaq_ring::{Policy, Reader, ReaderSpec, RingName, Spin, Stop, Until};

use super::frame::{Label, Session};
use super::interest::{Interest, crossing};
use super::link::{Asks, Ending, Link, add};
use super::node::{Node, latest_number};
use super::packing::send_pieces;
use super::quay::MAX_MESSAGE;
use crate::message::{Decoder, Plane};

const TICK: Duration = Duration::from_millis(250);

/// Messages under way.
const UNDER_WAY: u64 = 8;

/// Sends the latest.
pub(super) struct Latest {
    node: Arc<Node>,
    link: Arc<Link>,
    reader: Option<Reader>,
    subscribed: Vec<String>,
    session: Option<Session>,
    interest: Arc<Interest>,
    decoder: Decoder,
    look_at: Instant,
    never: Stop,
}

impl Latest {
    pub(super) fn new(node: Arc<Node>, link: Arc<Link>) -> Self {
        Self {
            interest: link.interest(),
            node,
            link,
            reader: None,
            subscribed: Vec::new(),
            session: None,
            decoder: Decoder::default(),
            look_at: Instant::now(),
            never: Stop::new(),
        }
    }

    /// Works until the link is finished.
    pub(super) fn run(mut self) {
        self.link.wakes(None);
        while self.link.ending() == Ending::No {
            if let Some(course) = self.link.news(Asks::Latest) {
                (self.session, self.interest) = (course.session, course.interest);
                self.look_at = Instant::now();
            }
            self.subscribe();
            match self.session.filter(|_| self.has_room()) {
                Some(session) if self.reader.is_some() => self.send_one(&session),
                _ => std::thread::park_timeout(TICK),
            }
        }
    }

    fn has_room(&self) -> bool {
        let seen = self.link.latest_seen.load(Relaxed);
        self.link.latest_sent.load(Relaxed).saturating_sub(seen) < UNDER_WAY
    }

    fn subscribe(&mut self) {
        let (_, topics) = self.interest.on(Plane::Data);
        if (topics == self.subscribed && (topics.is_empty() || self.reader.is_some())) || Instant::now() < self.look_at
        {
            return;
        }
        self.look_at = Instant::now() + TICK;
        if topics.is_empty() {
            // Its place is free before it is given back.
            self.reader = None;
        }
        if topics != self.subscribed {
            if let Err(why) = self.node.home.subscribe(&self.link.key, Policy::Latest, topics.clone()) {
                tracing::debug!("no place in the ring for the latest to {}: {why}", self.link.peer());
                return;
            }
            self.subscribed = topics;
        }
        if self.subscribed.is_empty() || self.reader.is_some() {
            return;
        }
        let Ok(ring) = RingName::new(&self.node.ring) else { return };
        let spec = ReaderSpec { ring, unique_id: latest_number(&self.link.key), spin: Spin::For(Duration::ZERO) };
        let Ok(reader) = Reader::open(&spec) else { return };
        self.link.wakes(Some(reader.waker()));
        self.reader = Some(reader);
    }

    fn send_one(&mut self, session: &Session) {
        let Some(reader) = &mut self.reader else { return };
        let until = Until::stopped(&self.never).or_after(TICK);
        let Ok(Some(record)) = reader.next(until) else { return };
        let Ok(envelope) = self.decoder.decode(record.envelope()) else { return };
        let Ok(topics) = crossing(&envelope, self.node.outward(&self.link)) else { return };
        if !self.interest.wants_latest(&topics) {
            return;
        }
        if record.payload().len() as u64 > MAX_MESSAGE {
            return add(&self.link.counts.dropped, 1);
        }
        let number = self.link.latest_sent.load(Relaxed);
        let label = Label { is_latest: true, number, whole: None, piece: 0, pieces: 1 };
        match send_pieces(&self.node.port, session, label, (record.envelope(), record.payload())) {
            Some(bytes) => {
                self.link.latest_sent.store(number + 1, Relaxed);
                add(&self.link.counts.sent_bytes, bytes);
            }
            None => add(&self.link.counts.dropped, 1),
        }
    }
}
