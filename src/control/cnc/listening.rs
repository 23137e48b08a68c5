//! The server's port: bound before any job starts, with the keys of those who may come in.
//!
//! Invariant: with keys nobody gets in whose key is not listed, at no time: the gate opens before the port.

use std::cell::RefCell;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::thread;

use tokio::runtime::Handle;

use super::body::MAX_BYTES;
use super::comings::Comings;
use super::drops::Dropped;
use super::exchange::Exchange;
use super::nodes::Nodes;
use super::places::Places;
use super::server::Server;
use crate::bus::{Gate, Guests, Keys, Monitor, Stranger, read_key, text_of};
use crate::config::{CncConfig, Role};
use crate::control::network::NetworkError;
use crate::os::Wake;
use crate::telemetry::{CncInsecure, CncServes};

/// Messages that wait for one node, and from one node, in libzmq.
const HIGH_WATER_OUT: i32 = 64;
const HIGH_WATER_IN: i32 = 8;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 512;

/// In milliseconds: how long a handshake may take, how often a silent connection is probed, and when it is dead.
const HANDSHAKE_MS: i32 = 5000;
const PROBE_MS: i32 = 2000;
const PROBE_TIMEOUT_MS: i32 = 6000;

/// A server that listens, and is not served yet.
pub(crate) struct Listening {
    // In the order in which they end.
    socket: zmq::Socket,
    monitor: Monitor,
    gate: Option<Waiting>,
    context: zmq::Context,
    address: String,
    is_insecure: bool,
    role: Role,
}

/// A gate, and who it turns away, until somebody hears of that.
struct Waiting {
    gate: Gate,
    turned_away: std::sync::mpsc::Receiver<Stranger>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listening {
    /// Binds the port; with keys only those who are listed get in.
    ///
    /// # Errors
    /// [`NetworkError`]: no usable keys, the port is taken, no descriptors.
    pub(crate) fn bind(cnc: &CncConfig, config_dir: &Path) -> Result<Self, NetworkError> {
        let context = zmq::Context::new();
        let mut socket = context.socket(zmq::ROUTER).map_err(NetworkError::Socket)?;
        settle(&socket).map_err(NetworkError::Socket)?;
        let gate = match &cnc.curve {
            Some(curve) => {
                let keys = Keys::read(&config_dir.join(&curve.key_file))?;
                let guests = curve.clients.iter().map(|(id, key)| Ok((read_key(key)?, id.clone())));
                let guests = guests.collect::<Result<Guests, NetworkError>>()?;
                keys.apply_server(&mut socket, "cnc").map_err(NetworkError::Socket)?;
                // Turned away while nobody hears of it: so many are remembered.
                let (tell, turned_away) = std::sync::mpsc::sync_channel(64);
                let gate = Gate::open(&context, guests, move |stranger| drop(tell.try_send(stranger)))?;
                Some(Waiting { gate, turned_away })
            }
            None => None,
        };
        let monitor = Monitor::of(&context, &socket, "cnc-monitor").map_err(NetworkError::Socket)?;
        let host = numeric(&cnc.server_bind, cnc.server_port);
        socket.set_ipv6(host.starts_with('[')).map_err(NetworkError::Socket)?;
        let address = format!("tcp://{host}:{}", cnc.server_port);
        socket.bind(&address).map_err(|source| NetworkError::Address { address: address.clone(), source })?;
        // A port that the system chose has a number now.
        let address = socket.get_last_endpoint().ok().and_then(Result::ok).unwrap_or(address);
        let is_insecure = gate.is_none() && !cnc.is_server_local();
        Ok(Self { socket, monitor, gate, context, address, is_insecure, role: cnc.role_of_clients() })
    }

    /// Where it listens.
    #[cfg(test)]
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// The system's: no thread, no descriptor.
    pub(crate) fn serve(self, nodes: Nodes, runtime: Handle) -> std::io::Result<Serving> {
        let Self { socket, monitor, gate, context, address, is_insecure, role } = self;
        CncServes { address: &address, is_encrypted: gate.is_some() }.emit();
        if is_insecure {
            CncInsecure::Server { address: &address }.emit();
        }
        let exchange = nodes.exchange().clone();
        let (gate, shut_out) = match gate {
            Some(Waiting { gate, turned_away }) => {
                let (shut_out, exchange) = (gate.shut_out(), exchange.clone());
                // It ends with the gate.
                thread::Builder::new().name("cnc-strangers".into()).spawn(move || {
                    turned_away.iter().for_each(|stranger| tell(&exchange, &stranger));
                })?;
                (Some(gate), Some(shut_out))
            }
            None => (None, None),
        };
        let letters = exchange.take_letters(shut_out.is_some()).ok_or(std::io::ErrorKind::Other)?;
        let stop = Wake::new()?;
        let server = Server {
            socket,
            monitor,
            letters,
            stop: stop.clone(),
            shut_out,
            comings: RefCell::new(Comings::new(exchange.events().clone())),
            exchange,
            nodes,
            places: Places::default(),
            role,
            runtime,
            _context: context,
        };
        let thread = thread::Builder::new().name("cnc-server".into()).spawn(move || server.work())?;
        Ok(Serving { stop, thread: Some(thread), _gate: gate })
    }
}

/// A server that is served, until it is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    stop: Wake,
    thread: Option<thread::JoinHandle<()>>,
    _gate: Option<Gate>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.ring();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// What every ROUTER of ours has.
fn settle(socket: &zmq::Socket) -> Result<(), zmq::Error> {
    socket.set_linger(0)?;
    socket.set_maxmsgsize(i64::try_from(MAX_BYTES).expect("it is small"))?;
    socket.set_sndhwm(HIGH_WATER_OUT)?;
    socket.set_rcvhwm(HIGH_WATER_IN)?;
    socket.set_backlog(BACKLOG)?;
    // A node that cannot be reached is told of, instead of passed over.
    socket.set_router_mandatory(true)?;
    // A node that comes back over another connection is heard, though the old one has not ended yet.
    socket.set_router_handover(true)?;
    socket.set_handshake_ivl(HANDSHAKE_MS)?;
    socket.set_heartbeat_ivl(PROBE_MS)?;
    socket.set_heartbeat_timeout(PROBE_TIMEOUT_MS)?;
    socket.set_tcp_keepalive(1)
}

/// A host as libzmq binds it: it takes addresses, and `*`, but no names.
fn numeric(host: &str, port: u16) -> String {
    let plain = host.trim_matches(['[', ']']);
    let resolved = (plain, port).to_socket_addrs().ok();
    let address = resolved.and_then(|found| {
        let found: Vec<_> = found.collect();
        found.iter().find(|address| address.is_ipv4()).or(found.first()).map(SocketAddr::ip)
    });
    match address {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => host.to_owned(),
    }
}

fn tell(exchange: &Exchange, stranger: &Stranger) {
    let Stranger { key, address, shut_out } = stranger;
    let key = key.as_ref().map_or_else(|| "no key".into(), text_of);
    match shut_out {
        Some(name) => exchange.drop(Dropped::Key, name, "it spoke under another name, and stays out for a while"),
        None => exchange.drop(Dropped::Key, address, &format!("its key {key} is not in `[cnc.curve.clients]`")),
    }
}
