//! What jobs say: read without ever making them wait, kept for `enrgdaq logs`, written into files, passed on to the
//! supervisor's own log.
//!
//! ```text
//!   stdout, stderr      "capture"                      bounded, in bytes
//!   of all jobs ──────▶ reads, cuts ──┬──▶ memory: the newest lines of each job
//!                       into lines,   ├──▶ backlog ──▶ "log-files": NAME.log, supervisor.log
//!   the supervisor's    stamps        └──▶ backlog ──▶ "console":   the terminal
//!   own records ──────────────────────┘
//! ```
//!
//! Invariants: the thread that reads does nothing that can wait: what a disk or a terminal does not take is dropped and
//! counted. For each job `lines = written + dropped`, as soon as nothing waits any more; a line that the disk took in part
//! is taken back, or ended. A line has at most 16 KiB, a longer one comes in pieces; bytes that are no UTF-8 are kept.

mod capture;
mod file;
mod files;
mod kept;
mod lines;
mod losses;
mod query;
mod setup;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use self::capture::Reader;
use self::files::Files;
use self::kept::Numbers;
use self::losses::Losses;
use super::dispatcher::Mailbox;
use crate::telemetry::{Console, LogGuard, OWN, Said, log_to_subscriber};

pub(super) use capture::Capture;
pub(super) use kept::JobLog;
pub(super) use setup::FileSetup;

/// How long the last words may take to be read, and to be written.
const LAST_READING: Duration = Duration::from_secs(3);
const LAST_WRITING: Duration = Duration::from_secs(3);

/// The logs of a supervisor and its jobs, with the threads that serve them. Dropping it writes what still waits.
#[derive(Debug)]
pub(super) struct Logs {
    shared: Arc<Shared>,
    /// In milliseconds since the Unix epoch.
    begins: i64,
    reader: Reader,
    read_all: mpsc::Receiver<()>,
    written_all: Option<mpsc::Receiver<()>>,
    /// Only where this process has no console of ours.
    _subscriber: Option<LogGuard>,
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    numbers: Numbers,
    own: JobLog,
    console: Console,
    files: Option<Files>,
    losses: Losses,
}

impl Logs {
    /// Starts the threads. Without `console` what jobs say goes to this process's own log.
    ///
    /// # Errors
    /// The system's: no thread, no descriptor.
    pub(super) fn start(setup: FileSetup, console: Option<Console>, mailbox: Mailbox) -> std::io::Result<Self> {
        let begins = jiff::Timestamp::now().as_millisecond();
        let own_console = console.is_none().then(log_to_subscriber);
        let console = console.or_else(|| own_console.as_ref().map(LogGuard::console));
        let shared = Arc::new(Shared {
            numbers: Numbers::default(),
            own: JobLog::of(OWN),
            console: console.expect("one of both is there"),
            files: setup.has_files().then(|| Files::new(setup)),
            losses: Losses::new(mailbox),
        });
        let written_all = shared.files.is_some().then(|| files::start(shared.clone())).transpose()?;
        let (reader, read_all) = capture::start(shared.clone())?;
        let heard_by = Arc::downgrade(&shared);
        shared.console.tap(move |said| {
            if let Some(shared) = heard_by.upgrade() {
                let own = shared.own.clone();
                shared.keep(&own, said.clone());
            }
        });
        Ok(Self { shared, begins, reader, read_all, written_all, _subscriber: own_console })
    }

    /// Reads what a job's process says until all its ends are closed; once the value is dropped not much longer.
    pub(super) fn capture(&self, log: &JobLog, pipes: [OwnedFd; 2]) -> Capture {
        self.reader.read(log, pipes)
    }

    /// Lines that the terminal or pipe of the supervisor did not take.
    pub(super) fn dropped_on_console(&self) -> u64 {
        self.shared.console.dropped()
    }

    /// What the supervisor itself says.
    pub(super) fn own(&self) -> &JobLog {
        &self.shared.own
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.reader.end();
        self.read_all.recv_timeout(LAST_READING).ok();
        if let (Some(files), Some(written_all)) = (&self.shared.files, &self.written_all) {
            files.close();
            // A disk that hangs must not hold up the end.
            written_all.recv_timeout(LAST_WRITING).ok();
        }
    }
}

impl Shared {
    /// Takes what a job said.
    fn take(&self, log: &JobLog, text: Vec<u8>) {
        let said = Arc::new(Said::now(log.name().clone(), text));
        self.console.say(&said);
        self.keep(log, said);
    }

    fn keep(&self, log: &JobLog, said: Arc<Said>) {
        log.keep(said.clone(), &self.numbers);
        if let Some(files) = &self.files {
            files.hand_in(log, said, &self.losses);
        }
    }
}
