//! What happens, as it happens: for whoever listens.
//!
//! Invariant: who tells never waits: a listener that is too slow misses events, and is told how many.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::status::StateName;
use crate::message::Alert;

/// What a listener may be behind.
const KEPT: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A job is in another state.
    State {
        /// When, ISO 8601 with offset.
        date: String,
        /// Its name.
        job: String,
        /// Where it was.
        before: StateName,
        /// Where it is.
        state: StateName,
        /// Why, where that is not plain.
        reason: Option<String>,
        /// Its process.
        pid: Option<u32>,
    },
    /// Somebody should know.
    Alert(Alert),
    /// A supervisor has come to the server, is no longer heard of, or was refused.
    Node {
        /// When, ISO 8601 with offset.
        date: String,
        /// Its id, or what it claims to be.
        node: String,
        /// What became of it.
        change: NodeChange,
        /// Why, where that is not plain.
        reason: Option<String>,
    },
}

/// What became of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeChange {
    /// It is heard of, for the first time or again.
    Up,
    /// It was not heard of for a while.
    Down,
    /// It may not come in.
    Refused,
}

impl Event {
    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::State { .. } => "state",
            Self::Alert(_) => "alert",
            Self::Node { .. } => "node",
        }
    }
}

/// Tells all who listen; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }

    /// Tells.
    pub(crate) fn tell(&self, event: Event) {
        // Without a listener it is told to nobody.
        self.0.send(event).ok();
    }

    /// From now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
