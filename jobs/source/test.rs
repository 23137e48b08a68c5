//! `DAQJobTest`: random numbers, for a first look and for tests.

use std::time::Duration;

use enrgdaq::job::{Context, Job, JobError, Kind, Refusal, Table};
use enrgdaq::message::StoreConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use super::pulse::{Pulse, unix_ms};

/// Makes a row of random integers once a second: columns `timestamp` (ms since the Unix epoch), `A`, `B`, `C`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestConfig {
    /// The smallest number.
    rand_min: i64,
    /// The largest number.
    rand_max: i64,
    /// Where the rows are stored.
    store_config: StoreConfig,
}

/// The job.
#[derive(Debug)]
pub(crate) struct Test(TestConfig);

impl Job for Test {
    const TYPE: &'static str = "DAQJobTest";
    const KIND: Kind = Kind::Source;
    const ALIASES: &'static [&'static str] = &["test"];
    type Config = TestConfig;

    fn check(config: &TestConfig) -> Result<(), Vec<Refusal>> {
        match config.rand_min <= config.rand_max {
            true => Ok(()),
            false => {
                let reason = format!("is below `rand_min`, which is {}", config.rand_min);
                Err(vec![Refusal { key: "rand_max".into(), reason }])
            }
        }
    }

    fn new(config: TestConfig, _: &Context) -> Result<Self, JobError> {
        Ok(Self(config))
    }

    fn run(self, cx: Context) -> Result<(), JobError> {
        let TestConfig { rand_min, rand_max, store_config } = self.0;
        let mut pulse = Pulse::every(Duration::from_secs(1));
        while pulse.wait(&cx) {
            let random = || [fastrand::i64(rand_min..=rand_max)];
            let row = Table::new()
                .column("timestamp", [unix_ms()])
                .column("A", random())
                .column("B", random())
                .column("C", random())
                .build()?;
            cx.publisher().store_table(&store_config, None, &row)?;
            cx.alive();
        }
        Ok(())
    }
}
