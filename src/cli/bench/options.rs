//! What can be typed after `enrgdaq bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// How long to measure and what.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Options {
    /// How many sources send at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=255))]
    pub(super) clients: u64,
    /// Values of each message: rows of two floats, 16 bytes.
    #[arg(long, value_name = "VALUES", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=268_435_456))]
    pub(super) payload_size: u64,
    /// Bytes of each message, to the byte, instead of --payload-size; the messages are raw bytes.
    #[arg(long, value_name = "N", conflicts_with = "payload_size", value_parser = clap::value_parser!(u64).range(8..=4_294_967_296))]
    pub(super) bytes: Option<u64>,
    /// What the messages hold.
    #[arg(long, value_enum)]
    pub(super) content: Option<Content>,
    /// How long to measure, in seconds; a second of warming up comes before.
    #[arg(long, value_name = "S", default_value = "10", value_parser = duration)]
    pub(super) duration: Duration,
    /// Messages a second of each source; without it as many as possible.
    #[arg(long, value_name = "HZ", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Store into memory, and verify every word: the default.
    #[arg(long, conflicts_with = "store")]
    pub(super) use_memory_store: bool,
    /// Store with another job type, by its name or by its key in store_config, such as csv. It verifies nothing.
    #[arg(long, value_name = "TYPE")]
    pub(super) store: Option<String>,
    /// Send payloads over the bus, not through shared memory.
    #[arg(long)]
    pub(super) no_shm: bool,
    /// How the jobs wait for messages and for room; busy needs a core for each of them.
    #[arg(long, value_enum, default_value_t = Wait::Sleep)]
    pub(super) wait: Wait,
    /// Measure payloads from 100 B to 8 MB, one after the other; print a table and draw a picture.
    #[arg(long, conflicts_with_all = ["payload_size", "bytes", "plant"])]
    pub(super) sweep: bool,
    /// Where the picture of --sweep goes.
    #[arg(long, value_name = "FILE", default_value = "bench.png", requires = "sweep")]
    pub(super) png: PathBuf,
    /// Make one fault on purpose, after 1000 messages; exit status 0 means that exactly this was found.
    #[arg(long, value_enum, conflicts_with = "store")]
    pub(super) plant: Option<Plant>,
    /// Print JSON, one line a measurement.
    #[arg(long)]
    pub(super) json: bool,
    /// Show the log of the supervisor and its jobs.
    #[arg(long)]
    pub(super) verbose: bool,
}

/// What messages hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content {
    /// A table of two columns of floats; without --bytes the default.
    Table,
    /// Bytes.
    Raw,
    /// Records of 8 bytes, each its own message, sent in packs.
    Records,
}

/// How jobs wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wait {
    /// A short spin, then asleep.
    Sleep,
    /// Never asleep.
    Busy,
}

/// A fault that is made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Plant {
    /// A wrong word.
    Wrong,
    /// A message that is left out.
    Lost,
    /// Two messages that are exchanged.
    Swapped,
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (1.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds from 1 to 86400".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1e9).contains(rate));
    rate.ok_or_else(|| "messages a second, from 0.1 to 1e9".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_numbers_that_make_sense() {
        assert_eq!(duration("2.5"), Ok(Duration::from_millis(2500)));
        assert!(duration("0").is_err() && duration("NaN").is_err() && duration("ten").is_err());
        assert_eq!(rate("1000"), Ok(1000.0));
        assert!(rate("0").is_err() && rate("inf").is_err());
    }
}
