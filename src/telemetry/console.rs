//! The supervisor's own log, for people: one line a record, colours only on a terminal.
//!
//! Writing is done by a thread of its own; where the terminal or the pipe does not take the lines they are dropped and
//! counted, and nobody waits.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Verbosity;
use crate::job::LogLine;

/// Lines that wait for the terminal before they are dropped, and the longest of them, in bytes: 8 MB in all.
const BUFFERED_LINES: usize = 4096;
const MAX_LINE: usize = 2048;

/// Keeps the log's thread; dropping it writes what is still buffered.
#[derive(Debug)]
pub(crate) struct LogGuard {
    _worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl LogGuard {
    /// Counts the lines that the terminal or pipe did not take.
    pub(crate) fn dropped_lines(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Sends this process's log to stderr. A second call in a process changes nothing.
pub(crate) fn log_to_console(verbosity: Verbosity) -> LogGuard {
    let (writer, worker) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(BUFFERED_LINES).finish(io::stderr());
    let dropped = writer.error_counter();
    tracing_subscriber::fmt()
        .event_format(Human { is_coloured: io::stderr().is_terminal() })
        .with_max_level(verbosity.level())
        .with_writer(writer)
        .try_init()
        .ok();
    LogGuard { _worker: worker, dropped }
}

/// `2026-11-20 11:00:00.000 INFO    text`, or `… INFO    [job] text` for what a job said.
struct Human {
    is_coloured: bool,
}

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = LogLine::of(event);
        let time = line.timestamp.get(..23).unwrap_or(&line.timestamp).replacen('T', " ", 1);
        let (colour, plain) = match (self.is_coloured, *event.metadata().level()) {
            (false, _) => ("", ""),
            (true, Level::ERROR) => ("\u{1b}[31m", "\u{1b}[0m"),
            (true, Level::WARN) => ("\u{1b}[33m", "\u{1b}[0m"),
            (true, Level::INFO) => ("\u{1b}[32m", "\u{1b}[0m"),
            (true, _) => ("\u{1b}[2m", "\u{1b}[0m"),
        };
        let text = &line.message[..line.message.floor_char_boundary(MAX_LINE)];
        let rest = line.message.len() - text.len();
        let cut = if rest > 0 { format!("… ({rest} bytes more)") } else { String::new() };
        writeln!(writer, "{time} {colour}{:<7}{plain} {text}{cut}", line.level)
    }
}
