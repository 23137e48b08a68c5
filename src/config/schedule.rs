//! When a job starts that does not run all the time. Pure: no clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Shorter pauses are what a job does itself.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longer ones could overflow a clock.
const LONGEST: Duration = Duration::from_hours(24 * 366);

/// When a job starts.
#[derive(Clone, PartialEq)]
pub struct Schedule {
    text: String,
    times: Times,
}

#[derive(Clone, PartialEq)]
enum Times {
    Every(Duration),
    Cron(Box<Cron>),
}

/// What follows from a schedule: by which clock to wait.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// So long after the last start, by a clock that nobody sets.
    After(Duration),
    /// At this time of the wall clock.
    At(Zoned),
    /// Never again.
    Never,
}

impl Schedule {
    /// The next start after one at that time.
    #[must_use]
    pub fn next(&self, last: &Zoned) -> Next {
        match &self.times {
            Times::Every(pause) => Next::After(*pause),
            Times::Cron(cron) => cron.find_next_occurrence(last, false).map_or(Next::Never, Next::At),
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({})", self.text)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    /// What is wrong with it, and what to write.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let times = match text.trim().strip_prefix("every ") {
            Some(pause) => Times::Every(every(pause)?),
            None => Times::Cron(Box::new(cron(text)?)),
        };
        Ok(Self { text: text.to_owned(), times })
    }
}

fn every(pause: &str) -> Result<Duration, String> {
    let pause = pause.trim();
    let split = pause.find(|c: char| !c.is_ascii_digit()).unwrap_or(pause.len());
    let (count, unit) = pause.split_at(split);
    let unit = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("write `every`, a whole number and s, min, h or d: \"every 10 min\"".into()),
    };
    let seconds = count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    let pause = seconds.map(Duration::from_secs).filter(|pause| (SHORTEST..=LONGEST).contains(pause));
    pause.ok_or_else(|| "the pause must be at least 1 s and at most a year".into())
}

fn cron(text: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| {
        format!("{error}; write five fields as in crontab (minute hour day month weekday), or \"every 10 min\"")
    })?;
    match cron.find_next_occurrence(&Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC), false) {
        Ok(_) => Ok(cron),
        Err(_) => Err("there is no such day: the job would never start".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    fn next(schedule: &str, last: &str) -> Next {
        schedule.parse::<Schedule>().unwrap().next(&at(last))
    }

    #[test]
    fn a_pause_has_a_number_and_a_unit() {
        let last = "2026-11-21T02:30:00[Europe/Berlin]";
        for (text, seconds) in [("every 1 s", 1), ("every 10 min", 600), ("every 2h", 7200), ("every 1 d", 86_400)] {
            assert_eq!(next(text, last), Next::After(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["every", "every x", "every 0 s", "every 1000 d", "every 5 weeks", "every 99999999999999999999 s"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn five_fields_are_a_time_of_the_wall_clock() {
        let last = "2026-11-21T02:30:00[Europe/Berlin]";
        assert_eq!(next("30 2 * * *", last), Next::At(at("2026-11-22T02:30:00[Europe/Berlin]")));
        assert_eq!(next("*/5 * * * *", last), Next::At(at("2026-11-21T02:35:00[Europe/Berlin]")));
        assert_eq!(next("0 0 29 2 *", last), Next::At(at("2028-02-29T00:00:00[Europe/Berlin]")));
        for text in ["", "61 * * * *", "* * * *", "* * * * * *", "@reboot", "0 0 31 2 *"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_a_change_of_the_clock_leaves_out_or_repeats_comes_once() {
        let spring = next("30 2 * * *", "2026-03-28T02:30:00[Europe/Berlin]");
        let Next::At(spring) = spring else { panic!("{spring:?}") };
        assert_eq!(spring.date(), at("2026-03-29T12:00:00[Europe/Berlin]").date());

        let autumn = next("30 2 * * *", "2026-10-24T02:30:00[Europe/Berlin]");
        let Next::At(autumn) = autumn else { panic!("{autumn:?}") };
        let Next::At(after) = "30 2 * * *".parse::<Schedule>().unwrap().next(&autumn) else { panic!("never again") };
        assert_eq!(after.date(), at("2026-10-26T12:00:00[Europe/Berlin]").date());
    }
}
