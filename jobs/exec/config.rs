//! The keys of `DAQJobExec`, and which of them go together.

use std::collections::BTreeMap;
use std::time::Duration;

use enrgdaq::job::Refusal;
use enrgdaq::message::StoreConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs a program of any language as a job. What it writes to its standard output is stored, as `format` says; its standard
/// error is its log.
///
/// The program is told to end by `supervise.stop_signal`, and what it has written until its end is stored. The job ends with
/// the exit code of the program, or 128 and the number of the signal that killed it; 78 says that only another configuration
/// can help.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecConfig {
    /// The program and its arguments: `["python3", "read_out.py"]`. A program without a slash is looked for in `PATH`, a
    /// relative one with a slash in `supervise.cwd`. There is no shell, unless it is the program.
    #[schemars(length(min = 1), example = ["python3", "read_out.py"])]
    pub(super) command: Vec<String>,
    /// What the program writes to its standard output.
    #[serde(default)]
    pub(super) format: Format,
    /// What the program reads from its standard input.
    #[serde(default)]
    pub(super) stdin: Stdin,
    /// When the job is ready, and others may rely on it.
    #[serde(default)]
    pub(super) ready: Ready,
    /// The program says that it is alive: `WATCHDOG=1` on `NOTIFY_SOCKET`, at least once in
    /// `supervise.watchdog_timeout_seconds`, which must be given. Without it, each record is a sign of life.
    #[serde(default)]
    pub(super) watchdog: bool,
    /// For `csv`: names of the columns, where the first line is not the header.
    #[serde(default)]
    pub(super) columns: Option<Vec<String>>,
    /// For `csv` and `jsonl`: the types of columns. Others have the type that fits their first value: `"float"` for all
    /// numbers, `"bool"` for `true` and `false` of JSON, `"text"` for all else.
    #[serde(default)]
    pub(super) types: BTreeMap<String, CellType>,
    /// For `raw`: where a record ends.
    #[serde(default)]
    pub(super) framing: Option<Framing>,
    /// For `framing = "fixed"`: the bytes of a record.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) record_bytes: Option<u64>,
    /// For `raw` and `arrow`: the longest record in bytes, 64 MiB without it. A program that announces a longer one is
    /// restarted.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_147_483_648u64))]
    pub(super) max_record_bytes: Option<u64>,
    /// Sorts what the program writes into files or keys of its own, beside those of other jobs.
    #[serde(default)]
    pub(super) tag: Option<String>,
    /// Where the records are stored.
    #[serde(default)]
    pub(super) store_config: Option<StoreConfig>,
}

/// What a program writes to its standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Nothing that is stored: it goes to the log.
    #[default]
    None,
    /// Lines of text: columns `timestamp` (ms since the Unix epoch, when it was read) and `line`.
    Lines,
    /// Lines of cells, separated by commas.
    Csv,
    /// Lines of JSON, an object each.
    Jsonl,
    /// Bytes.
    Raw,
    /// A stream of Arrow tables (IPC).
    Arrow,
}

/// What a program reads from its standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stdin {
    /// Nothing.
    #[default]
    None,
    /// The messages of `topics_to_subscribe`: a line of JSON each.
    Jsonl,
}

/// When a program is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ready {
    /// As soon as it runs.
    #[default]
    Start,
    /// When it has written its first line, or record, to its standard output.
    FirstLine,
    /// When it says `READY=1` on `NOTIFY_SOCKET`.
    Notify,
    /// When a line of its standard output or error matches this regular expression.
    Pattern(String),
}

/// The type of the cells of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CellType {
    /// A whole number of 64 bits, with sign.
    Int,
    /// A number of 64 bits; whole numbers are exact up to 2⁵³.
    Float,
    /// True or false; in CSV also 1 or 0.
    Bool,
    /// Text.
    Text,
}

/// Where a raw record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Framing {
    /// Its length stands before it: 4 bytes, the lowest first.
    U32le,
    /// Its length stands before it: 4 bytes, the highest first.
    U32be,
    /// All have the same length: `record_bytes`.
    Fixed,
}

/// Without `max_record_bytes`.
const MAX_RECORD: u64 = 64 << 20;

impl ExecConfig {
    pub(super) fn max_record(&self) -> usize {
        usize::try_from(self.max_record_bytes.unwrap_or(MAX_RECORD)).unwrap_or(usize::MAX)
    }

    /// All that does not go together.
    /// What `watchdog` and `watchdog_timeout_seconds` say must go together.
    pub(super) fn check_watchdog(&self, timeout: Option<Duration>) -> Result<(), Refusal> {
        let is_silent = self.format == Format::None && self.stdin == Stdin::None;
        let refuse = |key: &str, reason: &str| Err(Refusal { key: key.into(), reason: reason.into() });
        match timeout {
            None if self.watchdog => refuse(
                "watchdog",
                "nobody says how long the program may be silent: give `watchdog_timeout_seconds` in [supervise]",
            ),
            Some(_) if !self.watchdog && is_silent => refuse(
                "supervise.watchdog_timeout_seconds",
                "the program has no records by which it could be seen to be alive: give `watchdog = true` and let it say \
                 WATCHDOG=1, or remove the timeout",
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self) -> Vec<Refusal> {
        let is = |format: Format| self.format == format;
        let rows = is(Format::Csv) || is(Format::Jsonl);
        let fixed = self.framing == Some(Framing::Fixed);
        let types = self.columns.as_ref().and_then(|columns| self.types.keys().find(|name| !columns.contains(name)));
        let pattern = match &self.ready {
            Ready::Pattern(pattern) => regex::bytes::Regex::new(pattern).err(),
            _ => None,
        };
        let wrong = [
            ("command", self.command.first().is_some_and(String::is_empty), "the first word names the program"),
            ("command", self.command.iter().any(|word| word.contains('\0')), "no word can have a NUL in it"),
            (
                "store_config",
                is(Format::None) && self.store_config.is_some(),
                "there is nothing to store: with `format = \"none\"` standard output goes to the log; give a `format`, or \
                 remove it",
            ),
            ("tag", is(Format::None) && self.tag.is_some(), "there is nothing to tag; give a `format`, or remove it"),
            (
                "format",
                !is(Format::None) && self.store_config.is_none(),
                "what the program writes is stored nowhere: add [store_config.csv] or another backend",
            ),
            ("columns", self.columns.is_some() && !is(Format::Csv), "has a meaning for `format = \"csv\"` only"),
            ("columns", self.columns.as_ref().is_some_and(Vec::is_empty), "a table has at least one column"),
            ("types", !self.types.is_empty() && !rows, "has a meaning for `format = \"csv\"` and \"jsonl\" only"),
            ("types", types.is_some(), "names a column that is not in `columns`"),
            ("framing", self.framing.is_some() && !is(Format::Raw), "has a meaning for `format = \"raw\"` only"),
            (
                "format",
                self.framing.is_none() && is(Format::Raw),
                "needs `framing`, which says where a record ends: \"u32le\", \"u32be\" or \"fixed\"",
            ),
            ("record_bytes", self.record_bytes.is_some() && !fixed, "has a meaning for `framing = \"fixed\"` only"),
            ("framing", self.record_bytes.is_none() && fixed, "needs `record_bytes`, the length of all records"),
            (
                "max_record_bytes",
                self.max_record_bytes.is_some() && (fixed || !is(Format::Raw) && !is(Format::Arrow)),
                "has a meaning for `format = \"raw\"`, where records have different lengths, and \"arrow\" only",
            ),
            ("record_bytes", self.record_bytes > Some(MAX_RECORD), "is more than 64 MiB"),
        ];
        let wrong = wrong.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
        let refusal = |key: &str, reason: String| Refusal { key: key.into(), reason };
        let pattern = pattern.map(|error| refusal("ready.pattern", format!("is no regular expression: {error}")));
        wrong.map(|(key, _, reason)| refusal(key, reason.into())).chain(pattern).collect()
    }
}
