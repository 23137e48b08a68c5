//! Ways in over the network, as `[cnc]` says: the CNC server with those who ask through it, or the client of one.
//!
//! Invariants: what can be taken by others, keys and ports, is taken before any job starts; all commands of the network are
//! carried out on one thread of their own, so that nobody who asks holds up the supervisor.

use std::path::PathBuf;
use std::thread;

use thiserror::Error;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::cnc::{Listening, Nodes, Reporting, Reports, Serving};
use super::desk::Desk;
use super::rest::{self, Rest, RestError, RestGuard, RestParts};
use super::tokens::Tokens;
use crate::bus::{BusError, KeyError};
use crate::config::{Catalog, CncConfig};
use crate::message::SupervisorInfo;

/// Why there is no way in over the network.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// There are no usable keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The port cannot be used.
    #[error(
        "cannot listen at {address}; does another program use it? Choose another `cnc.server_port` or `cnc.server_bind`"
    )]
    Address {
        /// Which.
        address: String,
        /// Why.
        source: zmq::Error,
    },
    /// libzmq refused a socket or an option.
    #[error("cannot open a socket of CNC")]
    Socket(#[source] zmq::Error),
    /// Nobody can look at keys.
    #[error(transparent)]
    Gate(#[from] BusError),
    /// There is no REST API.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The system gave no thread or descriptor.
    #[error("the system refused a thread or a descriptor for CNC or REST")]
    System(#[source] std::io::Error),
}

/// Descriptors of the ways in: libzmq's, and those of a server's nodes; those of the REST API come on top.
const DESCRIPTORS_OF_CNC: u64 = 512;

/// How many descriptors a `[cnc]` may need at a time.
pub(crate) fn descriptors(cnc: &CncConfig) -> u64 {
    DESCRIPTORS_OF_CNC + if cnc.rest_api_enabled { rest::descriptors(cnc) } else { 0 }
}

/// What the ways in are made of.
#[derive(Debug)]
pub(crate) struct NetworkParts {
    /// `[cnc]`.
    pub(crate) cnc: CncConfig,
    /// The folder of `supervisor.toml`, to which its paths are relative.
    pub(crate) config_dir: PathBuf,
    /// Where tokens and the audit log lie.
    pub(crate) state_dir: PathBuf,
    /// Who this supervisor is.
    pub(crate) own: SupervisorInfo,
    /// Where its commands are handed in.
    pub(crate) desk: Desk,
    /// Its job types.
    pub(crate) catalog: Catalog,
}

/// What is taken before any job starts.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Others report here.
    Server {
        /// Where they come.
        listening: Listening,
        /// Who they are.
        nodes: Nodes,
        /// Where people and programs ask.
        rest: Option<Box<(Rest, RestParts)>>,
    },
    /// This supervisor reports to another.
    Client {
        /// To whom.
        reporting: Reporting,
        /// Who this is.
        own: SupervisorInfo,
        /// Where the server's commands are handed in.
        desk: Desk,
    },
}

impl Taken {
    /// As a `[cnc]` says.
    ///
    /// # Errors
    /// [`NetworkError`]: no usable keys, a port that is taken.
    pub(crate) fn of(parts: NetworkParts) -> Result<Self, NetworkError> {
        let NetworkParts { cnc, config_dir, state_dir, own, desk, catalog } = parts;
        if !cnc.is_server {
            return Ok(Self::Client { reporting: Reporting::of(&cnc, &config_dir)?, own, desk });
        }
        let listening = Listening::bind(&cnc, &config_dir)?;
        let nodes = Nodes::new(own, desk.clone()).with_verbosity(cnc.verbosity);
        let rest = cnc.rest_api_enabled.then(|| Rest::bind(&cnc, &config_dir)).transpose()?;
        let rest = rest.map(|rest| {
            let (nodes, tokens) = (nodes.clone(), Tokens::of(&state_dir));
            Box::new((rest, RestParts { state_dir, desk, nodes, tokens, catalog }))
        });
        Ok(Self::Server { listening, nodes, rest })
    }

    /// Begins to serve, or to report.
    ///
    /// # Errors
    /// [`NetworkError::System`].
    pub(crate) fn serve(self) -> Result<Network, NetworkError> {
        let control = Control::start().map_err(NetworkError::System)?;
        let runtime = control.handle.clone();
        let (side, rest) = match self {
            Self::Server { listening, nodes, rest } => {
                let rest = rest.map(|served| served.0.start(served.1)).transpose().map_err(NetworkError::System)?;
                (listening.serve(nodes, runtime).map(At::Server), rest)
            }
            Self::Client { reporting, own, desk } => (reporting.begin(own, desk, runtime).map(At::Client), None),
        };
        Ok(Network { _rest: rest, _side: side.map_err(NetworkError::System)?, _control: control })
    }
}

/// A node's ways in over the network, until it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    // In the order in which they end.
    _rest: Option<RestGuard>,
    _side: At,
    _control: Control,
}

#[derive(Debug)]
enum At {
    Server(#[expect(dead_code, reason = "it serves until it is dropped")] Serving),
    Client(#[expect(dead_code, reason = "it reports until it is dropped")] Reports),
}

/// The thread on which they are, until it is dropped: then all that is under way there is left.
#[derive(Debug)]
struct Control {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Control {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("control".into()).spawn(move || {
            // It ends by a word, or with who would say it.
            runtime.block_on(stopped).ok();
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
