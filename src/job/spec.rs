//! What a job's process is told at its start: on descriptor 0 lies a memory file, the tally's page first, then JSON.
//!
//! Nothing of it stands in arguments or environment, where other users could read it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::tally::TALLY_BYTES;
use crate::bus::Endpoints;
use crate::config::{ProcessSetup, Verbosity, Wait};
use crate::message::SupervisorInfo;
use crate::os::memory_file;

/// All that a job's process needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobSpec {
    /// The job's name: its file's name without `.toml`.
    pub(crate) name: String,
    /// Its type.
    pub(crate) job_type: String,
    /// The same after every restart.
    pub(crate) unique_id: String,
    /// New at every start.
    pub(crate) instance_id: String,
    /// Whose job it is.
    pub(crate) supervisor: SupervisorInfo,
    /// The process that started it; when that is gone, the job ends.
    pub(crate) supervisor_pid: u32,
    /// Where the bus is.
    pub(crate) endpoints: Endpoints,
    /// A file that the job holds locked while it lives: no two processes are ever one job.
    pub(crate) lock: PathBuf,
    /// A directory of the job's own, for what must survive a restart; made by who uses it.
    pub(crate) state_dir: PathBuf,
    /// What the job logs.
    pub(crate) verbosity: Verbosity,
    /// What it subscribes: its type's topics, and those of its config.
    pub(crate) topics: Vec<String>,
    /// Its place in the ring; `None`: it has none, all goes over the bus.
    pub(crate) ring: Option<RingPlace>,
    /// How it waits.
    pub(crate) wait: Wait,
    /// What its process is given: what the supervisor could not give it before it began.
    pub(crate) process: ProcessSetup,
    /// A lock file that no other job may hold while this one runs.
    pub(crate) exclusive: Option<PathBuf>,
    /// The control group into which the process puts itself first.
    pub(crate) cgroup: Option<PathBuf>,
    /// More memory than this the control group is not to have, in bytes.
    pub(crate) memory_max: Option<u64>,
    /// From the stop message to SIGTERM.
    pub(crate) stop_timeout: Duration,
    /// Longest time without progress.
    pub(crate) watchdog_timeout: Option<Duration>,
    /// Its own keys.
    pub(crate) settings: serde_json::Value,
    /// Its configuration, as TOML text.
    pub(crate) config_text: String,
}

/// A job's place in the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RingPlace {
    /// The ring's name.
    pub(crate) ring: String,
    /// It has a region to write into.
    pub(crate) writes: bool,
    /// It is subscribed.
    pub(crate) reads: bool,
}

impl RingPlace {
    /// The number that stands for a job in the ring.
    pub(crate) fn number(unique_id: &str) -> u128 {
        u128::from_be_bytes(Md5::digest(unique_id.as_bytes()).into())
    }
}

/// Why descriptor 0 holds no spec.
#[derive(Debug, Error)]
pub(crate) enum SpecError {
    /// It cannot be read.
    #[error("cannot read the job's spec; `enrgdaq job` is started by a supervisor, not by hand")]
    Read(#[source] io::Error),
    /// It is not the JSON of a spec.
    #[error("the job's spec is not what this version writes")]
    Json(#[source] serde_json::Error),
}

impl JobSpec {
    /// A memory file with an empty tally and this spec.
    ///
    /// # Errors
    /// The system's: no descriptors, no memory.
    pub(crate) fn to_file(&self) -> io::Result<File> {
        let json = serde_json::to_vec(self)?;
        let file = memory_file("enrgdaq-job", TALLY_BYTES + json.len() as u64)?;
        file.write_all_at(&json, TALLY_BYTES)?;
        Ok(file)
    }

    /// The spec in such a file.
    ///
    /// # Errors
    /// [`SpecError`] for any other file.
    pub(crate) fn from_file(file: &File) -> Result<Self, SpecError> {
        let len = file.metadata().map_err(SpecError::Read)?.len();
        let len = len.checked_sub(TALLY_BYTES).filter(|&len| len < 1 << 26);
        let len = len.ok_or_else(|| SpecError::Read(io::ErrorKind::InvalidData.into()))?;
        let mut json = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut json, TALLY_BYTES).map_err(SpecError::Read)?;
        serde_json::from_slice(&json).map_err(SpecError::Json)
    }
}
