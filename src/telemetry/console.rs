//! The supervisor's own log, for people: one line a record, colours only on a terminal.
//!
//! Writing is done by a thread of its own; where the terminal or the pipe does not take the lines they are dropped and
//! counted, and nobody waits.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::JobSaid;
use super::backlog::{Backlog, Next};
use super::said::{Line, Said};
use crate::config::Verbosity;
use crate::job::LogLine;

/// What waits for the terminal before lines are dropped, in bytes.
const BUFFERED: usize = 4 << 20;

/// What of a line is shown, in bytes.
const MAX_LINE: usize = 2048;

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Who the supervisor is in its own log.
pub(crate) const OWN: &str = "supervisor";

/// Hears what the supervisor itself says.
type Tap = Box<dyn Fn(&Arc<Said>) + Send + Sync>;

/// The way to the terminal; clones are the same.
#[derive(Clone)]
pub(crate) struct Console(Arc<Shared>);

struct Shared {
    backlog: Backlog<Arc<Said>>,
    dropped: AtomicU64,
    tap: OnceLock<Tap>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// Keeps the log's thread; dropping it writes what still waits.
#[derive(Debug)]
pub(crate) struct LogGuard {
    console: Console,
    done: mpsc::Receiver<()>,
}

impl LogGuard {
    /// For whoever has more to show.
    pub(crate) fn console(&self) -> Console {
        self.console.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.console.0.backlog.close();
        // A terminal that takes nothing must not hold up the end.
        self.done.recv_timeout(LAST_LINES).ok();
    }
}

/// Sends this process's log to stderr. A second call in a process changes nothing.
pub(crate) fn log_to_console(verbosity: Verbosity) -> LogGuard {
    let is_coloured = io::stderr().is_terminal();
    let guard = Console::start(verbosity, move |said, level| show(said, level, is_coloured));
    let levels = LevelFilter::from_level(verbosity.level());
    tracing_subscriber::registry().with(levels).with(OwnRecords(guard.console())).try_init().ok();
    guard
}

/// Sends what jobs say to whoever takes this process's log: for a program that has set up a log of its own.
pub(crate) fn log_to_subscriber() -> LogGuard {
    Console::start(Verbosity::Debug, |said, _| {
        said.each().for_each(|line| JobSaid { job: &said.by, line: &line.to_record() }.emit());
        Ok(())
    })
}

impl Console {
    fn start(verbosity: Verbosity, show: impl Fn(&Said, Verbosity) -> io::Result<()> + Send + 'static) -> LogGuard {
        let backlog = Backlog::of(BUFFERED);
        let console = Self(Arc::new(Shared { backlog, dropped: AtomicU64::new(0), tap: OnceLock::new() }));
        let (end, done) = mpsc::channel::<()>();
        let own = console.clone();
        let work = move || {
            let _end = end;
            loop {
                match own.0.backlog.next(Duration::from_hours(1), |said| said) {
                    Next::Item(said) => {
                        if show(&said, verbosity).is_err() {
                            own.drop_lines(said.lines());
                        }
                    }
                    Next::Nothing => {}
                    Next::End => return,
                }
            }
        };
        // Without a thread there is no log, but what it would tell of goes on.
        if thread::Builder::new().name("console".into()).spawn(work).is_err() {
            console.0.backlog.close();
        }
        LogGuard { console, done }
    }

    /// Shows lines. Where the terminal falls behind, the oldest that wait are dropped and counted.
    pub(crate) fn say(&self, said: &Arc<Said>) {
        if !self.0.backlog.push(said.clone(), said.bytes(), |oldest| self.drop_lines(oldest.lines())) {
            self.drop_lines(said.lines());
        }
    }

    fn drop_lines(&self, lines: u64) {
        self.0.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines that the terminal or pipe did not take.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Lets somebody hear what the supervisor itself says; only the first one does.
    pub(crate) fn tap(&self, tap: impl Fn(&Arc<Said>) + Send + Sync + 'static) {
        self.0.tap.set(Box::new(tap)).ok();
    }
}

/// Takes the records of this process.
struct OwnRecords(Console);

impl<S: Subscriber> Layer<S> for OwnRecords {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let said = Arc::new(Said::record(OWN.into(), &LogLine::of(event)));
        self.0.say(&said);
        if let Some(tap) = self.0.0.tap.get() {
            tap(&said);
        }
    }
}

/// `2026-11-20 11:00:00.000 INFO    text`, or `… INFO    [job] text` for what a job said.
fn show(said: &Said, verbosity: Verbosity, is_coloured: bool) -> io::Result<()> {
    let job = (*said.by != *OWN).then_some(&*said.by);
    let mut out = Vec::with_capacity(said.bytes() + 128);
    for mut line in said.each().filter(|line| is_shown(line, verbosity)) {
        let len = line.text.len();
        if len > MAX_LINE {
            let kept = String::from_utf8_lossy(&line.text[..MAX_LINE]);
            line.text = format!("{kept}… ({} bytes more)", len - MAX_LINE).into_bytes().into();
        }
        let begin = out.len();
        line.write_text(&mut out, job);
        if is_coloured {
            colour(&mut out, begin, line.level);
        }
    }
    io::stderr().lock().write_all(&out)
}

/// Colours the level of the line that begins there.
fn colour(out: &mut Vec<u8>, begin: usize, level: &str) {
    let colour = match level {
        "ERROR" => "\u{1b}[31m",
        "WARNING" => "\u{1b}[33m",
        "INFO" => "\u{1b}[32m",
        _ => "\u{1b}[2m",
    };
    let at = (begin + "2026-11-20 11:00:00.000 ".len()).min(out.len());
    let end = (at + level.len()).min(out.len());
    out.splice(end..end, *b"\x1b[0m");
    out.splice(at..at, colour.bytes());
}

/// Whether a line is to be told by a supervisor of that verbosity.
pub(crate) fn is_shown(line: &Line<'_>, verbosity: Verbosity) -> bool {
    let level = match line.level {
        "ERROR" => Verbosity::Error,
        "WARNING" => Verbosity::Warning,
        "INFO" => Verbosity::Info,
        _ => Verbosity::Debug,
    };
    level >= verbosity
}
