//! `DAQJobStoreCSV`: tables into CSV files.
//!
//! Invariants: a row is written whole or not at all, and the file is right at every moment; a full disk holds the store
//! up (and so, in the end, its sources) until there is room again: nothing is dropped; a message that is no rows, names
//! no file inside `out_dir`, or one that cannot be written whatever one waits for, is refused, counted and told, once a
//! stream or file. All waiting is done in `CsvStore::settle`.

use std::collections::HashSet;
use std::error::Error;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enrgdaq::job::{Backend, Context, Delivery, Job, JobError, Kind};
use enrgdaq::message::Severity;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use thiserror::Error;

use super::file_name::{NameError, file_name};
use super::folder::Folder;
use super::outage::Outage;
use super::rows::{RowsError, rows_of};
use super::sheet::Form;
use super::sheets::{Failure, Round, Sheets, Target};

/// Rows reach the disk at least this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How long to wait before writing is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The same, when the job is to end.
const RETRY_AT_END_AFTER: Duration = Duration::from_millis(250);

/// How long a job that is to end goes on trying: less than the supervisor waits before it sends a signal.
const GIVE_UP_AFTER: Duration = Duration::from_secs(8);

/// Refusals that are remembered, so that each is told once.
const MAX_TOLD: usize = 10_000;

/// Writes tables into CSV files, below one folder. The rows of a message reach the file within a second, and the disk
/// with them. A row with other columns than the file has goes to `name_1.csv`, `name_2.csv` …
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CsvStoreConfig {
    /// The folder, relative to the working directory; made if it is missing.
    #[serde(default = "out_dir")]
    out_dir: PathBuf,
}

fn out_dir() -> PathBuf {
    "out/".into()
}

/// What stands in `[store_config.csv]` of a producer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CsvTarget {
    /// The file, relative to the store's `out_dir`. A message's tag is put before the ending: `name_tag.csv`.
    file_path: String,
    /// Puts the local date of the message before the name, `2026-11-20_name.csv`: a new file every day.
    #[serde(default)]
    add_date: bool,
    /// The file holds the rows of the newest message only; it is replaced as a whole.
    #[serde(default)]
    overwrite: bool,
    /// Compresses with zstd; `.zst` is added to the name if it is missing.
    #[serde(default)]
    use_zstd: bool,
}

impl CsvTarget {
    fn path(&self, date: Date, tag: Option<&str>) -> Result<PathBuf, NameError> {
        let has_ending = Path::new(&self.file_path).extension().is_some_and(|ending| ending == "zst");
        let ending = if self.use_zstd && !has_ending { ".zst" } else { "" };
        file_name(&format!("{}{ending}", self.file_path), self.add_date.then_some(date), tag)
    }
}

/// Why a message is not stored.
#[derive(Debug, Error)]
enum Refused {
    #[error("it has no table [store_config.csv]")]
    NoTarget,
    #[error("its [store_config.csv] does not fit")]
    Target(#[from] serde_json::Error),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// The job.
#[derive(Debug)]
pub(crate) struct CsvStore {
    sheets: Sheets,
    outage: Outage,
    refused: u64,
    told: HashSet<String>,
    give_up_at: Option<Instant>,
}

impl Job for CsvStore {
    const TYPE: &'static str = "DAQJobStoreCSV";
    const KIND: Kind = Kind::Store;
    const ALIASES: &'static [&'static str] = &["store_csv"];
    type Config = CsvStoreConfig;

    fn backend() -> Option<Backend> {
        Some(Backend { key: "csv", schema: schema_for!(CsvTarget) })
    }

    fn new(config: CsvStoreConfig, _: &Context) -> Result<Self, JobError> {
        let fail = |error| JobError::failed(format!("cannot open the folder {}", config.out_dir.display()), error);
        let folder = Folder::open(&config.out_dir).map_err(fail)?;
        let (sheets, outage) = (Sheets::new(folder), Outage::default());
        Ok(Self { sheets, outage, refused: 0, told: HashSet::new(), give_up_at: None })
    }

    fn run(mut self, cx: Context) -> Result<(), JobError> {
        let mut flush_at = Instant::now() + FLUSH_EVERY;
        loop {
            match cx.inbox().next(flush_at.saturating_duration_since(Instant::now()))? {
                Some(delivery) => self.take(&cx, &delivery)?,
                None if cx.stopping() => break,
                None => {}
            }
            if Instant::now() >= flush_at {
                self.settle(&cx)?;
                flush_at = Instant::now() + FLUSH_EVERY;
            }
            cx.alive();
        }
        self.settle(&cx)
    }
}

impl CsvStore {
    fn take(&mut self, cx: &Context, delivery: &Delivery) -> Result<(), JobError> {
        match self.put(delivery) {
            // What a file is short of holds up all: what comes meanwhile has to wait somewhere, and here is no room.
            Ok(round) => match self.report(cx, round) {
                Some(_) => self.settle(cx),
                None => Ok(()),
            },
            Err(refused) => {
                let src = &delivery.envelope.src;
                let key = format!("{} {:?}", src.unique_id, std::mem::discriminant(&refused));
                let whose = format!("messages of {} ({})", src.daq_job_type, src.unique_id);
                self.refuse(cx, 1, key, &format!("{whose}: {}", chain(&refused)));
                Ok(())
            }
        }
    }

    fn put(&mut self, delivery: &Delivery) -> Result<Round, Refused> {
        let envelope = &delivery.envelope;
        let stores = envelope.store_config.as_ref().ok_or(Refused::NoTarget)?;
        let target: CsvTarget = stores.target("csv").ok_or(Refused::NoTarget)??;
        let path = target.path(local_date(envelope.ts), envelope.tag.as_deref())?;
        let rows = rows_of(delivery)?;
        let form = Form { header: rows.header, is_compressed: target.use_zstd };
        if target.overwrite {
            self.sheets.replace(Target { path, form }, &rows.lines);
            return Ok(Round::default());
        }
        Ok(self.sheets.put(Target { path, form }, rows.lines))
    }

    /// Everything onto the disk; where there is no room it waits, until the job has had to end for a while.
    fn settle(&mut self, cx: &Context) -> Result<(), JobError> {
        loop {
            let round = self.sheets.round();
            let Some(trouble) = self.report(cx, round) else { break };
            if self.outage.failed(Instant::now()) {
                cx.alert(Severity::Error, format!("{} waits, and keeps what it has: {}", cx.name(), chain(&trouble)));
            }
            if !self.wait(cx) {
                return Err(self.give_up(cx, trouble));
            }
            cx.alive();
        }
        if self.outage.is_over(Instant::now(), cx.stopping()) {
            cx.alert(Severity::Info, format!("{} writes again; nothing that waited was lost", cx.name()));
        }
        Ok(())
    }

    /// Counts and tells what was lost; what is left is trouble that may pass.
    fn report(&mut self, cx: &Context, round: Round) -> Option<Failure> {
        for lost in round.lost {
            let kind = match &lost.failure {
                Failure::Io { source, .. } => source.raw_os_error(),
                Failure::Columns { .. } => None,
            };
            let key = format!("{} {kind:?}", lost.failure.path().display());
            self.refuse(cx, lost.messages, key, &format!("rows: {}", chain(&lost.failure)));
        }
        round.trouble
    }

    /// `false` if the job is to end, and has waited long enough.
    fn wait(&mut self, cx: &Context) -> bool {
        if cx.sleep(RETRY_AFTER) {
            return true;
        }
        let give_up_at = *self.give_up_at.get_or_insert_with(|| Instant::now() + GIVE_UP_AFTER);
        std::thread::sleep(RETRY_AT_END_AFTER);
        Instant::now() < give_up_at
    }

    /// Counts and tells all that gets into no file any more.
    fn give_up(&mut self, cx: &Context, trouble: Failure) -> JobError {
        let mut messages = self.sheets.messages();
        while let Ok(Some(_)) = cx.inbox().next(Duration::ZERO) {
            messages += 1;
        }
        cx.refuse(messages);
        let text = format!("the rows of {messages} messages are lost: they could not be written before the end");
        cx.alert(Severity::Error, format!("{}: {text}: {}", cx.name(), chain(&trouble)));
        JobError::failed(text, trouble)
    }

    /// Counts messages, and says why the first time.
    fn refuse(&mut self, cx: &Context, messages: u64, key: String, text: &str) {
        cx.refuse(messages);
        self.refused += messages;
        if self.told.len() < MAX_TOLD && self.told.insert(key) {
            let refused = self.refused;
            cx.alert(Severity::Error, format!("{} does not store {text} (refused so far: {refused})", cx.name()));
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let errors = successors(Some(error), |&error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn local_date(ns: i64) -> Date {
    let time = Timestamp::from_nanosecond(ns.into()).unwrap_or_else(|_| Timestamp::now());
    time.to_zoned(TimeZone::system()).date()
}
