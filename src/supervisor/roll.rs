//! The roll: the processes of the jobs that run, in the file `processes.json` of the runtime directory, for the case that
//! the supervisor dies.
//!
//! ```text
//! {"boot_id": "…", "supervisor": {"pid": 1, "start_time": 2}, "cgroup": "/sys/fs/cgroup/…/enrgdaq-…",
//!  "jobs": [{"name": "csv", "unique_id": "…", "instance_id": "…", "pid": 3, "start_time": 4, "cgroup": "…"}]}
//! ```
//! Invariants: the file is whole at any time (it is replaced); what cannot be written is told once and tried again, and holds
//! up nobody, since a thread of its own writes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::os::{Identity, boot_id};
use crate::telemetry::RollTrouble;

/// How long until a roll that could not be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A process of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) unique_id: String,
    pub(super) instance_id: String,
    #[serde(flatten)]
    pub(super) leader: Identity,
    pub(super) cgroup: Option<PathBuf>,
}

/// What is in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RollFile {
    /// Of the start of the machine at which it was written: all else has ended.
    pub(super) boot_id: String,
    pub(super) supervisor: Option<Identity>,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) jobs: Vec<Entry>,
}

impl RollFile {
    /// What a former supervisor wrote there; nothing where there is no file, or one of another start of the machine.
    ///
    /// # Errors
    /// A file that cannot be read or is none of ours.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        match fs::read(path_in(dir)) {
            Ok(json) => {
                let roll: Self = serde_json::from_slice(&json)?;
                Ok(if roll.boot_id == boot_id() { roll } else { Self::default() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join("processes.json.new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, path_in(dir))
    }
}

fn path_in(dir: &Path) -> PathBuf {
    dir.join("processes.json")
}

/// The roll of a supervisor that runs.
#[derive(Debug)]
pub(super) struct Roll {
    jobs: Arc<Mutex<BTreeMap<u64, Entry>>>,
    writer: Mutex<Option<Bell>>,
    dir: PathBuf,
}

/// Rung when the roll has changed; one ring stands for many, and without a bell the thread that writes ends.
#[derive(Debug)]
struct Bell {
    rope: SyncSender<()>,
    writer: JoinHandle<()>,
}

impl Roll {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The system's: no thread.
    pub(super) fn open(dir: PathBuf, cgroup: Option<PathBuf>) -> io::Result<Self> {
        let jobs = Arc::new(Mutex::new(BTreeMap::new()));
        let (rope, rings) = mpsc::sync_channel(1);
        let writer = Writer {
            dir: dir.clone(),
            head: RollFile {
                boot_id: boot_id(),
                supervisor: Identity::of(std::process::id()),
                cgroup,
                jobs: Vec::new(),
            },
            jobs: jobs.clone(),
        };
        let writer = thread::Builder::new().name("roll".into()).spawn(move || writer.run(&rings))?;
        let roll = Self { jobs, writer: Mutex::new(Some(Bell { rope, writer })), dir };
        roll.ring();
        Ok(roll)
    }

    /// A process was made.
    pub(super) fn add(&self, key: u64, entry: Entry) {
        self.jobs.lock().insert(key, entry);
        self.ring();
    }

    /// It is gone, with all that it had started.
    pub(super) fn strike(&self, key: u64) {
        self.jobs.lock().remove(&key);
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = &*self.writer.lock() {
            // A ring that nobody has heard yet is as good.
            bell.rope.try_send(()).ok();
        }
    }

    /// The end: with the last job the file goes. What still runs stays in it.
    pub(super) fn close(&self) {
        let Some(Bell { rope, writer }) = self.writer.lock().take() else { return };
        drop(rope);
        writer.join().ok();
        if self.jobs.lock().is_empty() {
            fs::remove_file(path_in(&self.dir)).ok();
        }
    }
}

struct Writer {
    dir: PathBuf,
    head: RollFile,
    jobs: Arc<Mutex<BTreeMap<u64, Entry>>>,
}

impl Writer {
    /// Writes at every ring, until nobody can ring any more.
    fn run(&self, rings: &mpsc::Receiver<()>) {
        let mut is_written = true;
        loop {
            let rung = match is_written {
                true => rings.recv().map_err(RecvTimeoutError::from),
                false => rings.recv_timeout(TRY_AGAIN),
            };
            if rung == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            let jobs = self.jobs.lock().values().cloned().collect();
            match (RollFile { jobs, ..self.head.clone() }).write(&self.dir) {
                Ok(()) => is_written = true,
                Err(error) => {
                    if is_written {
                        RollTrouble::Unwritable { path: &path_in(&self.dir), error: &error }.emit();
                    }
                    is_written = false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            unique_id: "u".into(),
            instance_id: "i".into(),
            leader: Identity { pid: 3, start_time: 4 },
            cgroup: None,
        }
    }

    fn wait_for_names(dir: &Path, names: &[&str]) {
        let until = Instant::now() + Duration::from_secs(60);
        let read = || RollFile::read(dir).unwrap().jobs.into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        while read() != names {
            assert!(Instant::now() < until, "{:?} instead of {names:?}", read());
            thread::yield_now();
        }
    }

    #[test]
    fn the_file_follows_what_runs_and_goes_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let roll = Roll::open(dir.path().into(), None).unwrap();

        roll.add(1, entry("a"));
        roll.add(2, entry("b"));
        wait_for_names(dir.path(), &["a", "b"]);
        roll.strike(1);
        wait_for_names(dir.path(), &["b"]);
        roll.strike(2);
        roll.close();

        assert!(!path_in(dir.path()).exists());
    }

    #[test]
    fn what_cannot_be_written_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let roll = Roll::open(home.clone(), None).unwrap();
        roll.add(1, entry("a"));

        fs::create_dir(&home).unwrap();

        wait_for_names(&home, &["a"]);
    }

    #[test]
    fn a_roll_of_another_start_of_the_machine_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let roll = RollFile { boot_id: "another".into(), jobs: vec![entry("a")], ..RollFile::default() };
        roll.write(dir.path()).unwrap();

        assert_eq!(RollFile::read(dir.path()).unwrap(), RollFile::default());
        fs::write(path_in(dir.path()), "{\"boot_id\": 7").unwrap();
        assert!(RollFile::read(dir.path()).is_err());
    }
}
