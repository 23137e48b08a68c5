//! The sockets of a node: what it speaks through (XPUB) and what it hears with (XSUB), with keys where there are any.
//!
//! ```text
//!   hub    XPUB binds server_xpub_url  ──▶ XSUB connects to remote_server_xpub_url    leaf
//!          XSUB binds server_xsub_url  ◀── XPUB connects to remote_server_xsub_url
//! ```
//! Invariants: with keys nobody gets in whose key is not listed, at no time: the gate opens before the port; a peer that
//! does not read costs the memory of what it was sent and has not acknowledged, no more; what is for one leaf no other can
//! subscribe without its session.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, sync_channel};

use thiserror::Error;

use super::listed::Listed;
use super::quay::MAX_MESSAGE;
use crate::bus::{BusError, Gate, KeyError, Keys, Monitor, PublicKey, Stranger, read_key};
use crate::config::{CurveConfig, FederationConfig};
use crate::os::set_xpub_manual;

/// Messages that libzmq holds for one node. What may be under way has its own bound, in bytes.
const HIGH_WATER_OUT: i32 = 200_000;

/// Messages that libzmq has read ahead from one node.
const HIGH_WATER_IN: i32 = 1000;

/// In milliseconds: how long a handshake may take, how often a silent connection is probed, when it is dead, and when one
/// that is lost is tried again, at first and at most.
const HANDSHAKE_MS: i32 = 5000;
const PROBE_MS: i32 = 1000;
const PROBE_TIMEOUT_MS: i32 = 4000;
const RECONNECT_MS: i32 = 100;
const RECONNECT_MAX_MS: i32 = 1000;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Those who were turned away and have not been told of yet.
const TURNED_AWAY: usize = 64;

/// Why a node cannot federate.
#[derive(Debug, Error)]
pub enum FederationError {
    /// Its keys cannot be used.
    #[error("cannot use the keys of `[federation.curve]`")]
    Keys(#[from] KeyError),
    /// It cannot listen there.
    #[error("cannot listen at {url}, where the other nodes are to connect (`[federation]`)")]
    Listen {
        /// Where.
        url: String,
        /// What libzmq said.
        source: zmq::Error,
    },
    /// There is no socket or thread.
    #[error("there are no sockets for the links to other nodes")]
    Sockets(#[from] BusError),
    /// What waits for another node cannot be opened.
    #[error("cannot open what waits for {peer}")]
    Spool {
        /// Which node.
        peer: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Speaks and hears.
pub(super) struct Pair {
    pub(super) speaks: zmq::Socket,
    pub(super) hears: zmq::Socket,
}

/// The ports of a hub.
pub(super) struct Ports {
    // In the order in which they end.
    pub(super) pair: Pair,
    pub(super) monitors: [Monitor; 2],
    pub(super) turned_away: Receiver<Stranger>,
    /// So many more were, while too many waited to be told of.
    pub(super) turned_away_untold: Arc<AtomicU64>,
    /// With keys: whose are known, and who sees to it.
    pub(super) gate: Option<(Listed, Gate)>,
    pub(super) _context: zmq::Context,
}

impl Ports {
    /// Binds both.
    ///
    /// # Errors
    /// [`FederationError`]: no usable keys, a port is taken.
    pub(super) fn bind(config: &FederationConfig, config_dir: &Path) -> Result<Self, FederationError> {
        let context = zmq::Context::new();
        let mut pair = pair(&context).map_err(BusError::Socket)?;
        // Nobody hears what is for others: only whole sessions can be subscribed.
        set_xpub_manual(&mut pair.speaks, true).map_err(BusError::Socket)?;
        let (tell, turned_away) = sync_channel(TURNED_AWAY);
        let turned_away_untold = Arc::new(AtomicU64::new(0));
        let untold = turned_away_untold.clone();
        let gate = match &config.curve {
            Some(curve) => {
                let keys = Keys::read(&config_dir.join(&curve.key_file))?;
                let listed = Listed::of(&curve.clients);
                let knock = move |stranger| {
                    if tell.try_send(stranger).is_err() {
                        untold.fetch_add(1, Relaxed);
                    }
                };
                let gate = Gate::open(&context, listed.guests()?, knock)?;
                for socket in [&mut pair.speaks, &mut pair.hears] {
                    keys.apply_server(socket, "federation").map_err(BusError::Socket)?;
                }
                Some((listed, gate))
            }
            None => None,
        };
        let monitor = |socket, name| Monitor::of(&context, socket, name).map_err(BusError::Socket);
        let monitors = [monitor(&pair.speaks, "speaks")?, monitor(&pair.hears, "hears")?];
        let (xpub, xsub) = config.listen_urls();
        for (socket, url) in [(&pair.speaks, xpub), (&pair.hears, xsub)] {
            socket.set_backlog(BACKLOG).map_err(BusError::Socket)?;
            socket.bind(&url).map_err(|source| FederationError::Listen { url, source })?;
        }
        hear_all(&pair.hears)?;
        Ok(Self { pair, monitors, turned_away, turned_away_untold, gate, _context: context })
    }
}

/// How a leaf gets to its hub.
pub(super) struct Way {
    context: zmq::Context,
    /// The hub's sockets: what it speaks through, what it hears with.
    urls: (String, String),
    keys: Option<(Keys, PublicKey)>,
}

impl Way {
    /// # Errors
    /// [`FederationError::Keys`].
    pub(super) fn new(config: &FederationConfig, config_dir: &Path) -> Result<Self, FederationError> {
        let keys = |curve: &CurveConfig| -> Result<_, KeyError> {
            let hub = read_key(curve.server_key.as_deref().unwrap_or_default())?;
            Ok((Keys::read(&config_dir.join(&curve.key_file))?, hub))
        };
        let keys = config.curve.as_ref().map(keys).transpose()?;
        let (xpub, xsub) = config.hub_urls().unwrap_or_default();
        Ok(Self { context: zmq::Context::new(), urls: (xpub.to_owned(), xsub.to_owned()), keys })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn urls(&self) -> (&str, &str) {
        (&self.urls.0, &self.urls.1)
    }

    /// New connections, and with them nothing of what was under way on old ones.
    ///
    /// # Errors
    /// What libzmq says, of a host without a name too.
    pub(super) fn connect(&self, session: &[u8]) -> Result<Pair, zmq::Error> {
        let pair = pair(&self.context)?;
        for (socket, url) in [(&pair.hears, &self.urls.0), (&pair.speaks, &self.urls.1)] {
            if let Some((keys, hub)) = &self.keys {
                keys.apply_client(socket, hub)?;
            }
            socket.set_reconnect_ivl(RECONNECT_MS)?;
            socket.set_reconnect_ivl_max(RECONNECT_MAX_MS)?;
            socket.connect(url)?;
        }
        pair.hears.send([&[1], session].concat(), 0)?;
        Ok(pair)
    }
}

fn pair(context: &zmq::Context) -> Result<Pair, zmq::Error> {
    let make = |kind| {
        let socket = context.socket(kind)?;
        socket.set_linger(0)?;
        socket.set_sndhwm(HIGH_WATER_OUT)?;
        socket.set_rcvhwm(HIGH_WATER_IN)?;
        socket.set_maxmsgsize(i64::try_from(MAX_MESSAGE).unwrap_or(i64::MAX))?;
        socket.set_ipv6(true)?;
        socket.set_handshake_ivl(HANDSHAKE_MS)?;
        socket.set_heartbeat_ivl(PROBE_MS)?;
        socket.set_heartbeat_timeout(PROBE_TIMEOUT_MS)?;
        Ok(socket)
    };
    Ok(Pair { speaks: make(zmq::XPUB)?, hears: make(zmq::XSUB)? })
}

/// A hub hears all that leaves say; what of it is wanted it has told them.
fn hear_all(socket: &zmq::Socket) -> Result<(), FederationError> {
    socket.send(&[1u8][..], 0).map_err(BusError::Socket)?;
    Ok(())
}

/// All frames of the next message that is here.
pub(super) fn receive(socket: &zmq::Socket) -> Option<Vec<zmq::Message>> {
    /// No message of ours has more; of one that has, the rest is passed over.
    const MOST: usize = 4;
    let mut frames = Vec::with_capacity(3);
    let mut flags = zmq::DONTWAIT;
    loop {
        match socket.recv_msg(flags) {
            Ok(frame) => {
                let has_more = frame.get_more();
                if frames.len() < MOST {
                    frames.push(frame);
                }
                if !has_more {
                    return Some(frames);
                }
                flags = 0;
            }
            Err(zmq::Error::EINTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Word;
    use super::super::port::Port;
    use super::*;

    #[test]
    fn only_who_knows_a_session_hears_it() {
        let dir = tempfile::tempdir().unwrap();
        let ipc = |name: &str| Some(format!("ipc://{}/{name}", dir.path().display()));
        let (server_xpub_url, server_xsub_url) = (ipc("xpub"), ipc("xsub"));
        let config =
            FederationConfig { is_server: true, server_xpub_url, server_xsub_url, ..FederationConfig::default() };
        let ports = Ports::bind(&config, dir.path()).unwrap();
        let port = Port::default();
        port.put(Some(ports.pair.speaks));
        let context = zmq::Context::new();
        let subscribed = |topic: &[u8]| {
            let socket = context.socket(zmq::SUB).unwrap();
            socket.set_subscribe(topic).unwrap();
            socket.connect(&config.listen_urls().0).unwrap();
            socket
        };
        let (curious, leaf) = (subscribed(b""), subscribed(&[7; 16]));

        let mut heard = Err(zmq::Error::EAGAIN);
        leaf.set_rcvtimeo(20).unwrap();
        for _ in 0..500 {
            port.admit();
            port.say(&[7; 16], &Word::Bye);
            heard = leaf.recv_bytes(0);
            if heard.is_ok() {
                break;
            }
        }

        assert_eq!(heard.unwrap()[..16], [7; 16]);
        curious.set_rcvtimeo(200).unwrap();
        assert_eq!(curious.recv_bytes(0), Err(zmq::Error::EAGAIN));
    }
}
