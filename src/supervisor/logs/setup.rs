//! Where log files lie, and what becomes of old ones.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{LogFormat, SupervisorConfig, Verbosity};
use crate::os::{DirectoryError, state_dir};

/// All that is configured about them.
#[derive(Debug, Clone)]
pub(in crate::supervisor) struct FileSetup {
    pub(super) dir: PathBuf,
    /// A larger file is put aside; 0: no files.
    pub(super) max_bytes: u64,
    /// So many of these are kept.
    pub(super) keep: u32,
    /// An older file is put aside.
    pub(super) max_age: Option<Duration>,
    pub(super) format: LogFormat,
    /// What of the jobs' lines goes into `supervisor.log`.
    pub(super) verbosity: Verbosity,
}

impl FileSetup {
    /// As configured.
    ///
    /// # Errors
    /// [`DirectoryError`]: the state directory is needed, and cannot be used.
    pub(in crate::supervisor) fn of(config: &SupervisorConfig) -> Result<Self, DirectoryError> {
        let logs = &config.logs;
        let dir = match &logs.dir {
            Some(dir) => dir.clone(),
            None if logs.max_mb == 0 => PathBuf::new(),
            None => state_dir(config.state_dir.as_deref(), &config.info.supervisor_id)?.join("logs"),
        };
        Ok(Self {
            dir,
            max_bytes: u64::from(logs.max_mb) << 20,
            keep: logs.keep,
            max_age: (logs.days > 0).then(|| Duration::from_hours(24) * logs.days),
            format: logs.format,
            verbosity: config.verbosity,
        })
    }

    pub(super) fn has_files(&self) -> bool {
        self.max_bytes > 0
    }

    /// The folder, if there are files.
    pub(in crate::supervisor) fn dir(&self) -> Option<&PathBuf> {
        self.has_files().then_some(&self.dir)
    }
}
