//! `DAQJobTest`: random numbers, for a first look and for tests.

use std::time::Duration;

use enrgdaq::job::{Context, Job, JobError, Kind, Operation, Refusal, Requests, Table};
use enrgdaq::message::StoreConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pulse::{Pulse, unix_ms};

/// Makes a row of random integers once a second: columns `timestamp` (ms since the Unix epoch), `A`, `B`, `C`.
///
/// It answers operations: `enrgdaq call NAME status` shows its range and how many rows it has made; `set_range rand_min=1
/// rand_max=6` changes the range from the next row on, until it starts again; `dump rows=5` shows the next 5 rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestConfig {
    /// The smallest number.
    #[schemars(example = 0)]
    rand_min: i64,
    /// The largest number.
    #[schemars(example = 100)]
    rand_max: i64,
    /// Where the rows are stored.
    store_config: StoreConfig,
}

/// From which to which number; the parameters of `set_range`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    rand_min: i64,
    rand_max: i64,
}

impl Range {
    fn check(self) -> Result<(), Refusal> {
        match self.rand_min <= self.rand_max {
            true => Ok(()),
            false => {
                let reason = format!("is below `rand_min`, which is {}", self.rand_min);
                Err(Refusal { key: "rand_max".into(), reason })
            }
        }
    }
}

/// The parameters of `dump`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    rows: u64,
}

/// The parameters of an operation that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A row.
#[derive(Debug, Clone, Copy, Serialize)]
struct Row {
    timestamp: i64,
    #[serde(rename = "A")]
    a: i64,
    #[serde(rename = "B")]
    b: i64,
    #[serde(rename = "C")]
    c: i64,
}

/// Somebody who is shown the next rows.
#[derive(Debug)]
struct Dump {
    operation: Operation,
    rows: u64,
    shown: u64,
}

/// The job.
#[derive(Debug)]
pub(crate) struct Test {
    range: Range,
    store_config: StoreConfig,
    requests: Requests,
    dumps: Vec<Dump>,
    rows: u64,
}

impl Job for Test {
    const TYPE: &'static str = "DAQJobTest";
    const KIND: Kind = Kind::Source;
    const ALIASES: &'static [&'static str] = &["test"];
    type Config = TestConfig;

    fn check(config: &TestConfig) -> Result<(), Vec<Refusal>> {
        let TestConfig { rand_min, rand_max, .. } = *config;
        Range { rand_min, rand_max }.check().map_err(|refusal| vec![refusal])
    }

    fn new(config: TestConfig, cx: &Context) -> Result<Self, JobError> {
        let TestConfig { rand_min, rand_max, store_config } = config;
        let range = Range { rand_min, rand_max };
        Ok(Self { range, store_config, requests: cx.requests(), dumps: Vec::new(), rows: 0 })
    }

    fn run(mut self, cx: Context) -> Result<(), JobError> {
        let mut pulse = Pulse::every(Duration::from_secs(1));
        loop {
            // Rows come before operations, however many of those there are.
            while !pulse.left().is_zero() && !cx.stopping() {
                if let Some(operation) = self.requests.next(pulse.left()) {
                    self.carry_out(operation);
                }
            }
            if !pulse.wait(&cx) {
                return Ok(());
            }
            self.make_row(&cx)?;
            cx.alive();
        }
    }
}

impl Test {
    fn make_row(&mut self, cx: &Context) -> Result<(), JobError> {
        let Range { rand_min, rand_max } = self.range;
        let random = || fastrand::i64(rand_min..=rand_max);
        let row = Row { timestamp: unix_ms(), a: random(), b: random(), c: random() };
        let table = Table::new()
            .column("timestamp", [row.timestamp])
            .column("A", [row.a])
            .column("B", [row.b])
            .column("C", [row.c])
            .build()?;
        cx.publisher().store_table(&self.store_config, None, &table)?;
        self.rows += 1;
        let dumps = std::mem::take(&mut self.dumps);
        self.dumps = dumps.into_iter().filter_map(|dump| dump.show(row)).collect();
        Ok(())
    }

    fn carry_out(&mut self, operation: Operation) {
        match operation.name() {
            "status" => {
                if let Some(Nothing {}) = operation.parse() {
                    let Range { rand_min, rand_max } = self.range;
                    operation.finish(json!({"rand_min": rand_min, "rand_max": rand_max, "rows": self.rows}));
                }
            }
            "set_range" => {
                let Some(range) = operation.parse::<Range>() else { return };
                match range.check() {
                    Ok(()) => {
                        self.range = range;
                        operation.finish(range);
                    }
                    Err(refusal) => operation.fail(format!("`{}` {}", refusal.key, refusal.reason)),
                }
            }
            "dump" => {
                let Some(Rows { rows }) = operation.parse() else { return };
                self.dumps.extend(Dump { operation, rows, shown: 0 }.go_on());
            }
            _ => operation.fail_unknown(&["status", "set_range", "dump"]),
        }
    }
}

impl Dump {
    /// Shows a row; `None` if it was the last one, or nobody looks any more.
    fn show(mut self, row: Row) -> Option<Self> {
        self.shown += 1;
        if self.operation.send(row) { self.go_on() } else { None }
    }

    fn go_on(self) -> Option<Self> {
        if self.shown < self.rows {
            return Some(self);
        }
        self.operation.finish(json!({"rows": self.shown}));
        None
    }
}
