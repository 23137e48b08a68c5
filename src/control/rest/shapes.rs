//! The shapes of answers that are printed from replies, for the OpenAPI document.

#![expect(dead_code, reason = "their schemas are all that is wanted of them")]

use schemars::JsonSchema;

use crate::control::{LoggedLine, StateName};

/// What state a job is in now.
#[derive(JsonSchema)]
pub(super) struct JobState {
    /// Its name.
    pub(super) name: String,
    /// Its state.
    pub(super) state: StateName,
}

/// The text of a job's file.
#[derive(JsonSchema)]
pub(super) struct JobFile {
    /// The job's name.
    pub(super) name: String,
    /// Its file.
    pub(super) path: String,
    /// The text, with `"***"` for every secret.
    pub(super) config: String,
}

/// Lines of a log.
#[derive(JsonSchema)]
pub(super) struct LogLines {
    /// Oldest first.
    pub(super) lines: Vec<LoggedLine>,
    /// Lines that there were before these.
    pub(super) older: u64,
    /// The number to go on after.
    pub(super) next: u64,
    /// Lines that were asked for, as far as can be told, and are no longer in memory.
    pub(super) forgotten: u64,
    /// The file in which these are, unless they were dropped.
    pub(super) file: Option<String>,
    /// Since when lines are kept in memory, in milliseconds since the Unix epoch.
    pub(super) begins: i64,
}

/// What was done.
#[derive(JsonSchema)]
pub(super) struct Done {
    /// In words.
    pub(super) message: String,
}

/// What the control socket would answer, without `id`: the fields of the answer, and these.
#[derive(JsonSchema)]
pub(super) struct CallAnswer {
    /// Nothing comes after it.
    pub(super) finished: bool,
}
