//! The thread that minds the program: hands on what it notifies and what it writes to its standard error, tells it to end
//! when the job is to stop, and kills it if it does not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use enrgdaq::job::{Context, News, Notifications, Program};
use rustix::event::PollFlags;

use super::gate::Gate;
use super::pipe;
use super::reader::Watch;

/// So much is read at once; a longer line goes to the log in pieces.
const CHUNK: usize = 64 << 10;

/// After the program's end nothing comes any more when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(1);

/// How long the program may take to end: this share of the time until the supervisor kills this process, so that what the
/// program has written can still be handed on.
const PATIENCE: f64 = 0.8;

/// Standard error on its way to the log, where the job has to look at it.
#[derive(Debug)]
pub(super) struct Errors {
    pub(super) from: File,
    pub(super) watch: Option<Watch>,
    /// A line that has not ended yet.
    pub(super) line: Vec<u8>,
}

/// The minder.
#[derive(Debug)]
pub(super) struct Minder {
    pub(super) cx: Context,
    pub(super) program: Program,
    pub(super) gate: Arc<Gate>,
    pub(super) notifications: Option<Notifications>,
    /// `READY=1` opens the gate.
    pub(super) opens_gate: bool,
    /// `WATCHDOG=1` is a sign of life.
    pub(super) feeds_watchdog: bool,
    pub(super) errors: Option<Errors>,
    /// Set if the program had to be killed.
    pub(super) has_killed: Arc<AtomicBool>,
}

/// How far the end has come.
#[derive(Debug, Default)]
struct Ending {
    /// It was told to end, and is killed then.
    kill_at: Option<Instant>,
    ended_at: Option<Instant>,
    /// There is nothing left to do.
    is_over: bool,
}

/// What there is to do.
#[derive(Debug, Clone, Copy)]
struct Signs {
    end: bool,
    news: bool,
    errors: bool,
}

impl Minder {
    pub(super) fn run(mut self) {
        let mut end = Ending::default();
        // Without a wait nobody would tell the program to end.
        while !end.is_over {
            if self.round(&mut end).is_err() {
                self.program.kill();
                break;
            }
        }
        self.hear();
        self.flush_errors();
        self.gate.end();
    }

    /// Waits for something to do, and does it.
    fn round(&mut self, end: &mut Ending) -> io::Result<()> {
        let signs = self.wait(end)?;
        if signs.news {
            self.hear();
        }
        if signs.errors {
            self.pass_errors_on();
        }
        match end.ended_at {
            Some(at) => {
                let is_late = at.elapsed() > self.cx.stop_timeout().div_f64(4.0).max(QUIET);
                end.is_over = self.errors.is_none() || !signs.errors || is_late;
            }
            None if signs.end => {
                end.ended_at = Some(Instant::now());
                end.is_over = self.errors.is_none();
            }
            None => self.press(end),
        }
        Ok(())
    }

    /// If the job is to stop, tells the program to end, and later makes it.
    fn press(&mut self, end: &mut Ending) {
        match end.kill_at {
            None if self.cx.stopping() => {
                self.program.stop();
                end.kill_at = self.cx.share_of_end(PATIENCE);
                self.gate.stop();
            }
            Some(at) if Instant::now() >= at => {
                if !self.has_killed.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the program does not end: killing it");
                }
                self.program.kill();
                // Dead in moments, unless a driver holds it.
                end.kill_at = Some(Instant::now() + QUIET);
            }
            _ => {}
        }
    }

    fn wait(&self, end: &Ending) -> io::Result<Signs> {
        let read = |fd| (fd, PollFlags::IN);
        let (runs, is_told) = (end.ended_at.is_none(), end.kill_at.is_some());
        let fds = [
            (runs && !is_told).then(|| read(self.cx.stop_fd())),
            runs.then(|| read(self.program.as_fd())),
            self.notifications.as_ref().map(|notifications| read(notifications.as_fd())),
            self.errors.as_ref().map(|errors| read(errors.from.as_fd())),
        ];
        let patience = match (runs, end.kill_at) {
            (false, _) => Some(QUIET),
            (true, Some(at)) => Some(at.saturating_duration_since(Instant::now())),
            (true, None) => None,
        };
        let [_, end, news, errors] = pipe::wait(fds, patience)?;
        Ok(Signs { end, news, errors })
    }

    fn hear(&self) {
        for news in self.notifications.iter().flat_map(Notifications::take) {
            match news {
                News::Ready if self.opens_gate => self.gate.open(),
                News::Alive if self.feeds_watchdog => self.cx.alive(),
                News::Status(text) => tracing::info!("status: {text}"),
                News::Ready | News::Alive => {}
            }
        }
    }

    fn pass_errors_on(&mut self) {
        let Some(errors) = &mut self.errors else { return };
        let mut chunk = vec![0; CHUNK];
        match errors.from.read(&mut chunk) {
            Ok(0) => {
                self.flush_errors();
                self.errors = None;
            }
            Ok(len) => errors.pass_on(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.errors = None,
        }
    }

    fn flush_errors(&mut self) {
        if let Some(errors) = &mut self.errors {
            io::stderr().write_all(&std::mem::take(&mut errors.line)).ok();
        }
    }
}

impl Errors {
    /// Whole lines, so that none is mixed with a log record of this process.
    fn pass_on(&mut self, bytes: &[u8]) {
        if let Some(watch) = &mut self.watch
            && watch.sees(bytes)
        {
            self.watch = None;
        }
        self.line.extend_from_slice(bytes);
        let whole = match memchr::memrchr(b'\n', &self.line) {
            Some(at) => at + 1,
            None if self.line.len() >= CHUNK => self.line.len(),
            None => return,
        };
        io::stderr().write_all(&self.line[..whole]).ok();
        self.line.drain(..whole);
    }
}
