//! What an operator has decided, kept over a restart of the supervisor: `operator.json` in the state directory.
//!
//! ```text
//!  decide ─▶ memory ─▶ writer thread: a new file, synced, takes the place of the old one
//! ```
//!
//! Invariants: the file is whole at every moment; a decision is on disk soon after it is taken, and before the supervisor
//! has ended, and nobody waits for the disk before; a file that cannot be read stops the start, since a job that somebody stopped for a reason must not run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use thiserror::Error;

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

/// The decisions, and their way to the disk.
#[derive(Debug)]
pub(super) struct Operator {
    decided: Overrides,
    /// Dropped first: then the thread writes what is left, and ends.
    writer: Option<mpsc::Sender<Overrides>>,
    failures: mpsc::Receiver<String>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.writer = None;
        self.thread.take().map(thread::JoinHandle::join);
    }
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
        let (tell, failures) = mpsc::channel();
        let fail = |source| OperatorError::Read { path: path.clone(), source };
        let target = path.clone();
        let work = move || write_all(&target, &orders, &tell);
        let thread = thread::Builder::new().name("operator".into()).spawn(work).map_err(fail)?;
        Ok(Self { decided, writer: Some(writer), failures, thread: Some(thread) })
    }

    /// What is decided.
    pub(super) fn decided(&self) -> &Overrides {
        &self.decided
    }

    /// Decides something else.
    pub(super) fn decide(&mut self, decided: Overrides) {
        if self.decided != decided {
            self.decided = decided;
            // The writer ends only with its orders.
            self.writer.iter().for_each(|writer| drop(writer.send(self.decided.clone())));
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

    /// What went wrong with the disk since the last question.
    pub(super) fn failure(&self) -> Option<String> {
        self.failures.try_iter().last()
    }
}

/// Writes the newest decisions, again and again while the disk refuses them.
fn write_all(path: &Path, orders: &mpsc::Receiver<Overrides>, tell: &mpsc::Sender<String>) {
    const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
    let mut is_told = false;
    while let Ok(first) = orders.recv() {
        let mut newest = orders.try_iter().last().unwrap_or(first);
        while let Err(error) = write(path, &newest) {
            if !std::mem::replace(&mut is_told, true) {
                let text = format!("cannot write {}: {error}; a restart would forget what was ordered", path.display());
                tell.send(text).ok();
            }
            match orders.recv_timeout(AGAIN) {
                Ok(order) => newest = order,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
        is_told = false;
    }
}

/// In a new file, which then takes the place of the old one.
fn write(path: &Path, decided: &Overrides) -> io::Result<()> {
    let new = path.with_extension("json.new");
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

    #[test]
    fn what_was_decided_is_known_to_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut operator = Operator::open(dir.path()).unwrap();
        operator.set_stopped("hv", true);
        operator.set_stopped("csv", true);
        operator.set_stopped("csv", false);

        while stopped_in(dir.path()) != ["hv"] {
            thread::yield_now();
        }
    }

    #[test]
    fn what_was_decided_last_is_on_disk_when_all_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..20 {
            Operator::open(dir.path()).unwrap().set_stopped(&format!("hv{n:02}"), true);

            assert_eq!(stopped_in(dir.path()).len(), n + 1);
        }
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
        fs::create_dir(&state).unwrap();
        let mut operator = Operator::open(&state).unwrap();
        fs::remove_dir(&state).unwrap();
        operator.set_stopped("hv", true);
        while operator.failure().is_none() {
            thread::yield_now();
        }

        fs::create_dir(&state).unwrap();

        while stopped_in(&state) != ["hv"] {
            thread::yield_now();
        }
    }
}
