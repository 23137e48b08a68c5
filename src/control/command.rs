//! What can be asked of a supervisor, and what it answers.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::status::{StateName, Status};
use crate::job::LogLine;

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
    /// The newest lines of a job's log.
    Logs {
        /// Its name.
        name: String,
        /// How many at the most.
        lines: usize,
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
        lines: Vec<LogLine>,
        /// Lines that there were before these.
        older: u64,
    },
    /// To [`Command::Job`]: what state it is in now.
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
    /// The supervisor is about to end.
    #[error("the supervisor is stopping")]
    Stopping,
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
        StateName::Starting => "starting",
        StateName::Ready => "running",
        StateName::BackingOff => "waiting to be started again",
        StateName::Stopping => "stopping",
        StateName::Exited => "done",
        StateName::Fatal => "fatal",
    }
}
