//! The proxies: what publishers send is forwarded to who subscribed, on one thread a plane.
//!
//! Invariants: a thread ends within 100 ms of being told; while the data plane waits for a job that is full it still takes
//! subscriptions and hears the bell; it waits for nobody but jobs, and the control plane for nobody at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::contexts::Contexts;
use super::endpoints::{Curve, Endpoints, PlaneEndpoints, Transport};
use super::error::BusError;
use super::high_water;
use super::keys::{Keys, text_of};
use super::zap::{Gate, Guests};
use crate::message::Plane;
use crate::os::{Wake, set_xpub_nodrop};

/// How long one attempt to send waits for a full reader, in milliseconds.
const SEND_SLICE_MS: i32 = 20;

/// How many messages are forwarded before the other side and the bell are looked at again.
const BATCH: usize = 256;

/// The two proxies of a supervisor; dropping them ends them.
#[derive(Debug)]
pub(crate) struct Proxies {
    stop: Wake,
    outside_full: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Sockets in the runtime directory; libzmq leaves them there.
    files: Vec<PathBuf>,
    _gates: [Option<Gate>; 2],
}

impl Proxies {
    /// Binds both planes and starts to forward.
    ///
    /// # Errors
    /// [`BusError`]: an address in use, no descriptors.
    pub(crate) fn start(contexts: &Contexts, transport: &Transport) -> Result<(Self, Endpoints), BusError> {
        let keys = match transport {
            Transport::Ipc(_) => None,
            Transport::Tcp => Some(KeysOfStart::new()?),
        };
        let guests: Guests = keys.iter().map(|keys| (keys.client.public, String::new())).collect();
        let gate = |context| keys.is_some().then(|| Gate::open(context, guests.clone(), drop)).transpose();
        let gates = [gate(&contexts.control)?, gate(&contexts.data)?];
        let stop = Wake::new().map_err(BusError::System)?;
        let mut proxies =
            Self { stop, outside_full: Arc::default(), threads: Vec::new(), files: Vec::new(), _gates: gates };
        let control = proxies.bind(contexts, transport, keys.as_ref(), Plane::Control)?;
        let data = proxies.bind(contexts, transport, keys.as_ref(), Plane::Data)?;
        Ok((proxies, Endpoints { control, data, curve: keys.map(|keys| keys.of_jobs()) }))
    }

    /// How often programs outside had no room; shared.
    pub(crate) fn outside_full(&self) -> Arc<AtomicU64> {
        self.outside_full.clone()
    }

    fn bind(
        &mut self,
        contexts: &Contexts,
        transport: &Transport,
        keys: Option<&KeysOfStart>,
        plane: Plane,
    ) -> Result<PlaneEndpoints, BusError> {
        let mut hub = Hub::new(contexts.of(plane), plane, self.stop.clone(), self.outside_full.clone())?;
        for socket in [&mut hub.incoming, &mut hub.outgoing] {
            if let Some(keys) = keys {
                keys.server.apply_server(socket, "bus").map_err(BusError::Socket)?;
            }
        }
        let name = match plane {
            Plane::Control => "control",
            Plane::Data => "data",
        };
        let publish = bind(&hub.incoming, &address(transport, name, "in"))?;
        let subscribe = bind(&hub.outgoing, &address(transport, name, "out"))?;
        self.files
            .extend([&publish, &subscribe].iter().filter_map(|bound| bound.strip_prefix("ipc://").map(Into::into)));
        let thread = thread::Builder::new()
            .name(format!("bus-{name}"))
            .spawn(move || hub.forward())
            .map_err(BusError::System)?;
        self.threads.push(thread);
        Ok(PlaneEndpoints { publish, subscribe })
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.stop.ring();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
        for file in &self.files {
            std::fs::remove_file(file).ok();
        }
    }
}

/// The keys of one start: the proxies' pair, and the one pair of all jobs.
struct KeysOfStart {
    server: Keys,
    client: Keys,
}

impl KeysOfStart {
    fn new() -> Result<Self, BusError> {
        let pair = || Keys::new().map_err(BusError::Socket);
        Ok(Self { server: pair()?, client: pair()? })
    }

    fn of_jobs(&self) -> Curve {
        Curve {
            server_public: text_of(&self.server.public),
            client_public: text_of(&self.client.public),
            client_secret: text_of(&self.client.secret),
        }
    }
}

fn address(transport: &Transport, plane: &str, side: &str) -> String {
    match transport {
        Transport::Ipc(dir) => ipc_address(dir, plane, side),
        Transport::Tcp => "tcp://127.0.0.1:*".into(),
    }
}

fn ipc_address(dir: &Path, plane: &str, side: &str) -> String {
    format!("ipc://{}/{plane}-{side}.ipc", dir.display())
}

fn bind(socket: &zmq::Socket, address: &str) -> Result<String, BusError> {
    let fail = |source| BusError::Address { address: address.to_owned(), source };
    socket.bind(address).map_err(fail)?;
    socket.get_last_endpoint().map_err(fail)?.map_err(|_| fail(zmq::Error::EINVAL))
}

/// The sockets of one plane, owned by its thread.
struct Hub {
    incoming: zmq::Socket,
    outgoing: zmq::Socket,
    stop: Wake,
    plane: Plane,
    outside_full: Arc<AtomicU64>,
}

impl Hub {
    fn new(context: &zmq::Context, plane: Plane, stop: Wake, outside_full: Arc<AtomicU64>) -> Result<Self, BusError> {
        let make = |kind| -> Result<zmq::Socket, zmq::Error> {
            let socket = context.socket(kind)?;
            socket.set_sndhwm(high_water(plane))?;
            socket.set_rcvhwm(high_water(plane))?;
            socket.set_linger(0)?;
            Ok(socket)
        };
        let incoming = make(zmq::XSUB).map_err(BusError::Socket)?;
        let mut outgoing = make(zmq::XPUB).map_err(BusError::Socket)?;
        if plane == Plane::Data {
            set_xpub_nodrop(&mut outgoing, true).map_err(BusError::Socket)?;
            outgoing.set_sndtimeo(SEND_SLICE_MS).map_err(BusError::Socket)?;
        }
        Ok(Self { incoming, outgoing, stop, plane, outside_full })
    }

    fn forward(&mut self) {
        while !self.stop.has_rung() {
            let mut items = [
                self.incoming.as_poll_item(zmq::POLLIN),
                self.outgoing.as_poll_item(zmq::POLLIN),
                zmq::PollItem::from_fd(self.stop.raw_fd(), zmq::POLLIN),
            ];
            match zmq::poll(&mut items, -1) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(_) => return,
            }
            self.pass_subscriptions();
            for _ in 0..BATCH {
                if !self.pass_message() {
                    break;
                }
            }
        }
    }

    /// Tells the publishers who wants what.
    fn pass_subscriptions(&self) {
        while let Ok(subscription) = self.outgoing.recv_msg(zmq::DONTWAIT) {
            self.incoming.send(subscription, 0).ok();
        }
    }

    /// Forwards one message, all its frames; `false` if there was none, or the bell rang.
    fn pass_message(&mut self) -> bool {
        let Ok(topic) = self.incoming.recv_msg(zmq::DONTWAIT) else { return false };
        let mut more = topic.get_more();
        if self.plane == Plane::Data && !topic.starts_with(b"~") {
            return self.pass_outside(&topic, more);
        }
        if !self.pass_topic(&topic, more) {
            return false;
        }
        while more {
            let Ok(frame) = self.incoming.recv_msg(0) else { return false };
            more = frame.get_more();
            if self.outgoing.send(frame, if more { zmq::SNDMORE } else { 0 }).is_err() {
                return false;
            }
        }
        true
    }

    /// Forwards a message that only programs outside subscribe. Nobody waits for one of them that has no room: the others
    /// get the message. From then on libzmq passes it over until it has room again, so it counts once.
    fn pass_outside(&mut self, topic: &[u8], mut more: bool) -> bool {
        let flags = |more: bool| zmq::DONTWAIT | if more { zmq::SNDMORE } else { 0 };
        let has_room = self.outgoing.send(topic, flags(more)).is_ok();
        if !has_room {
            self.outside_full.fetch_add(1, Ordering::Relaxed);
            if set_xpub_nodrop(&mut self.outgoing, false).is_err() || self.outgoing.send(topic, flags(more)).is_err() {
                return false;
            }
        }
        let mut is_whole = true;
        while more && is_whole {
            let Ok(frame) = self.incoming.recv_msg(0) else { break };
            more = frame.get_more();
            is_whole = self.outgoing.send(frame, flags(more)).is_ok();
        }
        let is_strict = has_room || set_xpub_nodrop(&mut self.outgoing, true).is_ok();
        is_whole && is_strict
    }

    /// Sends the first frame, however long a reader takes; `false` when the bell rang before. Once it is accepted
    /// libzmq accepts the others too: its marks count whole messages.
    fn pass_topic(&self, topic: &[u8], more: bool) -> bool {
        let flags = if more { zmq::SNDMORE } else { 0 };
        loop {
            match self.outgoing.send(topic, flags) {
                Ok(()) => return true,
                Err(_) if self.stop.has_rung() => return false,
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => self.pass_subscriptions(),
                Err(_) => return false,
            }
        }
    }
}
