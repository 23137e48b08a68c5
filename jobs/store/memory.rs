//! `DAQJobStoreMemory`: keeps messages in memory, for tests and benchmarks.

use std::time::Duration;

use enrgdaq::job::{Backend, Context, Delivery, Job, JobError, Kind};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

/// Keeps what it gets in memory until it ends, for tests and benchmarks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryStoreConfig {
    /// Forgets all that it holds whenever it holds so many messages; without it, it never does.
    #[serde(default)]
    #[schemars(range(min = 1))]
    dispose_after_n_entries: Option<usize>,
    /// Takes messages and keeps nothing.
    #[serde(default)]
    void_data: bool,
}

/// The table `[store_config.memory]` has no keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MemoryTarget {}

/// The job.
#[derive(Debug)]
pub(crate) struct MemoryStore(MemoryStoreConfig);

impl Job for MemoryStore {
    const TYPE: &'static str = "DAQJobStoreMemory";
    const KIND: Kind = Kind::Store;
    type Config = MemoryStoreConfig;

    fn backend() -> Option<Backend> {
        Some(Backend { key: "memory", schema: schema_for!(MemoryTarget) })
    }

    fn new(config: MemoryStoreConfig, _: &Context) -> Result<Self, JobError> {
        Ok(Self(config))
    }

    fn run(self, cx: Context) -> Result<(), JobError> {
        let mut kept: Vec<Delivery> = Vec::new();
        loop {
            match cx.inbox().next(Duration::MAX)? {
                Some(_) if self.0.void_data => {}
                Some(delivery) => kept.push(delivery),
                None if cx.stopping() => return Ok(()),
                None => {}
            }
            if self.0.dispose_after_n_entries.is_some_and(|n| kept.len() >= n) {
                kept.clear();
            }
            cx.alive();
        }
    }
}
