//! Why nothing could be measured.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::supervisor::SupervisorError;

/// Why nothing could be measured.
#[derive(Debug, Error)]
pub(in crate::cli) enum BenchError {
    #[error("no job type stores `{asked}`; there are: {known}")]
    NoSuchStore { asked: String, known: String },
    #[error("cannot write the configuration of the benchmark into {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error("the system refused a thread")]
    Thread(#[source] io::Error),
    #[error("the job `{job}` does not run: {why}; `--verbose` shows what it says")]
    Job { job: String, why: String },
    #[error("no message arrived within {0} s; `--verbose` shows what the jobs say")]
    Silence(u64),
    #[error("interrupted")]
    Interrupted,
    #[error("cannot draw {path}: {why}")]
    Picture { path: PathBuf, why: String },
}
