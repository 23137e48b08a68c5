//! The federation of one supervisor, from its ports to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use super::hub::{Hub, known_leaves};
use super::interest::Interest;
use super::kept::{self, Kept};
use super::leaf::Leaf;
use super::link::Link;
use super::listed::{Listed, NewList};
use super::node::{HUB, Home, Node};
use super::relay::{Links, Relays};
use super::sockets::{FederationError, Ports, Way};
use crate::bus::{BusError, Contexts, Endpoints, Publisher};
use crate::config::FederationConfig;
use crate::control::{FederationRole, FederationStatus};
use crate::message::{Origin, Plane, SupervisorInfo};
use crate::os::{Wake, short_hash};
use crate::telemetry::{Federates, FederationInsecure};

/// At the end so long is waited for the other end's acknowledgements; what is not acknowledged goes to the disk.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Somebody at the other end of a link for whom the ring keeps what it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// The link.
    pub(crate) key: String,
    /// What is wanted wholly.
    pub(crate) topics: Vec<String>,
}

/// For whom the ring keeps something from the start, before anybody has connected.
pub(crate) fn guests(config: &FederationConfig, state_dir: &Path) -> Vec<Guest> {
    let known = match config.is_server {
        true => known_leaves(config, state_dir),
        false => vec![Kept { key: HUB.into(), interest: hub_interest(config, state_dir) }],
    };
    let guest = |Kept { key, interest }: Kept| Guest { key, topics: interest.on(Plane::Data).0 };
    known.into_iter().map(guest).filter(|guest| !guest.topics.is_empty()).collect()
}

/// What the hub wants, as it said last; of one that has never said so, everything.
fn hub_interest(config: &FederationConfig, state_dir: &Path) -> Interest {
    let kept = kept::read_hub(state_dir).map(|kept| kept.interest);
    kept.unwrap_or_else(Interest::unknown).limited(config.forward.as_deref())
}

/// Ports are bound and keys are read, so that a fault shows before anything starts.
pub(crate) struct Prepared {
    config: FederationConfig,
    way: Direction,
}

enum Direction {
    Hub(Box<Ports>),
    Leaf(Box<Way>),
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What it is made of.
pub(crate) struct Parts<'a> {
    pub(crate) contexts: &'a Contexts,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) info: &'a SupervisorInfo,
    pub(crate) state_dir: PathBuf,
    pub(crate) home: Box<dyn Home>,
    pub(crate) wanted: Interest,
    pub(crate) has_outsiders: bool,
}

impl Prepared {
    /// # Errors
    /// [`FederationError`]: no usable keys, a port is taken.
    pub(crate) fn of(config: FederationConfig, config_dir: &Path) -> Result<Self, FederationError> {
        let way = match config.is_server {
            true => Direction::Hub(Box::new(Ports::bind(&config, config_dir)?)),
            false => Direction::Leaf(Box::new(Way::new(&config, config_dir)?)),
        };
        Ok(Self { config, way })
    }

    /// Starts all threads.
    ///
    /// # Errors
    /// [`FederationError`]: no sockets or threads; what waits for another node cannot be opened.
    pub(crate) fn start(self, parts: Parts<'_>) -> Result<Federation, FederationError> {
        let Parts { contexts, endpoints, info, state_dir, home, wanted, has_outsiders } = parts;
        let Self { config, way } = self;
        self::tell(&config, &way);
        let id = info.supervisor_id.clone();
        let node = Arc::new(Node::new(id.clone(), config.clone(), (short_hash(&id), state_dir), home));
        node.set_wanted(wanted);
        node.has_outsiders.store(has_outsiders, Relaxed);
        let stop = Wake::new().map_err(BusError::System)?;
        let bus = Publisher::connect(contexts, endpoints, Origin::default(), stop.clone())?;
        bus.never_linger()?;
        let bus = Arc::new(bus);
        let (links, new_list) = (Links::default(), NewList::default());
        let main: Box<dyn FnOnce() + Send> = match way {
            Direction::Hub(ports) => {
                let hub = Hub::new(node.clone(), *ports, (bus.clone(), links.clone(), new_list.clone(), stop.clone()))?;
                Box::new(move || hub.run())
            }
            Direction::Leaf(way) => {
                let interest = hub_interest(&config, &node.state_dir);
                let dir = kept::dir_of_hub(&node.state_dir);
                let link = Arc::new(Link::new(HUB.into(), None, dir, way.is_encrypted(), interest));
                links.lock().push(link.clone());
                let leaf = Leaf::new(node.clone(), *way, link, (&bus, stop.clone()))?;
                Box::new(move || leaf.run())
            }
        };
        let relays = Relays::start(contexts, endpoints, &node, &links)?;
        let thread = thread::Builder::new().name("federation".into()).spawn(main).map_err(BusError::System)?;
        Ok(Federation { node, links, new_list, relays: Some(relays), stop, thread: Some(thread), bus })
    }
}

fn tell(config: &FederationConfig, way: &Direction) {
    match way {
        Direction::Hub(ports) => {
            let (xpub, xsub) = config.listen_urls();
            Federates::Hub { xpub: &xpub, xsub: &xsub, is_encrypted: ports.gate.is_some() }.emit();
        }
        Direction::Leaf(way) => {
            let (xpub, xsub) = way.urls();
            Federates::Leaf { xpub, xsub, is_encrypted: way.is_encrypted() }.emit();
        }
    }
    if config.curve.is_none() && !config.is_local() {
        FederationInsecure.emit();
    }
}

/// The links of a supervisor; dropped, it ends without last words.
#[derive(Debug)]
pub(crate) struct Federation {
    node: Arc<Node>,
    links: Links,
    new_list: NewList,
    relays: Option<Relays>,
    stop: Wake,
    thread: Option<thread::JoinHandle<()>>,
    bus: Arc<Publisher>,
}

impl Federation {
    /// What the jobs of this node want, and whether one of them hears by the bus only.
    pub(crate) fn set_wanted(&self, interest: Interest, has_outsiders: bool) {
        self.node.has_outsiders.store(has_outsiders, Relaxed);
        self.node.set_wanted(interest);
    }

    /// From now on these leaves may connect, each with its key, and no others.
    pub(crate) fn list(&self, leaves: &BTreeMap<String, String>) {
        *self.new_list.lock() = Some(Listed::of(leaves));
    }

    /// Nothing comes in any more: what the other nodes send waits there.
    pub(crate) fn close_intake(&self) {
        self.node.is_closed.store(true, Relaxed);
    }

    /// All jobs have ended: what is still to go is sent, or kept on the disk.
    pub(crate) fn finish(mut self) {
        self.end(LAST_WORDS);
    }

    fn end(&mut self, within: Duration) {
        self.close_intake();
        self.relays.take();
        self.links.lock().iter().for_each(|link| link.finish(within));
        self.stop.ring();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        self.bus.close(Plane::Control);
        self.bus.close(Plane::Data);
    }

    /// The picture of now.
    pub(crate) fn status(&self) -> FederationStatus {
        FederationStatus {
            role: if self.node.is_hub { FederationRole::Hub } else { FederationRole::Leaf },
            strangers: self.node.strangers.load(Relaxed),
            bad_frames: self.node.bad_frames.load(Relaxed),
            late_words: self.node.late_words.load(Relaxed),
            links: self.links.lock().iter().filter(|link| link.is_expected()).map(|link| link.status()).collect(),
        }
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end(Duration::ZERO);
        }
    }
}
