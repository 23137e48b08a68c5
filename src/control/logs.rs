//! Which lines of a log are wanted, and what one of them is.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::LogLine;

/// Lines where a call does not say how many.
pub(crate) const DEFAULT_LINES: usize = 100;

/// Which lines of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// How many at the most: the newest; those that come first where `after` is given.
    pub lines: usize,
    /// Only those that came since, in milliseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Only those with a higher number.
    pub after: Option<u64>,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self { lines: DEFAULT_LINES, since: None, after: None }
    }
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedLine {
    /// Rises from line to line over all jobs of a supervisor; that of one job has gaps.
    pub number: u64,
    /// Who said it.
    pub job: String,
    /// What.
    #[serde(flatten)]
    pub line: LogLine,
}

/// What became of a job's lines, over all its starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogCounts {
    /// What it said.
    pub lines: u64,
    /// What of it was written into its file.
    pub written: u64,
    /// What was not, as the disk did not take it; the rest is on its way, or there are no files.
    pub dropped: u64,
}

/// A time, as milliseconds since the Unix epoch: so long ago (`10m`, `1.5h`, `90 s`, `2d`), or a date, with or without
/// time and offset (`2026-11-20`, `2026-11-20T12:00`, `2026-11-20T12:00:00+01:00`), else local.
///
/// # Errors
/// What would be right, for any other text.
pub fn parse_since(text: &str) -> Result<i64, String> {
    ago(text.trim())
        .or_else(|| at(text.trim()))
        .map(Timestamp::as_millisecond)
        .ok_or_else(|| format!("`{text}` is no time; write 10m (s, m, h, d), 2026-11-20 or 2026-11-20T12:00"))
}

fn ago(text: &str) -> Option<Timestamp> {
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok().filter(|number| *number >= 0.0)?;
    Timestamp::now().checked_sub(SignedDuration::try_from_secs_f64(number * seconds).ok()?).ok()
}

fn at(text: &str) -> Option<Timestamp> {
    let text = text.replacen(' ', "T", 1);
    let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::system()).ok().map(|time| time.timestamp());
    text.parse::<Timestamp>().ok().or_else(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_so_long_ago_or_a_date() {
        let now = Timestamp::now().as_millisecond();
        for (text, ms) in [("10m", 600_000), ("1.5 h", 5_400_000), ("90s", 90_000), ("2d", 172_800_000)] {
            let found = now - parse_since(text).unwrap();
            assert!((ms - 10_000..=ms).contains(&found), "{text}: {found}");
        }
        assert_eq!(parse_since("2026-09-21T14:13:20.123+00:00"), Ok(1_790_000_000_123));
        assert_eq!(parse_since("2026-09-21T16:13:20+02:00"), Ok(1_790_000_000_000));
        let local: DateTime = "2026-11-20T12:00".parse().unwrap();
        let local = local.to_zoned(TimeZone::system()).unwrap().timestamp().as_millisecond();
        assert_eq!((parse_since("2026-11-20 12:00"), parse_since("2026-11-20T12:00")), (Ok(local), Ok(local)));
        for text in ["", "m", "-5m", "10 parsecs", "soon", "1e400d", "NaNs"] {
            assert!(parse_since(text).is_err(), "{text}");
        }
    }
}
