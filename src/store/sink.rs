//! What a backend implements.

use std::error::Error;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::marks::Marks;
use crate::config::Refusal;
use crate::job::{Delivery, JobError};
use crate::message::MessageKind;

/// A backend; [`Store`](super::Store) makes a job type of it. All but [`put`](Self::put) and [`size`](Self::size) runs on
/// a thread of its own, and may take its time.
pub trait Sink: Sized + Send + 'static {
    /// The job type's name, such as `DAQJobStoreCSV`.
    const TYPE: &'static str;
    /// Short names of old configs.
    const ALIASES: &'static [&'static str] = &[];
    /// `csv` in `[store_config.csv]`.
    const BACKEND: &'static str;
    /// A batch as large as this is committed, in bytes of envelopes and payloads: what a backend stores well within a second.
    const BATCH_BYTES: u64 = 8 << 20;
    /// The job's own keys, beside those of [`Keeping`](super::Keeping).
    type Config: DeserializeOwned + JsonSchema;
    /// What stands in `[store_config.…]` of a producer.
    type Target: DeserializeOwned + JsonSchema;
    /// Messages as they will be written.
    type Batch: Default + Send;

    /// What the types cannot say of the configuration.
    ///
    /// # Errors
    /// One refusal for each thing that is wrong.
    fn check(_config: &Self::Config) -> Result<(), Vec<Refusal>> {
        Ok(())
    }

    /// Messages that it stores and somebody outside can give.
    fn messages() -> Vec<MessageKind> {
        vec![MessageKind::store_tabular(), MessageKind::store_raw()]
    }

    /// Makes it; a server that is away is a matter for [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`JobError`] where waiting does not help.
    fn open(config: Self::Config, home: &Home) -> Result<Self, JobError>;

    /// Takes a message into a batch: encodes it, and touches nothing else. After an error the batch is as before.
    ///
    /// # Errors
    /// [`Refused`]: this message can never be stored here.
    fn put(batch: &mut Self::Batch, target: &Self::Target, message: &mut Delivery) -> Result<(), Refused>;

    /// The memory that a batch takes, in bytes.
    fn size(batch: &Self::Batch) -> usize;

    /// Whether a batch gains by more messages: it is then committed once a flush interval, or when it is large.
    fn gains_by_more(_batch: &Self::Batch) -> bool {
        false
    }

    /// Opens or reconnects, puts right what a crash or an error left half done, and tells which messages are stored. Called
    /// first of all, and again after each trouble.
    ///
    /// # Errors
    /// [`Trouble`]: it is called again later.
    fn resume(&mut self) -> Result<Marks, Trouble>;

    /// Stores a batch, which may be empty, and the marks that hold from then on: both or none, as the next `resume` will
    /// tell.
    ///
    /// # Errors
    /// [`Trouble`]: it is not known whether the batch is stored.
    fn commit(&mut self, batch: Self::Batch, marks: &Marks) -> Result<Report, Trouble>;

    /// Has all that was committed outlive a power failure.
    ///
    /// # Errors
    /// [`Trouble`]: what was committed since the last sync may be lost in a power failure.
    fn sync(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}

/// Who the store is, and where it may keep things of its own.
#[derive(Debug, Clone)]
pub struct Home {
    /// The job's name.
    pub name: String,
    /// The same after every restart.
    pub unique_id: String,
    /// A directory of the job's own, which survives restarts; made when it is first used.
    pub state_dir: PathBuf,
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows, points or records stored.
    pub rows: u64,
    /// Bytes written, as far as the backend can tell.
    pub bytes: u64,
    /// Files that are open.
    pub files: u64,
    /// What could not be stored, whatever one waits for.
    pub lost: Vec<Lost>,
}

/// Messages that are not stored.
#[derive(Debug)]
pub struct Lost {
    /// How many.
    pub messages: u64,
    /// Told once for each of these.
    pub key: String,
    /// Why, for people.
    pub why: String,
}

/// Why a message can never be stored here.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Of which kind: told once a stream and kind.
    pub kind: &'static str,
    /// For people, in one line.
    pub why: String,
}

impl Refused {
    /// With all causes of an error.
    pub fn new(kind: &'static str, error: &(dyn Error + 'static)) -> Self {
        Self { kind, why: crate::error_chain(error) }
    }

    /// With words of one's own.
    pub fn saying(kind: &'static str, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }
}

/// What keeps a backend from storing anything, and may pass: a full disk, a server that is gone.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Trouble {
    what: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Trouble {
    /// What was being done, and what came of it.
    pub fn new(what: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self { what: what.into(), source: Some(Box::new(source)) }
    }

    /// Without a cause.
    pub fn saying(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }
}
