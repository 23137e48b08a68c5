//! Programs in any language, run by a job: started with what `[supervise]` gives them, watched, told to end, killed.
//!
//! ```text
//! job's process ── enrgdaq exec FD ──▶ limits, user, PDEATHSIG, descriptors ──▶ execve: the program, same pid
//!        ▲                 │ which step failed, and why (a pipe that exec closes)
//!        └─────────────────┘
//! ```
//!
//! Invariants: [`Program::start`] returns when the program itself runs, or with the exact reason why it does not; the
//! program stays in the process group of its job, and is killed when the thread that started it dies; after its end its
//! pid is never signalled.

mod executable;
mod notifications;
mod shim;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};
use thiserror::Error;

use super::context::Context;
use super::types::JobError;
use crate::config::StopSignal;
use crate::os::{Account, inheritable_descriptor_of};
use executable::Executable;
use shim::{Report, ShimSpec};

pub(crate) use shim::run_shim;

pub use notifications::{News, Notifications};

/// What systemd tells its services: for the supervisor perhaps, never for a program of a job.
const NOT_FOR_PROGRAMS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// What is asked of a pipe, so that a program seldom waits for its reader.
const PIPE_BYTES: usize = 1 << 20;

/// A program to be started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program and its arguments. A name without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// The job writes its standard input; otherwise that is `/dev/null`.
    pub feeds_stdin: bool,
    /// The job reads its standard output; otherwise that goes to the log.
    pub reads_stdout: bool,
    /// The job reads its standard error; otherwise that goes to the log.
    pub reads_stderr: bool,
    /// It is given a `NOTIFY_SOCKET`.
    pub hears_notifications: bool,
    /// It is told by `WATCHDOG_USEC` to notify at least so often.
    pub watchdog: Option<Duration>,
}

/// Why a program does not run.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// Only another configuration, or another installation, can help.
    #[error("{0}")]
    Hopeless(String),
    /// The system could not do it now.
    #[error("{context}")]
    System {
        /// What was being done.
        context: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl ProgramError {
    fn system(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::System { context, source }
    }
}

impl From<ProgramError> for JobError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::Hopeless(why) => Self::Config(why),
            ProgramError::System { context, source } => Self::failed(context, source),
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramEnd {
    /// By itself, with this status.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl ProgramEnd {
    /// As a shell says it: the status, or 128 and the number of the signal.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(signal + 128).unwrap_or(u8::MAX),
        }
    }

    fn of(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for ProgramEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "the program ended with exit code {code}"),
            Self::Signal(signal) => match signal_hook::low_level::signal_name(signal) {
                Some(name) => write!(f, "the program was killed by {name}"),
                None => write!(f, "the program was killed by signal {signal}"),
            },
        }
    }
}

/// A program that was started. Clones are the same; it may be used by any thread.
#[derive(Debug, Clone)]
pub struct Program(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pid: u32,
    pidfd: OwnedFd,
    end: Mutex<Option<ProgramEnd>>,
    stop_signal: StopSignal,
    pipes: Mutex<Pipes>,
}

/// Our ends, until somebody takes them.
#[derive(Debug, Default)]
struct Pipes {
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    notifications: Option<Notifications>,
}

impl Program {
    /// Starts a program, with the environment, directory, umask, priority and cores of this process, and the user, limits and
    /// stop signal of the job's `[supervise]`. It is killed when the calling thread ends: call it on the thread of
    /// [`Job::new`](super::Job::new) or [`Job::run`](super::Job::run).
    ///
    /// # Errors
    /// [`ProgramError`]: there is no such program, the system refuses to run it, or has no room for it.
    pub fn start(cx: &Context, launch: &Launch) -> Result<Self, ProgramError> {
        let setup = &cx.spec().process;
        let executable = Executable::find(&launch.command)?;
        let account = setup.user.as_deref().map(account_of).transpose()?;
        let notifications = launch
            .hears_notifications
            .then(|| Notifications::open(cx.spec(), account.as_ref()))
            .transpose()
            .map_err(ProgramError::system("cannot make a socket for notifications"))?;
        let mut command = Command::new("/proc/self/exe");
        command.stdin(if launch.feeds_stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(if launch.reads_stdout { Stdio::piped() } else { Stdio::inherit() });
        command.stderr(if launch.reads_stderr { Stdio::piped() } else { Stdio::inherit() });
        for name in NOT_FOR_PROGRAMS {
            command.env_remove(name);
        }
        command.env("ENRGDAQ_JOB_NAME", cx.name());
        if let Some(account) = &account {
            let own = [("USER", &account.name), ("LOGNAME", &account.name), ("HOME", &account.home)];
            command.envs(own.into_iter().filter(|(name, _)| !setup.env.contains_key(*name)));
        }
        if let Some(notifications) = &notifications {
            command.env("NOTIFY_SOCKET", notifications.path());
        }
        if let Some(watchdog) = launch.watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let lock = cx.spec().exclusive.as_deref().and_then(inheritable_descriptor_of);
        let spec = ShimSpec {
            path: executable.path().to_string_lossy().into_owned(),
            argv: launch.command.clone(),
            user: account.as_ref().map(Into::into),
            limits: setup.rlimits.clone(),
            keep: lock.as_ref().map(AsRawFd::as_raw_fd),
            ..ShimSpec::default()
        };
        let (child, report) = shim::spawn(command, spec)?;
        let mut program = Self::adopt(child, setup.stop_signal)?;
        if let Some(report) = report {
            program.wait(None);
            return Err(report.into_error(&executable));
        }
        if let Some(inner) = Arc::get_mut(&mut program.0) {
            inner.pipes.get_mut().notifications = notifications;
        }
        Ok(program)
    }

    fn adopt(mut child: Child, stop_signal: StopSignal) -> Result<Self, ProgramError> {
        let file = |fd: Option<OwnedFd>| fd.map(File::from);
        let pipes = Pipes {
            stdin: file(child.stdin.take().map(Into::into)),
            stdout: file(child.stdout.take().map(Into::into)),
            stderr: file(child.stderr.take().map(Into::into)),
            notifications: None,
        };
        for pipe in [&pipes.stdin, &pipes.stdout, &pipes.stderr].into_iter().flatten() {
            // As large as may be; a smaller one works too.
            rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES).ok();
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match pidfd {
            // From here on it is ours to reap; `Child` does nothing when it is dropped.
            Ok(pidfd) => {
                let (end, pipes) = (Mutex::new(None), Mutex::new(pipes));
                Ok(Self(Arc::new(Inner { pid: child.id(), pidfd, end, stop_signal, pipes })))
            }
            Err(errno) => {
                child.kill().and_then(|()| child.wait().map(drop)).ok();
                Err(ProgramError::system("cannot watch the program")(errno.into()))
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// The writing end of its standard input, once.
    #[must_use]
    pub fn take_stdin(&self) -> Option<File> {
        self.0.pipes.lock().stdin.take()
    }

    /// The reading end of its standard output, once.
    #[must_use]
    pub fn take_stdout(&self) -> Option<File> {
        self.0.pipes.lock().stdout.take()
    }

    /// The reading end of its standard error, once.
    #[must_use]
    pub fn take_stderr(&self) -> Option<File> {
        self.0.pipes.lock().stderr.take()
    }

    /// What it notifies, once.
    #[must_use]
    pub fn take_notifications(&self) -> Option<Notifications> {
        self.0.pipes.lock().notifications.take()
    }

    /// Tells it to end, by the `stop_signal` of its job.
    pub fn stop(&self) {
        self.signal(match self.0.stop_signal {
            StopSignal::Term => Signal::TERM,
            StopSignal::Int => Signal::INT,
            StopSignal::Hup => Signal::HUP,
            StopSignal::Quit => Signal::QUIT,
            StopSignal::Usr1 => Signal::USR1,
            StopSignal::Usr2 => Signal::USR2,
            StopSignal::Kill => Signal::KILL,
        });
    }

    /// Whether this is how a program ends that was told to: by the signal, or with the status that a shell makes of it.
    #[must_use]
    pub fn is_end_by_stop(&self, end: ProgramEnd) -> bool {
        let number = match self.0.stop_signal {
            StopSignal::Term => libc::SIGTERM,
            StopSignal::Int => libc::SIGINT,
            StopSignal::Hup => libc::SIGHUP,
            StopSignal::Quit => libc::SIGQUIT,
            StopSignal::Usr1 => libc::SIGUSR1,
            StopSignal::Usr2 => libc::SIGUSR2,
            StopSignal::Kill => libc::SIGKILL,
        };
        end.code() == ProgramEnd::Signal(number).code()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // One that has ended is not there any more, whoever has its pid now.
        pidfd_send_signal(&self.0.pidfd, signal).ok();
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn end(&self) -> Option<ProgramEnd> {
        let mut end = self.0.end.lock();
        if end.is_none() {
            let status = waitid(WaitId::PidFd(self.0.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            *end = match status {
                Ok(status) => status.map(|status| ProgramEnd::of(&status)),
                Err(Errno::INTR) => None,
                // Somebody else has reaped it: how it ended is lost.
                Err(_) => Some(ProgramEnd::Signal(0)),
            };
        }
        *end
    }

    /// Waits for its end, until then or for ever; `None` if it still runs.
    pub fn wait(&self, until: Option<Instant>) -> Option<ProgramEnd> {
        loop {
            if let Some(end) = self.end() {
                return Some(end);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            let timeout = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            poll(&mut [PollFd::new(&self.0.pidfd, PollFlags::IN)], timeout.as_ref()).ok();
        }
    }
}

/// Readable when it has ended.
impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

fn account_of(user: &str) -> Result<Account, ProgramError> {
    let missing = || ProgramError::Hopeless(format!("`user`: there is no user or group {user:?} on this machine"));
    Account::look_up(user).ok_or_else(missing)
}

impl Report {
    /// What it means for who wanted the program.
    fn into_error(self, executable: &Executable) -> ProgramError {
        let Self { step, errno } = self;
        let source = io::Error::from_raw_os_error(errno);
        let context = format!("cannot run {}: {step}", executable.path().display());
        let help = match (step.as_str(), errno) {
            ("execve", libc::ENOEXEC) => {
                "exec format error: it is a program for another machine, or a script whose first line is not `#!` and its \
                 interpreter"
            }
            ("execve", libc::ENOENT) => "there is no interpreter such as its first line, or its header, names",
            ("execve", libc::EACCES) => {
                "permission denied: the user as whom it runs may not execute it, or its file system is mounted noexec"
            }
            ("execve", libc::E2BIG) => "its arguments and environment are longer than this system allows",
            (_, libc::EPERM | libc::EINVAL | libc::ELOOP | libc::ENOTDIR | libc::ELIBBAD | libc::ENAMETOOLONG) => "",
            _ => return ProgramError::System { context, source },
        };
        let help = if help.is_empty() { source.to_string() } else { help.to_owned() };
        ProgramError::Hopeless(format!("{context}: {help}"))
    }
}
