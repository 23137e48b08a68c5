//! What an operator has decided, kept over a restart of the supervisor: `operator.json` in the state directory.
//!
//! ```text
//!  decide ─▶ memory ─▶ writer thread: a new file, synced, takes the place of the old one
//! ```
//!
//! Invariants: the file is whole at every moment; who gave an order is answered when it is on the disk, or told that it is
//! not; jobs never wait for that; a file that cannot be read stops the start, since a job that somebody stopped for a
//! reason must not run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Notify;

use crate::config::Overrides;

/// The file's name.
const NAME: &str = "operator.json";

/// Why it cannot be read.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The system does not give it.
    #[error("cannot read {path}, in which stands what the operator has stopped")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No thread can be made that writes it.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// It is not what this version writes.
    #[error(
        "{path} is damaged; in it stands what the operator has stopped: look into it, remove it, and stop again what must \
         not run"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// How long the end waits for a disk that does not answer.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The decisions, and their way to the disk.
#[derive(Debug)]
pub(super) struct Operator {
    decided: Overrides,
    /// How often something else was decided.
    decisions: u64,
    /// Without it the thread makes a last try, and ends.
    writer: Option<mpsc::Sender<(u64, Overrides)>>,
    disk: Arc<Disk>,
}

/// What has become of the decisions.
#[derive(Debug, Default)]
struct Disk {
    state: Mutex<DiskState>,
    news: Notify,
}

#[derive(Debug, Default, Clone)]
struct DiskState {
    /// So many decisions are in the file.
    kept: u64,
    /// Why later ones are not.
    failure: Option<String>,
    is_told: bool,
    has_ended: bool,
}

impl Operator {
    /// Reads the file of a state directory; without one nothing is decided yet.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub(super) fn open(state_dir: &Path) -> Result<Self, OperatorError> {
        let path = state_dir.join(NAME);
        let decided = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| OperatorError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Overrides::default(),
            Err(source) => return Err(OperatorError::Read { path, source }),
        };
        let (writer, orders) = mpsc::channel();
        let disk = Arc::new(Disk::default());
        let (target, its_disk) = (path.clone(), disk.clone());
        let work = move || write_all(&target, &orders, &its_disk);
        let thread = thread::Builder::new().name("operator".into()).spawn(work);
        thread.map_err(OperatorError::Thread)?;
        Ok(Self { decided, decisions: 0, writer: Some(writer), disk })
    }

    /// What is decided.
    pub(super) fn decided(&self) -> &Overrides {
        &self.decided
    }

    /// Decides something else.
    pub(super) fn decide(&mut self, decided: Overrides) {
        if self.decided != decided {
            self.decided = decided;
            self.decisions += 1;
            // The writer ends only with its orders.
            self.writer.iter().for_each(|writer| drop(writer.send((self.decisions, self.decided.clone()))));
        }
    }

    /// Whether a job is to start only by an order.
    pub(super) fn set_stopped(&mut self, job: &str, is_stopped: bool) {
        let mut decided = self.decided.clone();
        let is_changed = match is_stopped {
            true => decided.stopped.insert(job.to_owned()),
            false => decided.stopped.remove(job),
        };
        if is_changed {
            self.decide(decided);
        }
    }

    /// The number of the last decision.
    pub(super) fn decisions(&self) -> u64 {
        self.decisions
    }

    /// Whether so many decisions are on the disk; `None`: that is not known yet.
    ///
    /// # Errors
    /// What keeps them from it.
    pub(super) fn has_kept(&self, decisions: u64) -> Option<Result<(), String>> {
        let state = self.disk.state.lock();
        if state.kept >= decisions { Some(Ok(())) } else { state.failure.clone().map(Err) }
    }

    /// When there is something new to ask for.
    pub(super) async fn news(&self) {
        self.disk.news.notified().await;
    }

    /// What went wrong with the disk, once.
    pub(super) fn failure(&self) -> Option<String> {
        let mut state = self.disk.state.lock();
        let failure = state.failure.clone().filter(|_| !state.is_told);
        state.is_told |= failure.is_some();
        failure
    }

    /// Nothing is decided any more.
    ///
    /// # Errors
    /// The last decision is not on the disk, and why.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        self.writer = None;
        let until = Instant::now() + END_WITHIN;
        while !self.disk.state.lock().has_ended && Instant::now() < until {
            tokio::time::timeout(Duration::from_millis(100), self.news()).await.ok();
        }
        let in_time = || Some(Err("the disk does not answer".into()));
        self.has_kept(self.decisions).or_else(in_time).unwrap_or(Ok(()))
    }
}

/// Writes the newest decisions, again and again while the disk refuses them.
fn write_all(path: &Path, orders: &mpsc::Receiver<(u64, Overrides)>, disk: &Disk) {
    const AGAIN: Duration = Duration::from_secs(1);
    let set = |change: &dyn Fn(&mut DiskState)| {
        change(&mut disk.state.lock());
        disk.news.notify_one();
    };
    'orders: while let Ok(first) = orders.recv() {
        let mut newest = orders.try_iter().last().unwrap_or(first);
        while let Err(error) = write(path, &newest.1) {
            let text = format!("cannot write {}: {error}; a restart would forget what was ordered", path.display());
            set(&|state| state.failure = Some(text.clone()));
            match orders.recv_timeout(AGAIN) {
                Ok(order) => newest = order,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break 'orders,
            }
        }
        set(&|state| *state = DiskState { kept: newest.0, ..DiskState::default() });
    }
    set(&|state| state.has_ended = true);
}

/// In a new file, which then takes the place of the old one.
fn write(path: &Path, decided: &Overrides) -> io::Result<()> {
    let new = path.with_extension("json.new");
    if let Some(dir) = path.parent() {
        // Somebody may have removed it.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = File::create(&new)?;
    serde_json::to_writer_pretty(&mut file, decided)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped_in(dir: &Path) -> Vec<String> {
        Operator::open(dir).unwrap().decided().stopped.iter().cloned().collect()
    }

    fn wait(operator: &Operator) -> Result<(), String> {
        loop {
            if let Some(kept) = operator.has_kept(operator.decisions()) {
                return kept;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn what_was_kept_is_known_to_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut operator = Operator::open(dir.path()).unwrap();
        for n in 0..20 {
            operator.set_stopped(&format!("hv{n:02}"), true);
            wait(&operator).unwrap();

            assert_eq!(stopped_in(dir.path()).len(), n + 1);
        }
        operator.set_stopped("hv07", false);
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(operator.end()).unwrap();

        assert!(!stopped_in(dir.path()).contains(&"hv07".to_owned()));
    }

    #[test]
    fn a_damaged_file_is_no_file_without_decisions() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "{\"stopped\": [").unwrap();

        let error = Operator::open(dir.path()).unwrap_err();

        assert!(matches!(error, OperatorError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_disk_that_refuses_is_told_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut operator = Operator::open(&state).unwrap();
        fs::write(&state, "in the way").unwrap();
        operator.set_stopped("hv", true);
        assert!(wait(&operator).unwrap_err().contains("a restart would forget"));
        assert!(operator.failure().is_some() && operator.failure().is_none(), "once");

        fs::remove_file(&state).unwrap();

        while operator.has_kept(1) != Some(Ok(())) {
            thread::yield_now();
        }
        assert_eq!(stopped_in(&state), ["hv"], "the directory was made again");
    }

    #[test]
    fn what_is_forgotten_at_the_end_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut operator = Operator::open(&state).unwrap();
        fs::write(&state, "in the way").unwrap();
        operator.set_stopped("hv", true);

        let end = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(operator.end());

        assert!(end.unwrap_err().contains("a restart would forget"));
    }
}
