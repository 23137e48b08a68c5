//! `DAQJobStoreCSV`: tables into CSV files.
//!
//! Invariants: a row is written whole or not at all, and the file is right at every moment; a full disk holds the store
//! up (and so, in the end, its sources) until there is room again: nothing is dropped; a message that is no rows, or
//! names no file inside `out_dir`, is refused, counted and told, once a stream.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enrgdaq::job::{Backend, Context, Delivery, Job, JobError, Kind};
use enrgdaq::message::Severity;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use thiserror::Error;

use super::file_name::{NameError, file_name, numbered};
use super::folder::Folder;
use super::rows::{Rows, RowsError, rows_of};
use super::sheet::{Found, Sheet};

/// Rows reach the disk at least this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How long to wait before writing is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Files that are open at a time; beyond that the one that was written longest ago is closed.
const MAX_OPEN: usize = 128;

/// Files `name_1.csv` … that are tried for rows with other columns.
const MAX_NUMBER: usize = 1000;

/// Streams whose refusals are remembered, so that each is told once.
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
    #[error("cannot open {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} and {MAX_NUMBER} files beside it have other columns")]
    Columns { path: PathBuf },
}

/// The job.
#[derive(Debug)]
pub(crate) struct CsvStore {
    folder: Folder,
    sheets: HashMap<(PathBuf, Vec<u8>), Open>,
    /// Whole contents that wait to replace a file.
    drafts: BTreeMap<PathBuf, Vec<u8>>,
    refused: u64,
    told: HashSet<(String, String)>,
    uses: u64,
}

/// A file, and when it was used.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    sheet: Sheet,
    used_at: u64,
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
        let (sheets, drafts, told) = (HashMap::new(), BTreeMap::new(), HashSet::new());
        Ok(Self { folder, sheets, drafts, refused: 0, told, uses: 0 })
    }

    fn run(mut self, cx: Context) -> Result<(), JobError> {
        let mut flush_at = Instant::now() + FLUSH_EVERY;
        loop {
            match cx.inbox().next(flush_at.saturating_duration_since(Instant::now()))? {
                Some(delivery) => self.take(&cx, &delivery),
                None if cx.stopping() => break,
                None => {}
            }
            if Instant::now() >= flush_at {
                self.flush(&cx)?;
                flush_at = Instant::now() + FLUSH_EVERY;
            }
            cx.alive();
        }
        self.flush(&cx)
    }
}

impl CsvStore {
    fn take(&mut self, cx: &Context, delivery: &Delivery) {
        if let Err(refused) = self.store(cx, delivery) {
            self.refused += 1;
            self.tell(cx, delivery, &refused);
        }
    }

    fn store(&mut self, cx: &Context, delivery: &Delivery) -> Result<(), Refused> {
        let envelope = &delivery.envelope;
        let stores = envelope.store_config.as_ref().ok_or(Refused::NoTarget)?;
        let target: CsvTarget = stores.target("csv").ok_or(Refused::NoTarget)??;
        let path = target.path(local_date(envelope.ts), envelope.tag.as_deref())?;
        let rows = rows_of(delivery)?;
        if target.overwrite {
            self.drafts.insert(path, whole(&rows, target.use_zstd));
            return Ok(());
        }
        let sheet = self.sheet(cx, path, &rows.header, target.use_zstd)?;
        // The rows are in memory even if writing fails; only writing is tried again.
        let mut lines = rows.lines.as_slice();
        retry(cx, || sheet.append(std::mem::take(&mut lines)));
        Ok(())
    }

    /// The open file for rows with this header.
    fn sheet(
        &mut self,
        cx: &Context,
        path: PathBuf,
        header: &[u8],
        is_compressed: bool,
    ) -> Result<&mut Sheet, Refused> {
        let key = (path, header.to_vec());
        if !self.sheets.contains_key(&key) {
            if self.sheets.len() >= MAX_OPEN {
                self.close_oldest(cx);
            }
            let (path, sheet) = self.find(&key.0, header, is_compressed)?;
            self.sheets.insert(key.clone(), Open { path, sheet, used_at: 0 });
        }
        self.uses += 1;
        let open = self.sheets.get_mut(&key).expect("it was there, or has just been put there");
        open.used_at = self.uses;
        Ok(&mut open.sheet)
    }

    /// The file itself, or the first beside it, `name_1.csv` …, whose columns fit.
    fn find(&self, path: &Path, header: &[u8], is_compressed: bool) -> Result<(PathBuf, Sheet), Refused> {
        for n in 0..=MAX_NUMBER {
            let path = if n == 0 { path.to_path_buf() } else { numbered(path, n) };
            if self.sheets.values().any(|open| open.path == path) {
                // Open already, for rows with other columns.
                continue;
            }
            let fail = |source| Refused::Open { path: self.folder.shown(&path), source };
            let file = self.folder.file(&path).map_err(fail)?;
            match Sheet::open(file, header, is_compressed).map_err(fail)? {
                Found::Fitting(sheet) => return Ok((path, sheet)),
                Found::OtherColumns => {}
            }
        }
        Err(Refused::Columns { path: self.folder.shown(path) })
    }

    fn close_oldest(&mut self, cx: &Context) {
        let oldest = self.sheets.iter().min_by_key(|(_, open)| open.used_at).map(|(key, _)| key.clone());
        if let Some(mut open) = oldest.and_then(|key| self.sheets.remove(&key)) {
            retry(cx, || open.sheet.flush());
        }
    }

    /// Everything onto the disk; where there is no room it waits, until the job is to end.
    fn flush(&mut self, cx: &Context) -> Result<(), JobError> {
        let folder = &self.folder;
        let mut is_whole = true;
        for (path, contents) in std::mem::take(&mut self.drafts) {
            is_whole &= retry(cx, || folder.replace(&path, &contents));
        }
        for open in self.sheets.values_mut() {
            is_whole &= retry(cx, || open.sheet.flush());
        }
        match is_whole {
            true => Ok(()),
            false => Err(JobError::Failed { context: "rows could not be written before the end".into(), source: None }),
        }
    }

    /// Says why, the first time it happens to this stream.
    fn tell(&mut self, cx: &Context, delivery: &Delivery, refused: &Refused) {
        let envelope = &delivery.envelope;
        let reason = refused.to_string();
        if self.told.len() < MAX_TOLD && self.told.insert((envelope.src.unique_id.clone(), reason.clone())) {
            let text = format!(
                "{} does not store messages of {} ({}): {reason} (refused so far: {})",
                cx.name(),
                envelope.src.daq_job_type,
                envelope.src.unique_id,
                self.refused
            );
            cx.alert(Severity::Error, text);
        }
    }
}

/// Tries until it works, and tells people once that it does not; `false` if the job is to end before.
fn retry(cx: &Context, mut write: impl FnMut() -> io::Result<()>) -> bool {
    let mut is_told = false;
    loop {
        let Err(error) = write() else { return true };
        if !is_told {
            is_told = true;
            cx.alert(Severity::Error, format!("{} cannot write, and waits: {error}", cx.name()));
        }
        if !cx.sleep(RETRY_AFTER) {
            return false;
        }
    }
}

fn whole(rows: &Rows, is_compressed: bool) -> Vec<u8> {
    let text = [rows.header.as_slice(), &rows.lines].concat();
    match is_compressed {
        true => zstd::bulk::compress(&text, 0).unwrap_or(text),
        false => text,
    }
}

fn local_date(ns: i64) -> Date {
    let time = Timestamp::from_nanosecond(ns.into()).unwrap_or_else(|_| Timestamp::now());
    time.to_zoned(TimeZone::system()).date()
}
