//! What can be asked of a supervisor, and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::changes::Changes;
use super::logs::{LogQuery, LoggedLine};
use super::signal::SignalNumber;
use super::status::{StateName, Status};

/// A command, whichever way it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// All jobs, edges and alerts.
    Status,
    /// What a job is to do.
    Job {
        /// Its name.
        name: String,
        /// What.
        order: Order,
    },
    /// Lines of a log.
    Logs {
        /// Of which job; `supervisor`: what the supervisor itself says; `None`: of all, and of the supervisor.
        name: Option<String>,
        /// Which lines.
        query: LogQuery,
    },
    /// What [`Reload`](Self::Reload) would do.
    Plan,
    /// Brings what runs in line with the files; only jobs that have changed are touched.
    Reload,
    /// Runs the job of a file too, also after a restart of the supervisor.
    Add {
        /// The file; a path from the root.
        path: PathBuf,
    },
    /// Ends a job for good, also after a restart of the supervisor, until it is added again.
    Remove {
        /// The name of its file.
        name: String,
    },
    /// Runs so many copies of a job.
    Scale {
        /// The name of its file.
        name: String,
        /// How many.
        copies: u16,
    },
    /// Sends a signal to a job's process, or to the program that it runs.
    Signal {
        /// Its name.
        name: String,
        /// Which.
        signal: SignalNumber,
    },
}

/// What an operator can want of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Run.
    Start,
    /// End, and stay so.
    Stop,
    /// End, and run again.
    Restart,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// To [`Command::Status`].
    Status(Box<Status>),
    /// To [`Command::Logs`].
    Logs {
        /// Oldest first.
        lines: Vec<LoggedLine>,
        /// Lines that there were before these.
        older: u64,
        /// The number to go on after.
        next: u64,
        /// Lines that were asked for, as far as can be told, and are no longer in memory.
        forgotten: u64,
        /// The file in which these are, unless they were dropped.
        file: Option<PathBuf>,
        /// Since when lines are kept in memory, in milliseconds since the Unix epoch: what was said before, by jobs of an
        /// earlier start of the supervisor, may be in the file.
        #[serde(default)]
        begins: i64,
    },
    /// To [`Command::Plan`], [`Command::Reload`], [`Command::Add`], [`Command::Remove`], [`Command::Scale`].
    Changes(Changes),
    /// To [`Command::Job`] and [`Command::Signal`]: what state it is in now.
    Job {
        /// Its name.
        name: String,
        /// Its state.
        state: StateName,
    },
}

/// A command on its way to who executes it, with the way back for the answer.
#[derive(Debug)]
pub(crate) struct Inquiry {
    /// What is asked.
    pub(crate) command: Command,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Result<Reply, Refusal>>,
}

/// Where inquiries are handed in.
pub(crate) type Desk = mpsc::Sender<Inquiry>;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// No job has that name.
    #[error("there is no job `{name}`{}", suggestion(.similar.as_deref()))]
    NoSuchJob {
        /// What was asked for.
        name: String,
        /// The name that is closest.
        similar: Option<String>,
    },
    /// It is what it is to become.
    #[error("`{name}` is already {}", state_text(*.state))]
    Already {
        /// Its name.
        name: String,
        /// Its state.
        state: StateName,
    },
    /// The files cannot be used; nothing has changed.
    #[error("{report}\nnothing has changed")]
    BadConfig {
        /// All that is wrong with them.
        report: String,
    },
    /// The job's file does not say how many copies there are.
    #[error("`{name}` has no copies: write `replicas = 1` into `[supervise]` of its file and `enrgdaq reload`")]
    NoCopies {
        /// Its name.
        name: String,
    },
    /// It is one of several copies, and not a file.
    #[error(
        "`{name}` is a copy of `{of}`: `enrgdaq rm {of}` ends all copies, `enrgdaq scale {of} N` says how many there are"
    )]
    IsCopy {
        /// Its name.
        name: String,
        /// The name of the file.
        of: String,
    },
    /// The job has no process.
    #[error("`{name}` has no process: it is {}", state_text(*.state))]
    NoProcess {
        /// Its name.
        name: String,
        /// Its state.
        state: StateName,
    },
    /// There was nobody to whom the signal could be sent.
    #[error("nobody got the signal: `{name}` has no program that runs now, or it may not be signalled")]
    NotSignalled {
        /// Its name.
        name: String,
    },
    /// The supervisor is about to end.
    #[error("the supervisor is stopping")]
    Stopping,
    /// It is done, but not on the disk.
    #[error("it is done, but {why}")]
    NotKept {
        /// What keeps it from the disk.
        why: String,
    },
    /// The job ended up elsewhere than asked.
    #[error("`{name}` is now {}: {why}", state_text(*.state))]
    Failed {
        /// Its name.
        name: String,
        /// Where it ended up.
        state: StateName,
        /// Why.
        why: String,
    },
}

fn suggestion(similar: Option<&str>) -> String {
    similar.map_or_else(|| "; `enrgdaq status` lists them".into(), |name| format!("; did you mean `{name}`?"))
}

fn state_text(state: StateName) -> &'static str {
    match state {
        StateName::Stopped => "stopped",
        StateName::Waiting => "waiting",
        StateName::Starting => "starting",
        StateName::Ready => "running",
        StateName::BackingOff => "waiting to be started again",
        StateName::Stopping => "stopping",
        StateName::Exited => "done",
        StateName::Fatal => "fatal",
    }
}
