//! This node, as all parts of its federation share it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use enrgdaq_ring::Policy;
use parking_lot::Mutex;

use super::interest::{Direction, Interest};
use super::kept::{Kept, write};
use super::link::Link;
use super::port::Port;
use crate::config::FederationConfig;
use crate::job::RingPlace;
use crate::message::{Alert, Severity};

/// The key of a leaf's one link.
pub(super) const HUB: &str = "hub";

/// What the federation needs of the supervisor that it belongs to.
pub(crate) trait Home: Send + Sync {
    /// Gives what comes over a link a region of that size; `false`: not before what is in the old one has been read.
    ///
    /// # Errors
    /// Why there is none.
    fn give_region(&self, link: &str, bytes: usize) -> Result<bool, String>;

    /// Subscribes the ring for a link.
    ///
    /// # Errors
    /// Why there is no place.
    fn subscribe(&self, link: &str, policy: Policy, topics: Vec<String>) -> Result<(), String>;

    /// Raises an alert.
    fn raise(&self, severity: Severity, message: String);

    /// An alert of another node has come.
    fn hear(&self, alert: Alert);
}

/// What stands in the ring for what comes over a link.
pub(crate) fn writer_number(link: &str) -> u128 {
    RingPlace::number(&format!("link:{link}"))
}

/// What stands in the ring for who sends everything over a link, and who sends the latest.
pub(crate) fn reader_number(link: &str) -> u128 {
    RingPlace::number(&format!("link:{link}:all"))
}

pub(crate) fn latest_number(link: &str) -> u128 {
    RingPlace::number(&format!("link:{link}:latest"))
}

/// The node.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) is_hub: bool,
    pub(super) config: FederationConfig,
    /// From which the name of the ring is made.
    pub(super) ring: String,
    pub(super) state_dir: PathBuf,
    pub(super) port: Port,
    pub(super) home: Box<dyn Home>,
    /// Nothing comes in any more.
    pub(super) is_closed: AtomicBool,
    /// Some job of this node needs copies over the bus.
    pub(super) has_outsiders: AtomicBool,
    pub(super) strangers: AtomicU64,
    pub(super) bad_frames: AtomicU64,
    pub(super) late_words: AtomicU64,
    /// What the jobs of this node want.
    wanted: Mutex<Interest>,
    /// Rises whenever anybody wants something else.
    version: AtomicU64,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Node {
    pub(super) fn new(
        id: String,
        config: FederationConfig,
        (ring, state_dir): (String, PathBuf),
        home: Box<dyn Home>,
    ) -> Self {
        Self {
            id,
            is_hub: config.is_server,
            config,
            ring,
            state_dir,
            port: Port::default(),
            home,
            is_closed: AtomicBool::new(false),
            has_outsiders: AtomicBool::new(false),
            strangers: AtomicU64::new(0),
            bad_frames: AtomicU64::new(0),
            late_words: AtomicU64::new(0),
            wanted: Mutex::default(),
            version: AtomicU64::new(1),
        }
    }

    /// What the jobs of this node want.
    pub(super) fn wanted(&self) -> Interest {
        self.wanted.lock().clone()
    }

    pub(super) fn set_wanted(&self, interest: Interest) {
        let mut wanted = self.wanted.lock();
        if *wanted != interest {
            *wanted = interest;
            self.note_change();
        }
    }

    /// Rises whenever anybody wants something else.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    fn note_change(&self) {
        self.version.fetch_add(1, Relaxed);
    }

    /// The other end of a link wants this from now on, also after a restart.
    pub(super) fn set_interest(&self, link: &Link, interest: Interest) {
        let limit = if self.is_hub { None } else { self.config.forward.as_deref() };
        let interest = interest.checked().limited(limit);
        if link.set_interest(interest.clone()) {
            self.note_change();
            if let Err(error) = write(&link.dir, &Kept { key: link.key.clone(), interest }) {
                let text = format!("what {} wants is forgotten at the next start: {error}", link.peer());
                self.home.raise(Severity::Warning, text);
            }
        }
    }

    /// Nothing is kept for the other end any more.
    pub(super) fn forget(&self, link: &Link) {
        self.set_interest(link, Interest::default());
    }

    /// Who speaks and who hears, for what goes out.
    pub(super) fn outward<'a>(&'a self, link: &'a Link) -> Direction<'a> {
        if self.is_hub { Direction::Down { leaf: &link.key } } else { Direction::Up { leaf: &self.id } }
    }

    /// The same for what comes in.
    pub(super) fn inward<'a>(&'a self, link: &'a Link) -> Direction<'a> {
        if self.is_hub { Direction::Up { leaf: &link.key } } else { Direction::Down { leaf: &self.id } }
    }
}
