//! A leaf: connects to its hub, and again whenever that is silent.
//!
//! ```text
//!   sockets and session anew ─▶ hello, twice a second ─▶ welcome ─▶ up ─▶ silent for 5 s, or bye
//!           ▲                        │ 10 s, or refused                         │
//!           └────────────────────────┴──────────────────────────────────────────┘
//! ```
//! Invariant: nothing of an old connection is heard or sent over a new one: each has sockets and a session of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use super::frame::{Hello, Refused, Session, VERSION, Welcome, Word, read};
use super::interest::Interest;
use super::link::{Link, add};
use super::node::Node;
use super::peer::{BATCH, BEAT_EVERY, Peer, REPEAT_EVERY, SOON_MS, TICK, TICK_MS};
use super::sockets::{FederationError, Pair, Way, receive};
use crate::bus::Publisher;
use crate::message::Severity;
use crate::os::Wake;

/// How often it says hello, and when it gives up and connects anew.
const HELLO_EVERY: Duration = Duration::from_millis(500);
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Whoever was refused asks again after this time.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// The main thread of a leaf.
pub(super) struct Leaf {
    node: Arc<Node>,
    way: Way,
    peer: Peer,
    hears: Option<zmq::Socket>,
    /// Of the sockets that there are.
    session: Session,
    instance: u64,
    connected_at: Instant,
    hello_at: Instant,
    beat_at: Instant,
    tick_at: Instant,
    repeat_at: Instant,
    version: u64,
    /// Why the hub does not let it in, as told.
    refusal: String,
    stop: Wake,
}

impl Leaf {
    /// # Errors
    /// [`FederationError::Spool`].
    pub(super) fn new(
        node: Arc<Node>,
        way: Way,
        link: Arc<Link>,
        (bus, stop): (&Arc<Publisher>, Wake),
    ) -> Result<Self, FederationError> {
        let peer = Peer::new(&node, link, bus);
        let peer =
            peer.map_err(|source| FederationError::Spool { peer: "the hub".into(), source: Box::new(source) })?;
        let now = Instant::now();
        Ok(Self {
            node,
            way,
            peer,
            hears: None,
            session: Session::default(),
            instance: uuid::Uuid::new_v4().as_u64_pair().0,
            connected_at: now,
            hello_at: now,
            beat_at: now,
            tick_at: now,
            repeat_at: now,
            version: 0,
            refusal: String::new(),
            stop,
        })
    }

    /// Works until it is told to stop and all that is to be sent is sent, or on the disk.
    pub(super) fn run(mut self) {
        while !(self.stop.has_rung() && self.peer.is_finished()) {
            self.poll();
            for _ in 0..BATCH {
                let Some(frames) = self.hears.as_ref().and_then(receive) else { break };
                self.hear(frames);
            }
            self.peer.settle();
            if Instant::now() >= self.tick_at {
                self.tick_at = Instant::now() + TICK;
                self.pass_time();
            }
        }
        self.peer.finish();
        self.node.port.put(None);
    }

    fn poll(&self) {
        let Some(hears) = &self.hears else { return thread::sleep(TICK) };
        let mut items = [hears.as_poll_item(zmq::POLLIN)];
        zmq::poll(&mut items, if self.peer.incoming.is_waiting() { SOON_MS } else { TICK_MS }).ok();
    }

    fn hear(&mut self, frames: Vec<zmq::Message>) {
        let said = read(frames);
        let Ok((session, word)) = said else { return add(&self.node.bad_frames, 1) };
        match (word, self.peer.session) {
            _ if session != self.session => add(&self.node.late_words, 1),
            (Word::Welcome(welcome), None) => self.enter(welcome),
            (Word::Refused(Refused { why }), _) => {
                self.peer.end("it does not let this node in any more");
                self.on_refused(&why);
            }
            (word @ Word::Bye, Some(_)) => {
                self.peer.hear(word);
                self.disconnect(Duration::ZERO);
            }
            (word, Some(_)) => self.peer.hear(word),
            (_, None) => {}
        }
    }

    /// The hub lets it in.
    fn enter(&mut self, welcome: Welcome) {
        let Welcome { v, node, version, stream, first, resume, interest } = welcome;
        if v != VERSION {
            return self
                .on_refused(&format!("the hub ({version}) speaks version {v} of the links, and this node {VERSION}"));
        }
        self.refusal.clear();
        // Known before anything is sent: what is not wanted stays here.
        self.node.set_interest(&self.peer.link, interest);
        self.peer.incoming.begin(stream, first);
        self.peer.begin(&node, self.session, stream, resume);
        self.beat_at = Instant::now();
    }

    fn on_refused(&mut self, why: &str) {
        if self.refusal != why {
            why.clone_into(&mut self.refusal);
            self.node.home.raise(Severity::Error, format!("the hub does not let this node in: {why}"));
        }
        self.disconnect(REFUSED_FOR);
    }

    /// The connections are closed; new ones come after this time.
    fn disconnect(&mut self, pause: Duration) {
        self.node.port.put(None);
        self.hears = None;
        self.connected_at = Instant::now() + pause;
    }

    fn connect(&mut self) {
        self.session = *uuid::Uuid::new_v4().as_bytes();
        match self.way.connect(&self.session) {
            Ok(Pair { speaks, hears }) => {
                self.node.port.put(Some(speaks));
                self.hears = Some(hears);
                self.connected_at = Instant::now();
                self.hello_at = Instant::now();
            }
            Err(error) => {
                tracing::debug!("cannot connect to the hub: {error}");
                self.connected_at = Instant::now() + REFUSED_FOR;
            }
        }
    }

    fn pass_time(&mut self) {
        let now = Instant::now();
        self.node.port.pass_over_subscriptions();
        let had_session = self.peer.session.is_some();
        self.peer.pass_time();
        if had_session && self.peer.session.is_none() {
            self.disconnect(Duration::ZERO);
        }
        if self.hears.is_none() {
            if now >= self.connected_at && !self.stop.has_rung() {
                self.connect();
            }
            return;
        }
        if self.peer.session.is_none() {
            if now.saturating_duration_since(self.connected_at) >= GIVE_UP_AFTER {
                return self.disconnect(Duration::ZERO);
            }
            if now >= self.hello_at {
                self.hello_at = now + HELLO_EVERY;
                self.node.port.say(&self.session, &Word::Hello(self.hello()));
            }
            return;
        }
        if now >= self.beat_at {
            self.beat_at = now + BEAT_EVERY;
            self.peer.beat(None);
        }
        let version = self.node.version();
        if version != self.version || now >= self.repeat_at {
            (self.version, self.repeat_at) = (version, now + REPEAT_EVERY);
            self.node.port.say(&self.session, &Word::Interest(self.wanted()));
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            v: VERSION,
            node: self.node.id.clone(),
            instance: self.instance,
            version: env!("CARGO_PKG_VERSION").into(),
            stream: self.peer.link.stream,
            first: self.peer.link.first.load(Relaxed),
            seen: self.peer.incoming.seen(),
            interest: self.wanted(),
        }
    }

    /// What the hub is to send.
    fn wanted(&self) -> Interest {
        self.node.wanted().limited(self.node.config.receive.as_deref())
    }
}
