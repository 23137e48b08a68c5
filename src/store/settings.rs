//! The keys that all stores have.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a message is safe, and so acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// As soon as the system or the server has it: it survives the death of any process. It survives a power failure a
    /// flush interval later.
    #[default]
    Written,
    /// Not before it survives a power failure.
    Synced,
}

/// How a store keeps what it gets.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Keeping {
    /// When a message is acknowledged, so that its sender need not keep it any longer: `written` when the system or the
    /// server has it, which survives the death of any process; `synced` when it survives a power failure too.
    pub durability: Durability,
    /// What came reaches the disk at least this often.
    #[schemars(range(min = 0.01, max = 3600.0))]
    pub flush_interval_seconds: f64,
    /// While the backend is away (a full disk, a server that is gone), so much of what comes is kept in files, in 10⁹ bytes;
    /// 0: nothing, and the sources wait as soon as the ring is full.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub spool_max_gb: f64,
    /// Where it is kept; without it in the supervisor's `state_dir`.
    pub spool_dir: Option<PathBuf>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { durability: Durability::default(), flush_interval_seconds: 1.0, spool_max_gb: 4.0, spool_dir: None }
    }
}

/// Stores the messages that are sent to it, each once. Its keys are those of all stores, and its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StoreSettings<C> {
    /// Those of all stores.
    #[serde(flatten)]
    pub keeping: Keeping,
    /// Its own.
    #[serde(flatten)]
    pub own: C,
}
