//! What libzmq tells of a socket's connections.
//!
//! Invariant: it lives longer than its socket: libzmq waits for somebody who hears what it tells.

use zmq::SocketEvent;

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Both sides speak.
    Handshake,
    /// The other side speaks something else, or with other keys.
    NoHandshake,
    /// The other side does not know our key.
    KeyRefused,
    /// It has ended.
    Ended,
}

/// Hears it.
pub(crate) struct Monitor(zmq::Socket);

impl Monitor {
    /// Of a socket; each of a context needs a name of its own.
    ///
    /// # Errors
    /// libzmq's: no descriptors.
    pub(crate) fn of(context: &zmq::Context, socket: &zmq::Socket, name: &str) -> Result<Self, zmq::Error> {
        let address = format!("inproc://{name}");
        let events = [
            SocketEvent::HANDSHAKE_SUCCEEDED,
            SocketEvent::HANDSHAKE_FAILED_NO_DETAIL,
            SocketEvent::HANDSHAKE_FAILED_PROTOCOL,
            SocketEvent::HANDSHAKE_FAILED_AUTH,
            SocketEvent::DISCONNECTED,
        ];
        socket.monitor(&address, events.iter().fold(0, |all, event| all | i32::from(event.to_raw())))?;
        let monitor = context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        monitor.connect(&address)?;
        Ok(Self(monitor))
    }

    /// For a poll.
    pub(crate) fn as_poll_item(&self) -> zmq::PollItem<'_> {
        self.0.as_poll_item(zmq::POLLIN)
    }

    /// What has happened since it was last asked.
    pub(crate) fn happenings(&self) -> impl Iterator<Item = Happening> + '_ {
        std::iter::from_fn(|| self.0.recv_multipart(zmq::DONTWAIT).ok()).filter_map(|frames| parse(frames.first()?))
    }
}

/// The first frame: the event, two bytes, and a value, four, as this machine has them.
fn parse(frame: &[u8]) -> Option<Happening> {
    let event = SocketEvent::from_raw(u16::from_ne_bytes(*frame.first_chunk()?));
    match event {
        SocketEvent::HANDSHAKE_SUCCEEDED => Some(Happening::Handshake),
        SocketEvent::HANDSHAKE_FAILED_NO_DETAIL | SocketEvent::HANDSHAKE_FAILED_PROTOCOL => {
            Some(Happening::NoHandshake)
        }
        SocketEvent::HANDSHAKE_FAILED_AUTH => Some(Happening::KeyRefused),
        SocketEvent::DISCONNECTED => Some(Happening::Ended),
        _ => None,
    }
}
