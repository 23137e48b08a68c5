//! `DAQJobStoreMemory`: keeps messages in memory, for tests and benchmarks, and verifies what benchmarks send.

use std::time::{Duration, Instant};

use enrgdaq::job::{Backend, Context, Delivery, Job, JobError, Kind};
use enrgdaq::message::MessageKind;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use super::verifier::Verifier;

/// The figures are renewed this often at least, also when nothing comes.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The clock is looked at after so many messages, or payloads of so many bytes.
const LOOK_AFTER_MESSAGES: usize = 64;
const LOOK_AFTER_BYTES: usize = 1 << 20;

/// Keeps what it gets in memory until it ends, for tests and benchmarks. What `DAQJobBenchmark` sends it verifies word by
/// word, and its status shows what was wrong, lost, swapped or repeated.
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
    /// Verifies what comes from `DAQJobBenchmark`.
    #[serde(default = "yes")]
    verify: bool,
}

fn yes() -> bool {
    true
}

/// Messages are kept in memory; there is nothing to choose.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MemoryTarget {}

/// The job.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    config: MemoryStoreConfig,
    kept: Vec<Vec<u8>>,
    verifier: Option<Verifier>,
    since: Instant,
    /// When it was last looked at the clock, in nanoseconds.
    at_ns: u64,
    reported_at_ns: u64,
    messages: usize,
    bytes: usize,
}

impl Job for MemoryStore {
    const TYPE: &'static str = "DAQJobStoreMemory";
    const KIND: Kind = Kind::Store;
    type Config = MemoryStoreConfig;

    fn backend() -> Option<Backend> {
        Some(Backend { key: "memory", schema: schema_for!(MemoryTarget) })
    }

    fn messages() -> Vec<MessageKind> {
        vec![MessageKind::store_tabular(), MessageKind::store_raw()]
    }

    fn new(config: MemoryStoreConfig, _: &Context) -> Result<Self, JobError> {
        Ok(Self {
            verifier: config.verify.then(Verifier::new),
            config,
            kept: Vec::new(),
            since: Instant::now(),
            at_ns: 0,
            reported_at_ns: 0,
            messages: 0,
            bytes: 0,
        })
    }

    fn run(mut self, cx: Context) -> Result<(), JobError> {
        let result = self.work(&cx);
        self.look_at_clock();
        self.report(&cx);
        result
    }
}

impl MemoryStore {
    fn work(&mut self, cx: &Context) -> Result<(), JobError> {
        loop {
            match cx.inbox().next(REPORT_EVERY)? {
                Some(delivery) => self.take(delivery),
                None if cx.stopping() => return Ok(()),
                None => self.messages = LOOK_AFTER_MESSAGES,
            }
            if self.messages >= LOOK_AFTER_MESSAGES || self.bytes >= LOOK_AFTER_BYTES {
                (self.messages, self.bytes) = (0, 0);
                self.look_at_clock();
                cx.alive();
                if self.at_ns - self.reported_at_ns >= nanoseconds(REPORT_EVERY) {
                    self.report(cx);
                }
            }
        }
    }

    fn take(&mut self, mut delivery: Delivery) {
        if let Some(verifier) = &mut self.verifier {
            verifier.look_at(&mut delivery, self.at_ns);
        }
        let payloads = (0..).map_while(|n| delivery.payload(n));
        self.bytes += payloads.clone().map(<[u8]>::len).sum::<usize>();
        self.messages += 1;
        if !self.config.void_data {
            self.kept.push(payloads.flatten().copied().collect());
            if self.config.dispose_after_n_entries.is_some_and(|n| self.kept.len() >= n) {
                self.kept.clear();
            }
        }
        delivery.ack();
    }

    fn look_at_clock(&mut self) {
        self.at_ns = nanoseconds(self.since.elapsed());
    }

    fn report(&mut self, cx: &Context) {
        self.reported_at_ns = self.at_ns;
        if let Some(verifier) = &self.verifier {
            verifier.report(cx, self.at_ns);
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
