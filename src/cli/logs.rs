//! `enrgdaq logs`: what a job said, or all jobs and the supervisor; with `-f` from now on too.

use std::io::{self, StdoutLock, Write};
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::CliError;
use super::args::Target;
use super::ask::connect;
use crate::control::{Client, ClientError, Command, DEFAULT_LINES, LogQuery, LoggedLine, Reply, parse_since};
use crate::os::{Wake, block_stop_signals, spawn_signal_thread};

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
        let Options { lines, since, .. } = self.options;
        let lines = lines.unwrap_or(if since.is_some() { usize::MAX } else { DEFAULT_LINES });
        let Some(mut next) = self.begin(LogQuery { lines, since, after: None })? else { return Ok(()) };
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

    /// The lines that are there already.
    fn begin(&mut self, query: LogQuery) -> Result<Option<u64>, CliError> {
        let Reply::Logs { lines, older, next, forgotten, file } = self.ask(query)? else { return Ok(None) };
        if !self.options.json {
            match (forgotten, file) {
                (0, _) if older > 0 && self.options.since.is_none() => writeln!(self.out, "… {older} older lines")?,
                (1.., Some(file)) => {
                    writeln!(self.out, "… {older} older lines, those before these are in {}", file.display())?;
                }
                (1.., None) => writeln!(self.out, "… {older} older lines, not kept")?,
                _ => {}
            }
            if lines.is_empty() && !self.options.follow {
                let what = if self.options.since.is_some() { "nothing was said since" } else { "nothing was said" };
                writeln!(self.out, "{what}")?;
            }
        }
        self.print(&lines, older)?;
        Ok(Some(next))
    }

    /// What has come since.
    fn more(&mut self, after: u64) -> Result<Option<u64>, CliError> {
        let query = LogQuery { lines: PAGE, since: None, after: Some(after) };
        let Reply::Logs { lines, older, next, .. } = self.ask(query)? else { return Ok(None) };
        let lost = older.saturating_sub(self.seen);
        if !lines.is_empty() && lost > 0 && !self.options.json {
            writeln!(self.out, "… {lost} lines came too fast to be shown")?;
        }
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
                    writeln!(self.out, "{} {:<7} {}", line.line.timestamp, line.line.level, line.line.message)?;
                }
                (false, false) => {
                    let LoggedLine { job, line, .. } = line;
                    writeln!(self.out, "{} {:<7} [{job}] {}", line.timestamp, line.level, line.message)?;
                }
            }
        }
        self.seen = older + lines.len() as u64;
        Ok(self.out.flush()?)
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
