//! `DAQJobStoreCSV`: tables into CSV files.
//!
//! Invariants: a row is written whole or not at all, and the file is right at every moment; a message is acknowledged
//! when the system has its rows, so that a store that is killed gets again what it had in memory; a full disk holds the
//! store up (and so, in the end, its sources) until there is room again: nothing is dropped; a message that is no rows, names
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

/// When nothing has come for so long, what came before is handed to the system.
const QUIET: Duration = Duration::from_millis(20);

/// So much is held without being acknowledged, at the most: envelopes and payloads in bytes, and messages.
const MAX_HELD_BYTES: u64 = 8 << 20;
const MAX_HELD: usize = 4096;

/// So much is worth compressing by itself.
const LARGE_PIECE: u64 = 256 << 10;

/// How long to wait before writing is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The same, when the job is to end.
const RETRY_AT_END_AFTER: Duration = Duration::from_millis(250);

/// How long a job that is to end goes on trying: less than the supervisor waits before it sends a signal.
const GIVE_UP_AFTER: Duration = Duration::from_secs(8);

/// Refusals that are remembered, so that each is told once.
const MAX_TOLD: usize = 10_000;

/// Writes tables into CSV files, below one folder. The rows of a message reach the file at once, or, when there are many,
/// within a second; the disk within a second. A store that dies before gets them again: the last rows may then be there
/// twice. A row with other columns than the file has goes to `name_1.csv`, `name_2.csv` …
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
    /// Whose rows the system may not have yet, of those that come again if it dies before it has them.
    held: Vec<Delivery>,
    held_bytes: u64,
    /// How many of the others.
    at_risk: u64,
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
        let (told, held) = (HashSet::new(), Vec::new());
        Ok(Self { sheets, outage, refused: 0, told, give_up_at: None, held, held_bytes: 0, at_risk: 0 })
    }

    fn run(mut self, cx: Context) -> Result<(), JobError> {
        let mut flush_at = Instant::now() + FLUSH_EVERY;
        loop {
            let until_flush = flush_at.saturating_duration_since(Instant::now());
            let patience = if self.held_bytes == 0 { until_flush } else { until_flush.min(QUIET) };
            match cx.inbox().next(patience)? {
                Some(delivery) => self.take(&cx, delivery)?,
                None if cx.stopping() => break,
                None => self.hand_over(&cx)?,
            }
            if self.held.len() >= MAX_HELD || self.held_bytes >= MAX_HELD_BYTES {
                self.hand_over(&cx)?;
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
    fn take(&mut self, cx: &Context, mut delivery: Delivery) -> Result<(), JobError> {
        match self.put(&mut delivery) {
            Ok(round) => {
                self.held_bytes += delivery.size();
                // One that takes the latest must not hold up the next.
                match delivery.comes_again() {
                    true => self.held.push(delivery),
                    false => self.at_risk += 1,
                }
                // What a file is short of holds up all: what comes meanwhile has to wait somewhere, and here is no room.
                match self.report(cx, round) {
                    Some(_) => self.settle(cx),
                    None => Ok(()),
                }
            }
            Err(refused) => {
                let src = &delivery.envelope.head.src;
                let key = format!("{} {:?}", src.unique_id, std::mem::discriminant(&refused));
                let whose = format!("messages of {} ({})", src.daq_job_type, src.unique_id);
                self.refuse(cx, 1, key, &format!("{whose}: {}", chain(&refused)));
                delivery.ack();
                Ok(())
            }
        }
    }

    fn put(&mut self, delivery: &mut Delivery) -> Result<Round, Refused> {
        let (ts, head) = (delivery.envelope.ts, delivery.envelope.head.clone());
        let stores = head.store_config.as_ref().ok_or(Refused::NoTarget)?;
        let target: CsvTarget = stores.target("csv").ok_or(Refused::NoTarget)??;
        let path = target.path(local_date(ts), head.tag.as_deref())?;
        let rows = rows_of(delivery)?;
        let form = Form { header: rows.header, is_compressed: target.use_zstd };
        if target.overwrite {
            self.sheets.replace(Target { path, form }, &rows.lines);
            return Ok(Round::default());
        }
        Ok(self.sheets.put(Target { path, form }, rows.lines))
    }

    /// Everything to the system, as far as that makes sense before the next flush.
    fn hand_over(&mut self, cx: &Context) -> Result<(), JobError> {
        if self.held_bytes == 0 {
            return Ok(());
        }
        let (round, is_all) = self.sheets.hand_over();
        match self.report(cx, round) {
            Some(_) => self.settle(cx),
            None if is_all => {
                self.acknowledge();
                Ok(())
            }
            // Perhaps the source waits for just this room.
            None if self.held.len() >= MAX_HELD || self.held_bytes >= LARGE_PIECE => self.settle(cx),
            None => Ok(()),
        }
    }

    fn acknowledge(&mut self) {
        self.held.drain(..).for_each(Delivery::ack);
        (self.held_bytes, self.at_risk) = (0, 0);
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
        self.acknowledge();
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

    /// Tells what gets into no file before the end, and counts what of it is lost: what came over the bus.
    fn give_up(&mut self, cx: &Context, trouble: Failure) -> JobError {
        while let Ok(Some(delivery)) = cx.inbox().next(Duration::ZERO) {
            self.at_risk += u64::from(!delivery.comes_again());
        }
        let mut text = String::from("rows could not be written before the end");
        if !self.held.is_empty() {
            text += &format!("; those of {} messages wait for the next start", self.held.len());
        }
        if self.at_risk > 0 {
            cx.refuse(self.at_risk);
            text += &format!("; those of {} messages are lost", self.at_risk);
        }
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
