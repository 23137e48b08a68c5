//! What can be asked of a supervisor, and what it answers.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::changes::Changes;
use super::logs::{LogQuery, LoggedLine};
use super::signal::SignalNumber;
use super::status::{StateName, Status};
use crate::config::Role;
use crate::message::JobInfo;

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
    /// The text of a job's file, without its secrets.
    Config {
        /// Its name.
        name: String,
    },
    /// All of [`Status`](Self::Status), and what each job was told: for programs that show it.
    Inventory,
    /// Restarts all jobs, each as [`Order::Restart`] does.
    RestartAll,
    /// Ends all jobs, and starts the program anew.
    Renew {
        /// Runs the `update_command` of the node before.
        update: bool,
    },
    /// Runs a job whose file comes with the command, also after a restart of the supervisor. It takes the place of one
    /// that came this way with the same `daq_job_unique_id`, or, if a name is given, under that name.
    Run {
        /// The text of its file.
        config: String,
        /// Its name; without it: made from its unique id, or else its type.
        name: Option<String>,
        /// Whether its policy starts it again; otherwise it never is.
        restart_on_crash: bool,
    },
    /// Ends a job.
    End {
        /// Which.
        job: JobRef,
        /// Also after a restart of the supervisor it is not there any more; otherwise it stays stopped.
        remove: bool,
    },
    /// Gives a message to the jobs that take its type.
    Send {
        /// The type, such as `DAQJobMessageStop`.
        message_type: String,
        /// Its fields, as JSON text.
        payload: String,
        /// Only to the job of this unique id.
        target: Option<String>,
    },
    /// Has a job carry out an operation of its own; what it sends before the last response comes as parts.
    Forward {
        /// The job's name, or its unique id.
        name: String,
        /// What is asked: an object whose `do` names the operation.
        operation: Value,
    },
}

impl Command {
    /// What somebody must be to give it: whoever only looks changes nothing. One exhaustive table.
    #[must_use]
    pub fn needs(&self) -> Role {
        match self {
            Self::Status | Self::Logs { .. } | Self::Plan | Self::Config { .. } | Self::Inventory => Role::Viewer,
            Self::Job { .. }
            | Self::Signal { .. }
            | Self::Reload
            | Self::RestartAll
            | Self::End { remove: false, .. }
            | Self::Send { .. }
            | Self::Forward { .. } => Role::Operator,
            Self::Add { .. }
            | Self::Remove { .. }
            | Self::Scale { .. }
            | Self::Renew { .. }
            | Self::Run { .. }
            | Self::End { remove: true, .. } => Role::Admin,
        }
    }
}

/// A job as other programs name it: by its unique id, or by its name, or by its type if only one job has that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobRef {
    /// Its name, or its type.
    pub name: Option<String>,
    /// Its unique id; counts before the name.
    pub unique_id: Option<String>,
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
        begins: i64,
    },
    /// To [`Command::Plan`], [`Command::Reload`], [`Command::Add`], [`Command::Remove`], [`Command::Scale`].
    Changes(Changes),
    /// To [`Command::Job`], [`Command::Signal`], [`Command::Run`] and [`Command::End`]: what state it is in now.
    Job {
        /// Its name.
        name: String,
        /// Its state.
        state: StateName,
    },
    /// To [`Command::Config`].
    Config {
        /// The job's name.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The text of the file, with `"***"` for every secret.
        config: String,
    },
    /// To [`Command::Inventory`].
    Inventory {
        /// The picture of now.
        status: Box<Status>,
        /// What each job was told, in the order of the status.
        jobs: Vec<JobInfo>,
    },
    /// To [`Command::RestartAll`] and [`Command::Renew`].
    Done {
        /// What was done.
        message: String,
    },
    /// To [`Command::Send`].
    Sent {
        /// What was done.
        message: String,
        /// To how many jobs it went.
        jobs_notified: usize,
    },
    /// To [`Command::Forward`]: the last response.
    Response {
        /// What the job answered.
        data: Value,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
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
    /// Who asks may not.
    #[error("this needs the role {needs}, and you have {has}")]
    Forbidden {
        /// What it needs.
        needs: Role,
        /// What he has.
        has: Role,
    },
    /// Nobody elsewhere may have this node run programs.
    #[error(
        "{what}: nobody elsewhere may have this node run programs, unless its `[cnc]` says `allow_remote_exec = true`"
    )]
    NotFromElsewhere {
        /// What would run one.
        what: String,
    },
    /// No update is configured.
    #[error("no update: `[cnc]` of this node has no `update_command`")]
    NoUpdate,
    /// The update did not work; nothing has changed.
    #[error("the update failed, so that nothing is restarted: {why}")]
    UpdateFailed {
        /// Why.
        why: String,
    },
    /// Several jobs could be meant.
    #[error("`{name}` could be {}; say which by its name or unique id", .jobs.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Some of those that it could be.
        jobs: Vec<String>,
    },
    /// There is no message type of that name.
    #[error("Unknown message type `{message_type}`; there are {}", .known.join(", "))]
    UnknownMessage {
        /// What was asked for.
        message_type: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// What came is not what the message holds.
    #[error("this is no {message_type}: {why}")]
    BadPayload {
        /// The type.
        message_type: String,
        /// What is wrong.
        why: String,
    },
    /// No job takes that message.
    #[error("No jobs accepted a {message_type}{}", .target.as_ref().map_or_else(String::new, |id| format!(" (target: {id})")))]
    NobodyTakes {
        /// The type.
        message_type: String,
        /// To whom it was to go.
        target: Option<String>,
    },
    /// The job could not carry out the operation, or does not know it.
    #[error("`{name}`: {why}")]
    Operation {
        /// The job's name.
        name: String,
        /// Why.
        why: String,
        /// What else it answered.
        data: Value,
    },
    /// What was asked is not to be had; told by another supervisor.
    #[error("{message}")]
    Elsewhere {
        /// The class of its refusal.
        class: String,
        /// Its words.
        message: String,
        /// What else it answered.
        data: Value,
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

impl Refusal {
    /// A refusal of a class of its own.
    pub(crate) fn of_class(class: &str, message: impl Into<String>) -> Self {
        Self::Elsewhere { class: class.into(), message: message.into(), data: Value::Null }
    }
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
