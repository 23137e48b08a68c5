//! What a node and its jobs say, on its way to the server.
//!
//! Invariants: lines that the server cannot take stay where they are, in the memory of the supervisor, which forgets the
//! oldest; how many are missing is said in a line in their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::body::encode;
use super::message::{ClientLog, Message};
use super::outbox::Outbox;
use crate::config::{Role, Verbosity};
use crate::control::{Caller, Command, Desk, LogQuery, LoggedLine, Reply};
use crate::os::iso_now;
use crate::telemetry::OWN;

/// How often there may be news.
const EVERY: Duration = Duration::from_millis(500);

/// Lines that are read at a time.
const LINES: usize = 500;

/// The longest text of a line, in bytes.
const LONGEST: usize = 8 << 10;

/// Whether lines of a level are among those of a verbosity.
pub(super) fn is_shown(verbosity: Verbosity, level: &str) -> bool {
    let rank = |level: &str| ["DEBUG", "INFO", "WARNING", "ERROR"].iter().position(|name| *name == level).unwrap_or(1);
    let least = match verbosity {
        Verbosity::Debug => "DEBUG",
        Verbosity::Info => "INFO",
        Verbosity::Warning => "WARNING",
        Verbosity::Error => "ERROR",
    };
    rank(level) >= rank(least)
}

/// A line as the server keeps it.
pub(super) fn as_client_log(LoggedLine { job, line, .. }: LoggedLine, client_id: &str) -> ClientLog {
    let mut message = line.message;
    message.truncate(message.floor_char_boundary(LONGEST));
    ClientLog { level: line.level, message, timestamp: line.timestamp, module: job, client_id: client_id.into() }
}

/// Reads the lines of a node one after the other.
pub(super) struct Follower {
    pub(super) desk: Desk,
    pub(super) id: String,
    pub(super) verbosity: Verbosity,
    /// Where they go.
    pub(super) out: Outbox<Vec<u8>>,
    /// Whether there is a server that takes them.
    pub(super) is_connected: Arc<AtomicBool>,
}

impl Follower {
    /// From the first line on, for ever.
    pub(super) async fn follow(self) {
        let mut seen = 0;
        let mut news = tokio::time::interval(EVERY);
        news.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            news.tick().await;
            // One page after the other, as long as they are taken.
            while self.is_connected.load(Ordering::Relaxed) {
                let lines = self.read(seen).await;
                let is_all = lines.len() < LINES;
                if !self.hand_in(lines, &mut seen) || is_all {
                    break;
                }
            }
        }
    }

    async fn read(&self, after: u64) -> Vec<LoggedLine> {
        let caller = Caller::remote(&self.id, "CNC", Role::Viewer);
        let query = LogQuery { lines: LINES, since: None, after: Some(after) };
        match self.desk.ask(&caller, Command::Logs { name: None, query }).await {
            Ok(Reply::Logs { lines, .. }) => lines,
            _ => Vec::new(),
        }
    }

    /// Hands in what is taken, and notes how far that goes; `false`: not all of it.
    fn hand_in(&self, lines: Vec<LoggedLine>, seen: &mut u64) -> bool {
        for line in lines {
            let number = line.number;
            let missing = number.saturating_sub(*seen + 1);
            if missing > 0 && !self.send(missing_line(missing, &self.id)) {
                return false;
            }
            // It is said once, also if the line itself finds no room.
            *seen = number - 1;
            if is_shown(self.verbosity, &line.line.level) && !self.send(as_client_log(line, &self.id)) {
                return false;
            }
            *seen = number;
        }
        true
    }

    fn send(&self, log: ClientLog) -> bool {
        encode(&Message::Log { req_id: None, log }).is_ok_and(|body| self.out.hand_in(body).is_ok())
    }
}

fn missing_line(missing: u64, client_id: &str) -> ClientLog {
    ClientLog {
        level: "WARNING".into(),
        message: format!("{missing} lines of the log are missing here: the server was away, or they came too fast"),
        timestamp: iso_now(),
        module: OWN.into(),
        client_id: client_id.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::decode;
    use super::super::outbox::outbox;
    use super::*;
    use crate::job::LogLine;

    fn line(number: u64, level: &str) -> LoggedLine {
        let text = |text: &str| text.to_owned();
        let line =
            LogLine { level: text(level), module: text("m"), message: format!("line {number}"), timestamp: text("t") };
        LoggedLine { number, job: text("csv"), line }
    }

    fn follower() -> (Follower, super::super::outbox::Letters<Vec<u8>>) {
        let (out, letters) = outbox().unwrap();
        let (desk, id) = (crate::control::cnc::tests::idle_desk(), "lab1".to_owned());
        let is_connected = Arc::default();
        (Follower { desk, id, verbosity: Verbosity::Info, out, is_connected }, letters)
    }

    #[test]
    fn lines_of_a_verbosity_are_those_that_are_as_bad_or_worse() {
        let levels = ["DEBUG", "INFO", "WARNING", "ERROR"];
        let verbosities = [Verbosity::Debug, Verbosity::Info, Verbosity::Warning, Verbosity::Error];
        for (least, verbosity) in verbosities.into_iter().enumerate() {
            for (rank, level) in levels.into_iter().enumerate() {
                assert_eq!(is_shown(verbosity, level), rank >= least, "{verbosity:?} {level}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_said_in_its_place_and_what_finds_no_room_comes_later() {
        let (follower, letters) = follower();
        let mut seen = 0;

        let all = (1..=1000).filter(|number| !(5..10).contains(number)).map(|number| line(number, "INFO")).collect();
        assert!(!follower.hand_in(all, &mut seen), "not all find room");
        let before = seen;
        let said = |letters: &super::super::outbox::Letters<Vec<u8>>| -> Vec<String> {
            let logs = letters.waiting.try_iter().map(|body| match decode(&body).unwrap() {
                Message::Log { log, .. } => log.message,
                other => panic!("{other:?}"),
            });
            logs.collect()
        };
        let first = said(&letters);
        assert!(follower.hand_in(vec![line(before + 1, "DEBUG"), line(before + 2, "ERROR")], &mut seen));

        assert_eq!(first[3], "line 4");
        assert!(first[4].starts_with("5 lines of the log are missing"), "{}", first[4]);
        assert_eq!(first[5], "line 10");
        assert_eq!(first.last().unwrap(), &format!("line {before}"));
        assert_eq!(said(&letters), [format!("line {}", before + 2)]);
        assert_eq!(seen, before + 2);
    }
}
