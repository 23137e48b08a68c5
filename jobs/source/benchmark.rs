//! `DAQJobBenchmark`: numbered messages whose every word is known, at a rate or as fast as it can.

use std::time::{Duration, Instant};

use enrgdaq::job::{Context, Job, JobError, Kind, Refusal, StoreError, Stream};
use enrgdaq::message::{StoreConfig, TableShape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::jobs::pattern::Pattern;

/// Bytes of a row: two floats.
const ROW_BYTES: usize = 16;

/// The message at which a planted fault appears.
const PLANTED_AT: u64 = 1000;

/// The figures are renewed after so many messages, or payloads of so many bytes.
const REPORT_AFTER_MESSAGES: usize = 256;
const REPORT_AFTER_BYTES: usize = 16 << 20;

/// A pause that is shorter is not worth going to sleep.
const SHORTEST_SLEEP: Duration = Duration::from_micros(20);

/// What is behind the beat by more is given up, not caught up.
const LATEST: Duration = Duration::from_millis(100);

/// Sends numbered messages whose every word follows from its place, for measuring throughput, latency and losses.
/// `DAQJobStoreMemory` verifies them; `enrgdaq bench` runs both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BenchmarkConfig {
    /// Rows of each message; a row has 16 bytes.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 268_435_456))]
    payload_size: usize,
    /// Payloads go through shared memory; else over the bus.
    #[serde(default = "yes")]
    use_shm: bool,
    /// Messages a second; without it as many as possible.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    rate_hz: Option<f64>,
    /// What the messages hold.
    #[serde(default)]
    content: Content,
    /// Bytes of each message, instead of `payload_size`; for `content = "raw"`.
    #[serde(default)]
    #[schemars(range(min = 8, max = 4_294_967_296_u64))]
    bytes: Option<usize>,
    /// Ends after so many messages.
    #[serde(default)]
    messages: Option<u64>,
    /// Makes one fault after 1000 messages, so that one can see that it is found.
    #[serde(default)]
    plant: Option<Plant>,
    /// Where the messages go.
    store_config: StoreConfig,
}

fn thousand() -> usize {
    1000
}

fn yes() -> bool {
    true
}

/// What messages hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Content {
    /// Two columns of floats, `timestamp` and `value`.
    #[default]
    Table,
    /// As many bytes.
    Raw,
    /// Records of 8 bytes, each its own message, sent in packs.
    Records,
}

/// A fault that is made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Plant {
    /// A wrong word.
    Wrong,
    /// A message that is left out.
    Lost,
    /// Two messages that are exchanged.
    Swapped,
}

/// The job.
#[derive(Debug)]
pub(crate) struct Benchmark(BenchmarkConfig);

impl Job for Benchmark {
    const TYPE: &'static str = "DAQJobBenchmark";
    const KIND: Kind = Kind::Source;
    type Config = BenchmarkConfig;

    fn check(config: &BenchmarkConfig) -> Result<(), Vec<Refusal>> {
        match config.bytes.is_some() && config.content != Content::Raw {
            true => {
                let reason = "is for `content = \"raw\"`; `payload_size` says how many rows a table has".into();
                Err(vec![Refusal { key: "bytes".into(), reason }])
            }
            false => Ok(()),
        }
    }

    fn new(config: BenchmarkConfig, _: &Context) -> Result<Self, JobError> {
        Ok(Self(config))
    }

    fn run(self, cx: Context) -> Result<(), JobError> {
        let mut sender = Sender::new(self.0, &cx)?;
        let result = sender.work(&cx);
        // What is still in a pack was sent: the job's last words.
        let is_flushed = sender.stream.flush();
        sender.report(&cx);
        result.and(is_flushed.map_err(JobError::from))
    }
}

/// Sends, and counts.
struct Sender {
    content: Content,
    bytes: usize,
    plant: Option<Plant>,
    limit: u64,
    pause: Option<Duration>,
    stream: Stream,
    shape: TableShape,
    pattern: Pattern,
    sent: u64,
    since: Instant,
}

impl Sender {
    fn new(config: BenchmarkConfig, cx: &Context) -> Result<Self, StoreError> {
        let bytes = match config.content {
            Content::Records => 8,
            Content::Table => config.payload_size * ROW_BYTES,
            Content::Raw => config.bytes.unwrap_or(config.payload_size * ROW_BYTES),
        };
        let stream = cx.publisher().stream(&config.store_config, None)?;
        Ok(Self {
            content: config.content,
            bytes,
            plant: config.plant,
            limit: config.messages.unwrap_or(u64::MAX),
            pause: config.rate_hz.map(|rate| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX)),
            stream: if config.use_shm { stream } else { stream.over_bus() },
            shape: TableShape::new().column::<f64>("timestamp").column::<f64>("value"),
            pattern: Pattern::of(cx.unique_id()),
            sent: 0,
            since: Instant::now(),
        })
    }

    fn work(&mut self, cx: &Context) -> Result<(), JobError> {
        let (mut messages, mut bytes) = (0, 0);
        let mut due = Instant::now();
        while self.sent < self.limit && !cx.stopping() {
            if let Some(pause) = self.pause {
                if !wait(cx, due) {
                    break;
                }
                due = next_beat(due, pause, Instant::now());
            }
            self.send(number(self.plant, self.sent), self.plant == Some(Plant::Wrong) && self.sent == PLANTED_AT)?;
            self.sent += 1;
            (messages, bytes) = (messages + 1, bytes + self.bytes);
            if self.pause.is_some() || messages >= REPORT_AFTER_MESSAGES || bytes >= REPORT_AFTER_BYTES {
                (messages, bytes) = (0, 0);
                cx.alive();
                self.report(cx);
            }
        }
        Ok(())
    }

    fn send(&mut self, number: u64, is_spoilt: bool) -> Result<(), StoreError> {
        let mut words = self.pattern.message(number);
        match self.content {
            Content::Table => self.stream.table(&self.shape, self.bytes / ROW_BYTES, |columns| {
                words.fill_floats(columns.next::<f64>());
                let values = columns.next::<f64>();
                words.fill_floats(values);
                if let (true, Some(last)) = (is_spoilt, values.last_mut()) {
                    *last = -*last;
                }
            }),
            Content::Raw => self.stream.raw(self.bytes, |bytes| {
                words.fill_bytes(bytes);
                if let (true, Some(word)) = (is_spoilt, bytes.as_chunks_mut::<8>().0.last_mut()) {
                    word[7] ^= 0x80;
                }
                Some(bytes.len())
            }),
            Content::Records => self.stream.record(&(number | u64::from(is_spoilt) << 63).to_le_bytes()),
        }
    }

    /// Shows in the status how many numbers were given away, also to a message that was left out on purpose.
    fn report(&self, cx: &Context) {
        let left_out = u64::from(self.plant == Some(Plant::Lost) && self.sent > PLANTED_AT);
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³")]
        cx.figure("sent", (self.sent + left_out) as f64);
        cx.figure("at_ns", self.since.elapsed().as_secs_f64() * 1e9);
    }
}

/// The number of the message that is sent after `sent` others.
fn number(plant: Option<Plant>, sent: u64) -> u64 {
    match plant {
        Some(Plant::Lost) if sent >= PLANTED_AT => sent + 1,
        Some(Plant::Swapped) if sent == PLANTED_AT => sent + 1,
        Some(Plant::Swapped) if sent == PLANTED_AT + 1 => sent - 1,
        Some(Plant::Wrong | Plant::Lost | Plant::Swapped) | None => sent,
    }
}

/// Waits until then; `false` if the job is to stop.
fn wait(cx: &Context, then: Instant) -> bool {
    while then.saturating_duration_since(Instant::now()) >= SHORTEST_SLEEP {
        if !cx.sleep_until(then) {
            return false;
        }
    }
    !cx.stopping()
}

/// When the next message is due: small delays are caught up, so that the rate is kept; great ones are not.
fn next_beat(due: Instant, pause: Duration, now: Instant) -> Instant {
    let earliest = now.checked_sub(LATEST).unwrap_or(now);
    due.checked_add(pause).unwrap_or(now + Duration::from_secs(86_400)).max(earliest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(plant: Option<Plant>) -> Vec<u64> {
        (PLANTED_AT - 1..PLANTED_AT + 4).map(|sent| number(plant, sent)).collect()
    }

    #[test]
    fn a_plant_is_one_fault() {
        assert_eq!(numbers(None), [999, 1000, 1001, 1002, 1003]);
        assert_eq!(numbers(Some(Plant::Wrong)), numbers(None));
        assert_eq!(numbers(Some(Plant::Lost)), [999, 1001, 1002, 1003, 1004]);
        assert_eq!(numbers(Some(Plant::Swapped)), [999, 1001, 1000, 1002, 1003]);
    }

    #[test]
    fn a_small_delay_is_caught_up_and_a_great_one_is_not() {
        let (start, ms) = (Instant::now() + Duration::from_secs(10), Duration::from_millis);

        assert_eq!(next_beat(start, ms(10), start + ms(50)), start + ms(10));
        assert_eq!(next_beat(start, ms(10), start + ms(500)), start + ms(400));
        assert!(next_beat(start, Duration::MAX, start) > start + ms(1000));
    }
}
