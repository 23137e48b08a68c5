//! `enrgdaq logs`: what a job said, or all jobs and the supervisor; with `-f` from now on too.

use std::collections::VecDeque;
use std::io::{self, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::CliError;
use super::args::Target;
use super::ask::connect;
use crate::control::{Client, ClientError, Command, DEFAULT_LINES, LogQuery, LoggedLine, Reply, parse_since};
use crate::os::{Wake, block_stop_signals, spawn_signal_thread};
use crate::telemetry::put_visibly;

/// How often is asked for more.
const POLL: Duration = Duration::from_millis(200);

/// Lines that are asked for at a time.
const PAGE: usize = 2000;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The job's name: its file's name without .toml; `supervisor`: what the supervisor itself says. Without it: all.
    name: Option<String>,
    /// How many lines, the newest. Without it: 100, or with --since all.
    #[arg(short = 'n', long)]
    lines: Option<usize>,
    /// Go on with what comes, until Ctrl-C or the end of the supervisor.
    #[arg(short, long)]
    follow: bool,
    /// Only lines that came since: 10m (s, m, h, d) ago, or a local time, 2026-11-20T12:00.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<i64>,
    /// Print a JSON object for each line.
    #[arg(long)]
    json: bool,
}

pub(super) fn logs(target: &Target, options: Options) -> Result<ExitCode, CliError> {
    let end = Wake::new()?;
    if options.follow {
        block_stop_signals();
        let bell = end.clone();
        let heard = move |_| match bell.has_rung() {
            true => std::process::exit(130),
            false => bell.ring(),
        };
        spawn_signal_thread(heard)?;
    }
    let client = connect(target)?;
    let mut reader = LogReader { client, options, out: io::stdout().lock(), seen: 0 };
    match reader.show(&end) {
        // Who reads this has enough.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

/// A conversation about logs.
struct LogReader {
    client: Client,
    options: Options,
    out: StdoutLock<'static>,
    /// Lines of these logs up to the last one shown, those that were passed over included.
    seen: u64,
}

impl LogReader {
    fn show(&mut self, end: &Wake) -> Result<(), CliError> {
        let begun = match self.options.since {
            Some(since) => self.begin_since(since)?,
            None => self.begin()?,
        };
        let Some(mut next) = begun else { return Ok(()) };
        while self.options.follow {
            match self.more(next) {
                Ok(Some(last)) if last != next => next = last,
                Ok(Some(_)) => {
                    if is_over(end)? {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(CliError::Client(ClientError::Connection { .. })) => {
                    eprintln!("the supervisor has ended");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn ask(&mut self, query: LogQuery) -> Result<Reply, CliError> {
        Ok(self.client.call(&Command::Logs { name: self.options.name.clone(), query })?)
    }

    /// The newest of the lines that are there already.
    fn begin(&mut self) -> Result<Option<u64>, CliError> {
        let lines = self.options.lines.unwrap_or(DEFAULT_LINES);
        let query = LogQuery { lines, since: None, after: None };
        let Reply::Logs { lines, older, next, forgotten, file, .. } = self.ask(query)? else { return Ok(None) };
        if older > 0 {
            self.tell(&older_lines(older, forgotten, file.as_deref()))?;
        }
        self.tell_if_none(lines.is_empty(), "nothing was said")?;
        self.print(&lines, older)?;
        Ok(Some(next))
    }

    /// Those of them that came since a time: page by page, up to the last one that was there at first.
    fn begin_since(&mut self, since: i64) -> Result<Option<u64>, CliError> {
        let head = self.ask(LogQuery { lines: 0, since: Some(since), after: None })?;
        let Reply::Logs { next: last, forgotten, file, begins, .. } = head else { return Ok(None) };
        let most = self.options.lines.unwrap_or(usize::MAX);
        let (mut next, mut count, mut newest) = (0, 0, VecDeque::new());
        loop {
            let query = LogQuery { lines: PAGE, since: Some(since), after: Some(next) };
            let Reply::Logs { lines, older, next: after, .. } = self.ask(query)? else { return Ok(None) };
            if count == 0 {
                self.tell_what_is_missing(since, begins, (older, forgotten), file.as_deref())?;
            } else {
                self.tell_lost(&lines, older)?;
            }
            count += lines.len();
            let is_end = lines.is_empty() || after >= last;
            match most {
                usize::MAX => self.print(&lines, older)?,
                _ => {
                    self.seen = older + lines.len() as u64;
                    newest.extend(lines);
                    newest.drain(..newest.len().saturating_sub(most));
                }
            }
            next = after.max(next);
            if is_end {
                break;
            }
        }
        self.tell_if_none(count == 0, "nothing was said since")?;
        let seen = self.seen;
        self.print(newest.make_contiguous(), seen)?;
        self.seen = seen;
        Ok(Some(next.max(last)))
    }

    /// What came since, but is not in memory.
    fn tell_what_is_missing(
        &mut self,
        since: i64,
        begins: i64,
        (older, forgotten): (u64, u64),
        file: Option<&Path>,
    ) -> Result<(), CliError> {
        if forgotten > 0 {
            return self.tell(&older_lines(older, forgotten, file));
        }
        if let (true, Some(file)) = (since < begins, file) {
            let begins = Timestamp::from_millisecond(begins).unwrap_or_default().to_zoned(TimeZone::system());
            let began = begins.strftime("%Y-%m-%d %H:%M:%S");
            return self
                .tell(&format!("… what was said before {began}, when the supervisor began, is in {}", file.display()));
        }
        Ok(())
    }

    /// A remark, for people.
    fn tell(&mut self, text: &str) -> Result<(), CliError> {
        if !self.options.json {
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }

    fn tell_if_none(&mut self, is_none: bool, text: &str) -> Result<(), CliError> {
        if is_none && !self.options.follow { self.tell(text) } else { Ok(()) }
    }

    /// Lines that were forgotten before they could be shown.
    fn tell_lost(&mut self, lines: &[LoggedLine], older: u64) -> Result<(), CliError> {
        let lost = older.saturating_sub(self.seen);
        if lines.is_empty() || lost == 0 {
            return Ok(());
        }
        self.tell(&format!("… {lost} lines came too fast to be shown"))
    }

    /// What has come since.
    fn more(&mut self, after: u64) -> Result<Option<u64>, CliError> {
        let query = LogQuery { lines: PAGE, since: None, after: Some(after) };
        let Reply::Logs { lines, older, next, .. } = self.ask(query)? else { return Ok(None) };
        self.tell_lost(&lines, older)?;
        self.print(&lines, older)?;
        Ok(Some(next))
    }

    fn print(&mut self, lines: &[LoggedLine], older: u64) -> Result<(), CliError> {
        for line in lines {
            match (self.options.json, self.options.name.is_some()) {
                (true, _) => {
                    serde_json::to_writer(&mut self.out, line).map_err(io::Error::from)?;
                    writeln!(self.out)?;
                }
                (false, true) => {
                    let message = visible(&line.line.message);
                    writeln!(self.out, "{} {:<7} {message}", line.line.timestamp, line.line.level)?;
                }
                (false, false) => {
                    let LoggedLine { job, line, .. } = line;
                    writeln!(self.out, "{} {:<7} [{job}] {}", line.timestamp, line.level, visible(&line.message))?;
                }
            }
        }
        self.seen = older + lines.len() as u64;
        Ok(self.out.flush()?)
    }
}

/// Without what a terminal would obey; further lines of a message stay lines.
fn visible(message: &str) -> String {
    let line = |line: &str| {
        let mut out = Vec::with_capacity(line.len());
        put_visibly(&mut out, line.as_bytes());
        String::from_utf8_lossy(&out).into_owned()
    };
    message.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// How many lines there were before the first that is shown, and where.
fn older_lines(older: u64, forgotten: u64, file: Option<&Path>) -> String {
    match (forgotten, file) {
        (0, _) => format!("… {older} older lines"),
        (_, Some(file)) => format!("… {older} older lines, those before these are in {}", file.display()),
        (_, None) => format!("… {older} older lines, not kept"),
    }
}

/// Waits a little; whether Ctrl-C was pressed or nobody reads any more.
fn is_over(end: &Wake) -> io::Result<bool> {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(end, PollFlags::IN), PollFd::new(&stdout, PollFlags::empty())];
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(POLL.subsec_nanos()) };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(end.has_rung() || !fds[1].revents().is_empty())
}
