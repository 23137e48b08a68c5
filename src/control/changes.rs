//! What a reload would do, or has done, as `plan` and `reload` give it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The difference between what runs and what the files say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Job by job; those that stay as they are are not named.
    pub changes: Vec<JobChange>,
    /// What of the supervisor's own configuration takes effect at once.
    #[serde(default)]
    pub at_once: Vec<String>,
    /// What takes effect only when the supervisor starts anew.
    pub later: Vec<String>,
    /// What the files say without effect, or in an old way; and what the operator wants otherwise than they say.
    pub notes: Vec<String>,
}

/// What becomes of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobChange {
    /// Its name.
    pub name: String,
    /// What.
    pub change: Change,
    /// The keys that differ.
    pub keys: Vec<String>,
}

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new, and starts.
    Add,
    /// It ends, and is no longer there.
    Remove,
    /// It ends, and starts with its new configuration.
    Restart,
    /// It goes on; the supervisor looks after it differently.
    Adjust,
}

impl Changes {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.at_once.is_empty() && self.later.is_empty()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "nothing has changed")?;
        }
        for JobChange { name, change, keys } in &self.changes {
            let (mark, word) = match change {
                Change::Add => ('+', "new"),
                Change::Remove => ('-', "removed"),
                Change::Restart => ('~', "restarted"),
                Change::Adjust => ('=', "goes on"),
            };
            let keys = if keys.is_empty() { String::new() } else { format!(": {}", keys.join(", ")) };
            writeln!(f, "{mark} {name}  {word}{keys}")?;
        }
        for change in &self.at_once {
            writeln!(f, "= {change}")?;
        }
        for later in &self.later {
            writeln!(f, "! {later}")?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}
