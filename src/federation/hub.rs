//! The hub: lets leaves in, and speaks with each over a session of its own.
//!
//! ```text
//!   leaf                                     hub
//!   hello, twice a second ──────────────────▶ is the name the key's? does another node have it?
//!                          ◀────────────────── welcome (or refused, with the reason)
//!   data, acks, a beat a second ────────────▶
//!                          ◀────────────────── data, acks, an answer to each beat
//!   words of a session that is not known ───▶
//!                          ◀────────────────── bye: say hello
//! ```
//! Invariant: what a leaf says counts under the name that its key is listed for, and no other.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::frame::{Hello, Refused, Session, VERSION, Welcome, Word, read};
use super::interest::Interest;
use super::kept::{self, Kept};
use super::link::{Link, add};
use super::listed::{Listed, NewList, Relisted, Speaker};
use super::node::Node;
use super::peer::{BATCH, Peer, REPEAT_EVERY, SOON_MS, TICK, TICK_MS};
use super::relay::Links;
use super::sockets::{FederationError, Pair, Ports, receive};
use crate::bus::{Gate, Happening, Monitor, Publisher, Stranger, text_of};
use crate::config::FederationConfig;
use crate::control::LinkState;
use crate::message::{Severity, Topic};
use crate::os::Wake;

/// Another start of a node is let in when the one before was silent for so long, or its connection has ended.
const SUCCESSION: Duration = Duration::from_secs(3);

/// What was told is not told again for so long.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// More leaves than this are not let in: the ring has no room for more writers.
const MOST_LEAVES: usize = 200;
const MANY_LEAVES: &str = "there are as many leaves as the ring has room for";

/// Where the keys of leaves are listed.
const LIST: &str = "`[federation.curve.clients]`";

/// The main thread of a hub.
pub(super) struct Hub {
    node: Arc<Node>,
    // In the order in which they end.
    hears: zmq::Socket,
    ports: Rest,
    bus: Arc<Publisher>,
    peers: HashMap<String, Peer>,
    sessions: HashMap<Session, String>,
    links: Links,
    new_list: NewList,
    stop: Wake,
    told: HashMap<String, Instant>,
    version: u64,
    tick_at: Instant,
    repeat_at: Instant,
}

/// What of the ports is not a socket.
struct Rest {
    monitors: [Monitor; 2],
    turned_away: Receiver<Stranger>,
    turned_away_untold: Arc<AtomicU64>,
    /// With keys: whose are known, and who sees to it.
    gate: Option<(Listed, Gate)>,
    _context: zmq::Context,
}

impl Hub {
    /// Takes up what an earlier process remembers of its leaves; those whose keys are listed are expected.
    ///
    /// # Errors
    /// [`FederationError::Spool`].
    pub(super) fn new(
        node: Arc<Node>,
        ports: Ports,
        (bus, links, new_list, stop): (Arc<Publisher>, Links, NewList, Wake),
    ) -> Result<Self, FederationError> {
        let Ports { pair, monitors, turned_away, turned_away_untold, gate, _context } = ports;
        let Pair { speaks, hears } = pair;
        node.port.put(Some(speaks));
        let now = Instant::now();
        let mut hub = Self {
            hears,
            ports: Rest { monitors, turned_away, turned_away_untold, gate, _context },
            bus,
            peers: HashMap::new(),
            sessions: HashMap::new(),
            links,
            new_list,
            stop,
            told: HashMap::new(),
            version: 0,
            tick_at: now,
            repeat_at: now,
            node,
        };
        for Kept { key, interest } in known_leaves(&hub.node.config, &hub.node.state_dir) {
            hub.add_leaf(&key, interest)?;
        }
        let listed: Vec<_> = hub.listed().into_iter().flat_map(Listed::leaves).cloned().collect();
        for leaf in listed {
            if !hub.peers.contains_key(&leaf) {
                hub.add_leaf(&leaf, Interest::default())?;
            }
        }
        Ok(hub)
    }

    /// With keys: whose are known.
    fn listed(&self) -> Option<&Listed> {
        self.ports.gate.as_ref().map(|(listed, _)| listed)
    }

    fn add_leaf(&mut self, leaf: &str, interest: Interest) -> Result<(), FederationError> {
        let dir = kept::dir_of_leaf(&self.node.state_dir, leaf);
        let link = Link::new(leaf.into(), Some(leaf.into()), dir, self.ports.gate.is_some(), interest);
        let link = Arc::new(link);
        let peer = Peer::new(&self.node, link.clone(), &self.bus);
        let peer = peer.map_err(|source| FederationError::Spool { peer: leaf.into(), source: Box::new(source) })?;
        self.peers.insert(leaf.into(), peer);
        let mut links = self.links.lock();
        links.push(link);
        links.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(())
    }

    /// Works until it is told to stop and all that is to be sent is sent, or on the disk.
    pub(super) fn run(mut self) {
        while !(self.stop.has_rung() && self.peers.values().all(Peer::is_finished)) {
            self.poll();
            for _ in 0..BATCH {
                let Some(frames) = receive(&self.hears) else { break };
                self.hear(frames);
            }
            self.peers.values_mut().for_each(Peer::settle);
            if Instant::now() >= self.tick_at {
                self.tick_at = Instant::now() + TICK;
                self.pass_time();
            }
        }
        self.peers.values_mut().for_each(Peer::finish);
        self.node.port.put(None);
    }

    fn poll(&self) {
        let is_waiting = self.peers.values().any(|peer| peer.incoming.is_waiting());
        let mut items = [self.hears.as_poll_item(zmq::POLLIN)];
        zmq::poll(&mut items, if is_waiting { SOON_MS } else { TICK_MS }).ok();
    }

    fn hear(&mut self, mut frames: Vec<zmq::Message>) {
        let Some(first) = frames.first_mut() else { return };
        let address = plain(first.gets("Peer-Address").unwrap_or_default()).to_owned();
        let key = first.gets("User-Id").unwrap_or_default();
        let speaker = self.listed().map_or(Speaker::Anybody, |listed| listed.speaker(key));
        let (session, word) = match read(frames) {
            Ok(said) => said,
            Err(error) => return self.bad_frame(&address, &crate::error_chain(&error)),
        };
        if let Word::Hello(hello) = word {
            return self.greet(session, hello, &speaker, &address);
        }
        let Some(peer) = self.sessions.get(&session).and_then(|leaf| self.peers.get_mut(leaf)) else {
            // Of a connection that is over, or of nobody.
            add(&self.node.late_words, 1);
            if matches!(word, Word::Beat(_)) {
                self.node.port.say(&session, &Word::Bye);
            }
            return;
        };
        if !speaker.may_be(&peer.link.key) {
            return self.bad_frame(&address, "a word of another node's session");
        }
        if matches!(word, Word::Bye) {
            self.sessions.remove(&session);
        }
        peer.hear(word);
    }

    /// A leaf says hello.
    fn greet(&mut self, session: Session, hello: Hello, speaker: &Speaker, address: &str) {
        // It is to hear the answer.
        self.look_who_listens();
        if let Some(why) = self.objection(&session, &hello, speaker) {
            let whose = match speaker {
                Speaker::Leaf(leaf) if *leaf != hello.node => Some(format!(", whose key is that of `{leaf}`,")),
                _ => None,
            };
            let who = format!("`{}` ({address}){}", readable(&hello.node), whose.unwrap_or_default());
            self.refuse(&session, &who, &why);
            return;
        }
        if !self.peers.contains_key(&hello.node) {
            if self.peers.len() >= MOST_LEAVES {
                return self.refuse(&session, &hello.node, MANY_LEAVES);
            }
            if let Err(error) = self.add_leaf(&hello.node, Interest::default()) {
                return self.refuse(&session, &hello.node, &crate::error_chain(&error));
            }
        }
        let wanted = self.wanted_for(&hello.node);
        let Some(peer) = self.peers.get_mut(&hello.node) else { return };
        if let Some(old) = peer.session.filter(|old| *old != session) {
            self.sessions.remove(&old);
        }
        self.node.set_interest(&peer.link, hello.interest);
        let resume_there = peer.incoming.begin(hello.stream, hello.first);
        // What the leaf has of this stream it need not get again.
        let first = peer.link.first.load(Relaxed);
        let resume =
            hello.seen.filter(|(stream, _)| *stream == peer.link.stream).map_or(first, |(_, next)| next.max(first));
        let welcome = Welcome {
            v: VERSION,
            node: self.node.id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            stream: peer.link.stream,
            first: resume,
            resume: resume_there,
            interest: wanted,
        };
        self.node.port.say(&session, &Word::Welcome(welcome));
        self.sessions.insert(session, hello.node.clone());
        peer.begin(&hello.node, session, hello.instance, resume);
    }

    /// Why a leaf is not let in.
    fn objection(&self, session: &Session, hello: &Hello, speaker: &Speaker) -> Option<String> {
        let name = &hello.node;
        match speaker {
            Speaker::Unlisted(key) => return Some(format!("its key {key} is not in {LIST} any more")),
            Speaker::Leaf(leaf) if leaf != name => {
                return Some("a leaf speaks under the name that its key is listed for, and no other".into());
            }
            Speaker::Leaf(_) | Speaker::Anybody => {}
        }
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Some("that is no `supervisor_id`".into());
        }
        if *name == self.node.id {
            return Some("that is the `supervisor_id` of the hub itself: give each node its own".into());
        }
        if hello.v != VERSION {
            let (theirs, version) = (hello.v, env!("CARGO_PKG_VERSION"));
            return Some(format!("it speaks version {theirs} of the links, and the hub ({version}) speaks {VERSION}"));
        }
        let peer = self.peers.get(name)?;
        let is_other = peer.session.is_some_and(|held| held != *session) && peer.instance != hello.instance;
        (is_other && peer.heard_at.elapsed() < SUCCESSION)
            .then(|| "another node of that name is connected: give each node a `supervisor_id` of its own".into())
    }

    fn refuse(&mut self, session: &Session, who: &str, why: &str) {
        self.node.port.say(session, &Word::Refused(Refused { why: why.into() }));
        self.stranger(&format!("{who} is not let in: {why}"));
    }

    /// Somebody was turned away: counted, and told, though not each time.
    fn stranger(&mut self, text: &str) {
        add(&self.node.strangers, 1);
        self.tell_once(text);
    }

    fn bad_frame(&mut self, address: &str, why: &str) {
        add(&self.node.bad_frames, 1);
        self.tell_once(&format!("what comes from {address} at the port of the leaves is dropped: {why}"));
    }

    fn tell_once(&mut self, text: &str) {
        /// More different texts than this are not told: they are counted.
        const MOST: usize = 64;
        self.told.retain(|_, at| at.elapsed() < TOLD_FOR);
        if self.told.len() < MOST && !self.told.contains_key(text) {
            self.told.insert(text.into(), Instant::now());
            self.node.home.raise(Severity::Warning, text.into());
        }
    }

    /// Whoever subscribes a session is let hear it; who does so no more has closed its connection.
    fn look_who_listens(&mut self) {
        for session in self.node.port.admit() {
            let leaf = self.sessions.get(&session);
            if let Some(peer) = leaf.and_then(|leaf| self.peers.get_mut(leaf)) {
                // It may only be a connection that is made anew: its words will say.
                peer.heard_at = peer.heard_at.checked_sub(SUCCESSION).unwrap_or(peer.heard_at);
            }
        }
    }

    fn pass_time(&mut self) {
        self.take_list();
        self.look_who_listens();
        self.look_who_knocked();
        self.peers.values_mut().filter(|peer| peer.link.is_expected()).for_each(Peer::pass_time);
        let peers = &self.peers;
        self.sessions.retain(|session, leaf| peers.get(leaf).is_some_and(|peer| peer.session == Some(*session)));
        let version = self.node.version();
        let is_time = Instant::now() >= self.repeat_at;
        if version == self.version && !is_time {
            return;
        }
        self.version = version;
        if is_time {
            self.repeat_at = Instant::now() + REPEAT_EVERY;
        }
        for (leaf, peer) in &self.peers {
            if let Some(session) = &peer.session {
                self.node.port.say(session, &Word::Interest(self.wanted_for(leaf)));
            }
        }
    }

    /// Another list counts from now on, if there is one.
    fn take_list(&mut self) {
        let (Some(after), Some((listed, gate))) = (self.new_list.lock().take(), &mut self.ports.gate) else { return };
        match after.guests() {
            Ok(guests) => gate.let_in(guests),
            Err(error) => {
                let text = format!("the new list of leaves does not count: {}", crate::error_chain(&error));
                return self.node.home.raise(Severity::Error, text);
            }
        }
        let Relisted { new, gone, rekeyed } = after.since(listed);
        *listed = after;
        rekeyed.iter().for_each(|leaf| self.shut_out(leaf));
        gone.iter().for_each(|leaf| self.dismiss(leaf));
        new.iter().for_each(|leaf| self.expect(leaf));
    }

    /// Ends the session of a leaf whose key does not count any more.
    fn shut_out(&mut self, leaf: &str) {
        let Some(peer) = self.peers.get_mut(leaf) else { return };
        if let Some(session) = peer.session {
            let why = format!("its key is not in {LIST} any more");
            peer.end(&why);
            self.sessions.remove(&session);
            self.node.port.say(&session, &Word::Refused(Refused { why }));
        }
    }

    /// A leaf is listed no more: nothing is kept for it. Its threads stay, and empty its place in the ring.
    fn dismiss(&mut self, leaf: &str) {
        if let Some(peer) = self.peers.get(leaf) {
            // Its sender tells more.
            peer.link.stand(LinkState::Down);
            peer.link.dismiss();
        }
        self.shut_out(leaf);
    }

    /// A leaf is listed that was not.
    fn expect(&mut self, leaf: &str) {
        if let Some(peer) = self.peers.get(leaf) {
            return peer.link.expect();
        }
        let added = match self.peers.len() {
            MOST_LEAVES.. => Err(MANY_LEAVES.to_owned()),
            _ => self.add_leaf(leaf, Interest::default()).map_err(|error| crate::error_chain(&error)),
        };
        if let Err(why) = added {
            self.node.home.raise(Severity::Error, format!("{leaf} cannot come in: {why}"));
        }
    }

    fn look_who_knocked(&mut self) {
        add(&self.node.strangers, self.ports.turned_away_untold.swap(0, Relaxed));
        let strangers: Vec<_> = self.ports.turned_away.try_iter().collect();
        for Stranger { key, address, .. } in strangers {
            let key = key.as_ref().map_or_else(|| "no key".into(), text_of);
            let address = plain(&address);
            self.stranger(&format!("{address} is not let in: its key {key} is not in {LIST}"));
        }
        let happenings: Vec<_> = self.ports.monitors.iter().flat_map(Monitor::happenings).collect();
        for _ in happenings.into_iter().filter(|happening| *happening == Happening::NoHandshake) {
            self.stranger(
                "somebody at the port of the leaves is not let in: it speaks something else, has no key, or takes this hub \
                 for another",
            );
        }
    }

    /// What a leaf is to send: what is wanted here, and by the other leaves.
    fn wanted_for(&self, leaf: &str) -> Interest {
        let mut wanted = self.node.wanted();
        // Whoever watches the hub watches its leaves.
        wanted.add(Topic::ALERTS, true);
        for link in self.links.lock().iter().filter(|link| link.key != leaf) {
            wanted.add_all(&link.interest());
        }
        wanted
    }
}

/// The leaves that were here before, and what they wanted; with keys, of those that are listed.
pub(super) fn known_leaves(config: &FederationConfig, state_dir: &Path) -> Vec<Kept> {
    let listed = config.listed();
    kept::read_leaves(state_dir, |leaf| listed.is_none_or(|listed| listed.contains_key(leaf)))
}

/// An address as people write it, also where the socket takes those of both versions.
fn plain(address: &str) -> &str {
    address.strip_prefix("::ffff:").unwrap_or(address)
}

/// What somebody says it is called, for people.
fn readable(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
