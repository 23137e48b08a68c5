//! A job's log records on their way to the supervisor: one line each on stderr, marked so that no other output is
//! taken for one.
//!
//! ```text
//! 0x1e {"level":"INFO","module":"enrgdaq::jobs","message":"…","timestamp":"2026-11-20T11:00:00.000+01:00"} 0x0a
//! ```
//! (as in RFC 7464, JSON text sequences). All other lines are plain text.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::os::iso_now;

/// Begins a record.
pub(crate) const MARK: char = '\u{1e}';

/// One record of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// `ERROR`, `WARNING`, `INFO` or `DEBUG`.
    pub level: String,
    /// Where in the program.
    pub module: String,
    /// The text, with its fields.
    pub message: String,
    /// ISO 8601 with offset.
    pub timestamp: String,
}

impl LogLine {
    /// Reads one line of a job's output, without its end.
    pub fn parse(line: &str) -> Self {
        let plain = || Self {
            level: "INFO".into(),
            module: "output".into(),
            message: line.trim_end().to_owned(),
            timestamp: iso_now(),
        };
        line.strip_prefix(MARK).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_else(plain)
    }

    /// A record of an event of this process.
    pub(crate) fn of(event: &Event<'_>) -> Self {
        let mut text = Text::default();
        event.record(&mut text);
        Self {
            level: level_name(*event.metadata().level()).into(),
            module: event.metadata().target().into(),
            message: text.0,
            timestamp: iso_now(),
        }
    }
}

/// The names that configs use.
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

/// The message first, then ` name=value` for every other field.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{}", crate::error_chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let result = match field.name() {
            "message" => {
                self.0.insert_str(0, &format!("{value:?}"));
                Ok(())
            }
            name => write!(self.0, " {name}={value:?}"),
        };
        result.expect("a String takes all");
    }
}

/// Writes events as marked lines.
#[derive(Debug)]
pub(super) struct MarkedLines;

impl<S, N> FormatEvent<S, N> for MarkedLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let json = serde_json::to_string(&LogLine::of(event)).map_err(|_| fmt::Error)?;
        writeln!(writer, "{MARK}{json}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_marked_line_is_a_record_and_all_else_is_text() {
        let line = LogLine {
            level: "ERROR".into(),
            module: "m".into(),
            message: "a\nb".into(),
            timestamp: "2026-11-20T11:00:00.000+01:00".into(),
        };
        let marked = format!("{MARK}{}", serde_json::to_string(&line).unwrap());

        assert_eq!(LogLine::parse(&marked), line);
        assert_eq!(LogLine::parse("{\"level\":1}").message, "{\"level\":1}");
        assert_eq!(LogLine::parse(&marked[..20]).module, "output");
    }

    proptest! {
        #[test]
        fn any_line_is_a_record(line in any::<String>()) {
            LogLine::parse(&line);
        }
    }
}
