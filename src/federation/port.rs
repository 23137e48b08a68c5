//! The socket through which this node speaks: shared by all threads that send, each of which holds it for one message.
//!
//! Invariants: sending never waits; a message goes whole or not at all; what nobody has subscribed goes nowhere.

use parking_lot::Mutex;

use super::frame::{self, Session, Word};

/// The socket, if there is one.
#[derive(Default)]
pub(super) struct Port(Mutex<Option<zmq::Socket>>);

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}

impl Port {
    /// Speaks through this socket from now on, or through none.
    pub(super) fn put(&self, socket: Option<zmq::Socket>) {
        *self.0.lock() = socket;
    }

    /// Says a word; whether the socket took it.
    pub(super) fn say(&self, session: &Session, word: &Word) -> bool {
        self.send(&frame::write(session, word), None)
    }

    /// Sends a message of a stream: its first frame, envelope and payload.
    pub(super) fn carry(&self, head: &[u8], envelope: &[u8], payload: &[u8]) -> bool {
        self.send(head, Some((envelope, payload)))
    }

    fn send(&self, head: &[u8], rest: Option<(&[u8], &[u8])>) -> bool {
        let guard = self.0.lock();
        let Some(socket) = guard.as_ref() else { return false };
        let flags = zmq::DONTWAIT | if rest.is_some() { zmq::SNDMORE } else { 0 };
        if socket.send(head, flags).is_err() {
            return false;
        }
        // Once the first frame is accepted the others are too: libzmq counts whole messages.
        rest.is_none_or(|(envelope, payload)| {
            socket.send(envelope, zmq::SNDMORE).is_ok() && socket.send(payload, 0).is_ok()
        })
    }

    /// Lets those hear what is for a session who subscribed it, whole, since the last look; gives the sessions that nobody
    /// hears any more. For the socket of a hub, which decides that itself.
    pub(super) fn admit(&self) -> Vec<Session> {
        let guard = self.0.lock();
        let Some(socket) = guard.as_ref() else { return Vec::new() };
        let mut left = Vec::new();
        while let Ok(frame) = socket.recv_msg(zmq::DONTWAIT) {
            let Some((&kind, topic)) = frame.split_first() else { continue };
            let Ok(session) = Session::try_from(topic) else { continue };
            match kind {
                1 => drop(socket.set_subscribe(&session)),
                _ => left.push(session),
            }
        }
        left
    }

    /// Passes over who has subscribed: a leaf's hub hears all.
    pub(super) fn pass_over_subscriptions(&self) {
        let guard = self.0.lock();
        while let Some(Ok(_)) = guard.as_ref().map(|socket| socket.recv_msg(zmq::DONTWAIT)) {}
    }
}
