//! The server: one thread with a ROUTER, to which nodes report and through which they are asked.
//!
//! Invariants: it waits for no node: what one has no room for waits a while beside, and is given up; a node that says much
//! gets its turn as any other, and all together get so much of a core and no more; with keys a node speaks under the
//! name that its key is listed for, or is not heard.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::answering::{answer, at_once, busy};
use super::body::decode;
use super::comings::Comings;
use super::delayed::{Delayed, Sent};
use super::drops::Dropped;
use super::exchange::{Exchange, Letter};
use super::message::Message;
use super::nodes::Nodes;
use super::outbox::Letters;
use super::places::Places;
use super::registry::{Heard, Now};
use crate::bus::ShutOut;
use crate::bus::{Happening, Monitor};
use crate::config::Role;
use crate::control::Caller;
use crate::os::Wake;
use crate::telemetry::CncNode;

/// How often the thread looks who has fallen silent.
const LOOK_MS: i64 = 250;

/// How soon it tries again to send what a node did not take.
const AGAIN_MS: i64 = 5;

/// How much of each slice of time is spent on what comes; the rest waits where it is.
const SLICE: Duration = Duration::from_millis(50);
const SHARE: Duration = Duration::from_millis(20);

/// What is received before answers are sent.
const BATCH: usize = 64;

/// How long a node that spoke under another's name stays out.
const SHUT_OUT: Duration = Duration::from_secs(60);

/// The thread.
pub(super) struct Server {
    // In the order in which they end.
    pub(super) socket: zmq::Socket,
    pub(super) monitor: Monitor,
    pub(super) letters: Letters<Letter>,
    pub(super) stop: Wake,
    /// With keys.
    pub(super) shut_out: Option<ShutOut>,
    pub(super) exchange: Exchange,
    pub(super) nodes: Nodes,
    pub(super) places: Places,
    pub(super) comings: RefCell<Comings>,
    pub(super) role: Role,
    pub(super) runtime: Handle,
    pub(super) _context: zmq::Context,
}

impl Server {
    /// Until it is told to end.
    pub(super) fn work(self) {
        let (mut slice, mut delayed) = (Slice::new(), Delayed::default());
        while !self.stop.has_rung() {
            self.wait(slice.pause(), &delayed);
            self.letters.bell.hush();
            // No more than there is room for answers; then those go out.
            for _ in 0..BATCH {
                if !slice.has_room() || !slice.spend(|| self.receive()) {
                    break;
                }
            }
            self.send(&mut delayed);
            for happening in self.monitor.happenings() {
                if happening == Happening::NoHandshake {
                    let why = "a connection came to nothing: it spoke no CNC, not in time, or with another key of this server";
                    self.exchange.drop(Dropped::Handshake, "somebody", why);
                }
            }
            self.look_who_is_silent();
        }
        // What is answered already still goes out, as far as there is room.
        self.send(&mut delayed);
        self.exchange.pending().end_all();
    }

    /// Until there is something to do; while the socket has had its share, only for all else.
    fn wait(&self, pause: Option<Duration>, delayed: &Delayed) {
        let look_ms = if delayed.is_empty() { LOOK_MS } else { AGAIN_MS };
        let mut items = vec![
            self.monitor.as_poll_item(),
            zmq::PollItem::from_fd(self.letters.bell.raw_fd(), zmq::POLLIN),
            zmq::PollItem::from_fd(self.stop.raw_fd(), zmq::POLLIN),
        ];
        let ms = match pause {
            Some(pause) => i64::try_from(pause.as_millis()).unwrap_or(LOOK_MS) + 1,
            None => {
                items.push(self.socket.as_poll_item(zmq::POLLIN));
                look_ms
            }
        };
        // A signal ends it early, which does no harm.
        zmq::poll(&mut items, ms).ok();
    }

    /// Takes one message, whatever it is; `false`: there is none.
    fn receive(&self) -> bool {
        let Ok(identity) = self.socket.recv_msg(zmq::DONTWAIT) else { return false };
        let mut more = identity.get_more();
        let (mut body, mut frames) = (None, 1_u64);
        while more {
            let Ok(frame) = self.socket.recv_msg(zmq::DONTWAIT) else { break };
            more = frame.get_more();
            frames += 1;
            // No more than the first is kept.
            body.get_or_insert(frame);
        }
        match (frames, body) {
            (2, Some(body)) => self.hear(&identity, body),
            _ => self.exchange.drop(Dropped::Frames, &readable(&identity), &format!("a message of {frames} frames")),
        }
        true
    }

    fn hear(&self, identity: &[u8], mut body: zmq::Message) {
        let Some(id) = self.sender(identity, &mut body) else { return };
        let message = match decode(&body) {
            Ok(message) => message,
            Err(error) => return self.exchange.drop(Dropped::Body, &id, &error.to_string()),
        };
        if let Message::Heartbeat { supervisor_info, .. } = &message
            && supervisor_info.supervisor_id != id
        {
            let why = format!("it says in a heartbeat that it is `{}`", supervisor_info.supervisor_id);
            return self.exchange.drop(Dropped::Name, &id, &why);
        }
        let address = body.gets("Peer-Address").unwrap_or_default().to_owned();
        let heard = self.exchange.registry().hear(&id, &address, Now::new());
        match heard {
            Heard::NoRoom => return self.exchange.drop(Dropped::Crowd, &id, "there are too many nodes"),
            Heard::Came => {
                self.comings.borrow_mut().up(&id);
            }
            Heard::Contested => CncNode::Contested { id: &id }.emit(),
            Heard::Stays => {}
        }
        self.take(&id, &address, message);
    }

    /// Who sent a message; `None`: nobody who may.
    fn sender(&self, identity: &[u8], body: &mut zmq::Message) -> Option<String> {
        let id = std::str::from_utf8(identity).ok().filter(|id| !id.is_empty() && !id.chars().any(char::is_control));
        let Some(id) = id else {
            self.exchange.drop(Dropped::Name, &readable(identity), "its identity is no `supervisor_id`");
            return None;
        };
        if let Some(shut_out) = &self.shut_out {
            let listed = body.gets("User-Id").unwrap_or_default();
            if listed != id {
                self.exchange.registry().note_displaced(id);
                shut_out.shut_out(listed, SHUT_OUT);
                let why = format!("it calls itself `{id}`, and its key is listed for `{listed}`");
                self.exchange.drop(Dropped::Name, listed, &why);
                return None;
            }
        }
        if id == self.nodes.own_id() {
            self.exchange.drop(Dropped::Name, id, "that is the name of this server itself");
            return None;
        }
        Some(id.to_owned())
    }

    fn take(&self, id: &str, address: &str, message: Message) {
        match message {
            Message::Heartbeat { supervisor_info, .. } => self.exchange.registry().note_info(id, supervisor_info),
            Message::Log { log, .. } => self.exchange.registry().keep(id, log),
            // Who gives it cannot say who he is: nodes command a server in the words of the others.
            Message::ReqCommand { .. } | Message::ReqCancel { .. } => {
                self.exchange.drop(Dropped::Unexpected, id, message.name());
            }
            request if request.is_request() => self.carry_out(id, address, request),
            response => {
                let name = response.name();
                if self.exchange.pending().answer(id, response).is_err() {
                    self.exchange.drop(Dropped::Unexpected, id, name);
                }
            }
        }
    }

    /// A node asks the server itself.
    fn carry_out(&self, id: &str, address: &str, request: Message) {
        if let Some(answer) = at_once(&request, || self.nodes.said_of_themselves()) {
            return self.exchange.send(id, &answer);
        }
        let Some(place) = self.places.take(id, false) else {
            self.exchange.drop(Dropped::Busy, id, request.name());
            if let Some(busy) = busy(&request) {
                self.exchange.send(id, &busy);
            }
            return;
        };
        let caller = Caller::remote(id, format!("CNC {address}"), self.role);
        let (nodes, exchange, id) = (self.nodes.clone(), self.exchange.clone(), id.to_owned());
        self.runtime.spawn(async move {
            let answered = answer(nodes.desk(), caller, &request, Some(place)).await;
            // A status that is refused has no words for that.
            if let Ok(response) = answered {
                exchange.send(&id, &response);
            }
        });
    }

    fn send(&self, delayed: &mut Delayed) {
        let given_up = delayed.send_again(|letter| self.try_send(letter));
        given_up.into_iter().for_each(|letter| self.give_up(letter));
        for letter in self.letters.waiting.try_iter() {
            if let Err(letter) = delayed.send(letter, |letter| self.try_send(letter)) {
                self.give_up(letter);
            }
        }
    }

    fn try_send(&self, letter: &Letter) -> Sent {
        let sent = self.socket.send(letter.to.as_bytes(), zmq::DONTWAIT | zmq::SNDMORE);
        match sent.and_then(|()| self.socket.send(&letter.body, zmq::DONTWAIT)) {
            Ok(()) => Sent::Yes,
            Err(zmq::Error::EAGAIN) => Sent::NotNow,
            Err(_) => Sent::Never,
        }
    }

    fn give_up(&self, Letter { to, request, .. }: Letter) {
        self.exchange.drop(Dropped::Unsent, &to, "it is not connected, or takes no messages");
        if let Some(request) = request {
            // Whoever waits hears of it at once.
            self.exchange.pending().end(&request);
        }
    }

    fn look_who_is_silent(&self) {
        let silent = self.exchange.registry().fall_silent(Instant::now());
        let mut comings = self.comings.borrow_mut();
        silent.iter().for_each(|id| comings.down(id));
        comings.look();
    }
}

/// An identity that may be anything, for people.
fn readable(identity: &[u8]) -> String {
    String::from_utf8_lossy(identity).chars().filter(|letter| !letter.is_control()).take(64).collect()
}

/// What is spent of a slice of time on what comes.
struct Slice {
    begun: Instant,
    spent: Duration,
}

impl Slice {
    fn new() -> Self {
        Self { begun: Instant::now(), spent: Duration::ZERO }
    }

    /// How long nothing is to be received, if the share has been had.
    fn pause(&mut self) -> Option<Duration> {
        let passed = self.begun.elapsed();
        if passed >= SLICE {
            // What was spent too much counts as spent of this one.
            let shares = u32::try_from(passed.as_millis() / SLICE.as_millis()).unwrap_or(u32::MAX);
            self.spent = self.spent.saturating_sub(SHARE.saturating_mul(shares));
            self.begun = Instant::now();
        }
        (!self.has_room()).then(|| SLICE.saturating_sub(self.begun.elapsed()))
    }

    fn has_room(&self) -> bool {
        self.spent < SHARE
    }

    fn spend<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.spent += begun.elapsed();
        done
    }
}
