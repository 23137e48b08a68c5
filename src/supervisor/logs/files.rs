//! The thread that writes: `NAME.log` for each job, `supervisor.log` with all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::file::{Block, LogFile};
use super::losses::Losses;
use super::setup::FileSetup;
use super::{JobLog, Shared};
use crate::config::LogFormat;
use crate::os::iso_now;
use crate::telemetry::{Backlog, Line, Next, OWN, Said, is_shown, with_commas};

/// What may wait for the disk, in bytes.
const BACKLOG: usize = 8 << 20;

/// How often is looked after files that could not be written, and those that are used no more.
const TICK: Duration = Duration::from_secs(1);

/// A file that nobody has written for so long is closed.
const UNUSED: Duration = Duration::from_mins(10);

/// What is to be written: what a job said.
#[derive(Debug)]
struct Parcel {
    log: JobLog,
    said: Arc<Said>,
}

/// A parcel, with the number of lines that were dropped just before it, of its job and of all.
#[derive(Debug)]
struct Taken {
    parcel: Parcel,
    lost_before: u64,
    lost_of_all: u64,
}

/// The way to the files.
#[derive(Debug)]
pub(super) struct Files {
    setup: FileSetup,
    backlog: Backlog<Parcel>,
    /// Jobs of which lines were dropped on the way, perhaps without any that follow.
    losers: Mutex<Vec<JobLog>>,
    /// Lines that were dropped on the way to `supervisor.log`.
    lost_of_all: AtomicU64,
    are_well: AtomicBool,
}

impl Files {
    pub(super) fn new(setup: FileSetup) -> Self {
        Self {
            setup,
            backlog: Backlog::of(BACKLOG),
            losers: Mutex::default(),
            lost_of_all: AtomicU64::new(0),
            are_well: AtomicBool::new(true),
        }
    }

    /// Hands in what a job said. Where the disk falls behind, what has waited longest is dropped and counted.
    pub(super) fn hand_in(&self, log: &JobLog, said: Arc<Said>, losses: &Losses) {
        let (lines, bytes) = (said.lines(), said.bytes());
        let mut lost = Vec::new();
        // Counted before anything that follows is taken: the files tell it in the place where it is missing.
        let is_taken = self.backlog.push(Parcel { log: log.clone(), said }, bytes, |oldest| {
            let lines = oldest.said.lines();
            oldest.log.note_lost(lines);
            self.lost_of_all.fetch_add(lines, Relaxed);
            lost.push((oldest.log, lines));
        });
        if !is_taken {
            log.note_dropped(lines);
        }
        for (log, lines) in lost {
            losses.note(log.name(), lines, || "as they come faster than the disk takes them".into());
            if log.list_as_loser(true) {
                self.losers().push(log);
            }
        }
    }

    fn losers(&self) -> MutexGuard<'_, Vec<JobLog>> {
        self.losers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next<Taken> {
        self.backlog.next(TICK, |parcel| Taken {
            lost_before: parcel.log.take_lost(),
            lost_of_all: self.lost_of_all.swap(0, Relaxed),
            parcel,
        })
    }

    /// Whether all files take lines.
    pub(super) fn are_well(&self) -> bool {
        self.are_well.load(Relaxed)
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        self.backlog.close();
    }

    /// The file of a job.
    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.setup.dir.join(format!("{name}.log"))
    }
}

/// Starts the thread; the receiver hears of its end.
pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<mpsc::Receiver<()>> {
    let (end, ended) = mpsc::channel::<()>();
    thread::Builder::new().name("log-files".into()).spawn(move || {
        let _end = end;
        if let Some(files) = &shared.files {
            Writer::new(files, &shared).work();
        }
    })?;
    Ok(ended)
}

/// The files of jobs, by their names, each with the newest job of that name.
type OfJobs = HashMap<Arc<str>, (JobLog, LogFile)>;

/// All that the thread has.
struct Writer<'a> {
    files: &'a Files,
    shared: &'a Shared,
    of_jobs: OfJobs,
    of_all: LogFile,
    block: Block,
    tick_due: Instant,
}

impl<'a> Writer<'a> {
    fn new(files: &'a Files, shared: &'a Shared) -> Self {
        let of_all = LogFile::new(&files.setup, OWN);
        Self {
            files,
            shared,
            of_jobs: HashMap::new(),
            of_all,
            block: Block::default(),
            tick_due: Instant::now() + TICK,
        }
    }

    fn work(&mut self) {
        loop {
            match self.files.next() {
                Next::Item(taken) => self.write(&taken),
                Next::Nothing => {}
                Next::End => return self.look_after(),
            }
            if Instant::now() >= self.tick_due {
                self.look_after();
                self.tick_due = Instant::now() + TICK;
            }
        }
    }

    fn write(&mut self, taken: &Taken) {
        let Parcel { log, said } = &taken.parcel;
        if **log.name() != *OWN {
            self.render(said, None, |_| true);
            let file = file_of(log, &mut self.of_jobs, &self.files.setup);
            file.lost += taken.lost_before;
            put(file, self.files, self.shared, log, &self.block);
        }
        self.of_all.lost += taken.lost_of_all;
        self.write_of_all(said);
    }

    /// What is told by the supervisor's own log is told by its file too.
    fn write_of_all(&mut self, said: &Said) {
        let verbosity = self.files.setup.verbosity;
        let job = (*said.by != *OWN).then_some(&*said.by);
        self.render(said, job, |line| is_shown(line, verbosity));
        if job.is_none() {
            put(&mut self.of_all, self.files, self.shared, &self.shared.own, &self.block);
        } else {
            self.of_all.write(&self.files.setup, &self.block, |lost| told(self.files.setup.format, lost));
        }
    }

    fn render(&mut self, said: &Said, job: Option<&str>, is_wanted: impl Fn(&Line<'_>) -> bool) {
        self.block.clear();
        for line in said.each().filter(is_wanted) {
            match self.files.setup.format {
                LogFormat::Text => line.write_text(&mut self.block.bytes, job),
                LogFormat::Json => line.write_json(&mut self.block.bytes, job),
            }
            self.block.ends.push(self.block.bytes.len());
        }
    }

    /// Tries what failed again, and closes what is used no more.
    fn look_after(&mut self) {
        self.block.clear();
        for log in std::mem::take(&mut *self.files.losers()) {
            log.list_as_loser(false);
            let lost = log.take_lost();
            if lost > 0 && **log.name() != *OWN {
                file_of(&log, &mut self.of_jobs, &self.files.setup).lost += lost;
            }
        }
        for (log, file) in self.of_jobs.values_mut().filter(|(_, file)| !file.is_well()) {
            put(file, self.files, self.shared, log, &self.block);
        }
        self.of_all.lost += self.files.lost_of_all.swap(0, Relaxed);
        if !self.of_all.is_well() {
            put(&mut self.of_all, self.files, self.shared, &self.shared.own, &self.block);
        }
        let is_used = |file: &LogFile| !file.is_well() || file.used_at.elapsed() < UNUSED;
        self.of_jobs.retain(|_, (_, file)| is_used(file));
        let are_well = self.of_all.is_well() && self.of_jobs.values().all(|(_, file)| file.is_well());
        self.files.are_well.store(are_well, Relaxed);
    }
}

/// The file of a job.
fn file_of<'a>(log: &JobLog, of_jobs: &'a mut OfJobs, setup: &FileSetup) -> &'a mut LogFile {
    let (of, file) =
        of_jobs.entry(log.name().clone()).or_insert_with(|| (log.clone(), LogFile::new(setup, log.name())));
    *of = log.clone();
    file
}

/// Writes into a file, and counts.
fn put(file: &mut LogFile, files: &Files, shared: &Shared, log: &JobLog, block: &Block) {
    let written = file.write(&files.setup, block, |lost| told(files.setup.format, lost));
    let dropped = block.lines() - written.lines;
    log.note_written(written.lines);
    log.note_dropped(dropped);
    if let Some(error) = written.error {
        files.are_well.store(false, Relaxed);
        if dropped > 0 {
            shared.losses.note(log.name(), dropped, || format!("as {error}"));
        }
    }
}

/// The line that stands where lines are missing.
fn told(format: LogFormat, lost: u64) -> Block {
    let line = Line {
        level: "WARNING",
        stamp: iso_now().into(),
        module: module_path!().into(),
        text: format!("… {} lines dropped", with_commas(lost)).into_bytes().into(),
    };
    let mut block = Block::default();
    match format {
        LogFormat::Text => line.write_text(&mut block.bytes, None),
        LogFormat::Json => line.write_json(&mut block.bytes, None),
    }
    block.ends.push(block.bytes.len());
    block
}
