//! Job types: what one is, and the list of those that a program has.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::context::Context;
use super::publisher::StoreError;
use super::table::TableError;
use crate::bus::{BusError, PublishError};
use crate::config::{Backend, Catalog, Kind, Refusal, TypeInfo, decode};
use crate::message::MessageKind;

/// What a job author writes; see the [module's example](super).
pub trait Job: Sized {
    /// The type's name in configs, such as `DAQJobPCMetrics`.
    const TYPE: &'static str;
    /// When it is started and stopped.
    const KIND: Kind;
    /// Its jobs run a program that is none of ours: keys about such programs have a meaning for them.
    const RUNS_PROGRAM: bool = false;
    /// Short names of old configs; each use is warned of.
    const ALIASES: &'static [&'static str] = &[];
    /// The job's own keys. Its doc comments are the reference.
    type Config: DeserializeOwned + JsonSchema;

    /// What the types cannot say: ranges that depend on each other, names that are forbidden. Runs before anything starts.
    ///
    /// # Errors
    /// One refusal for each thing that is wrong.
    fn check(_config: &Self::Config) -> Result<(), Vec<Refusal>> {
        Ok(())
    }

    /// Whether a job with this configuration can be watched by this `watchdog_timeout_seconds`, its own or that of all jobs; the
    /// latter does not count where it is refused. Runs before anything starts.
    ///
    /// # Errors
    /// Why not, or why it cannot do without.
    fn check_watchdog(_config: &Self::Config, _timeout: Option<Duration>) -> Result<(), Refusal> {
        Ok(())
    }

    /// What a job with this configuration is to the others, where that differs from [`KIND`](Self::KIND).
    fn kind(_config: &Self::Config) -> Kind {
        Self::KIND
    }

    /// For a store: which `[store_config.KEY]` it serves.
    fn backend() -> Option<Backend> {
        None
    }

    /// Messages that somebody outside may give to jobs of this type, besides the stop that all take. They come to the
    /// [inbox](Context::inbox).
    fn messages() -> Vec<MessageKind> {
        Vec::new()
    }

    /// Opens what the job needs. The job is ready when this has returned.
    ///
    /// # Errors
    /// [`JobError::Config`] if only a change of the configuration can help: the job is not tried again.
    fn new(config: Self::Config, cx: &Context) -> Result<Self, JobError>;

    /// Works until [`Context::stopping`], then returns.
    ///
    /// # Errors
    /// [`JobError`]: it is logged, and the job starts again as its `[supervise]` says.
    fn run(self, cx: Context) -> Result<(), JobError>;
}

/// Why a job cannot go on.
#[derive(Debug, Error)]
pub enum JobError {
    /// Only a change of the configuration can help.
    #[error("{0}")]
    Config(String),
    /// Something outside failed; another try may help.
    #[error("{context}")]
    Failed {
        /// What was being done.
        context: String,
        /// Why it failed.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The bus is broken.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// What was to be stored could not be encoded or sent.
    #[error(transparent)]
    Store(StoreError),
    /// A message could not be sent.
    #[error(transparent)]
    Publish(PublishError),
    /// Columns that do not make a table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A program that the job ran ended so: the job's process ends with the same status.
    #[error("{why}")]
    Exit {
        /// The status, not 0.
        code: u8,
        /// How the program ended.
        why: String,
    },
    /// The job is to stop: not an error, but a way out of `run`.
    #[error("stopping")]
    Stopping,
}

impl JobError {
    /// A failure with its cause.
    pub fn failed(context: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed { context: context.into(), source: Some(Box::new(source)) }
    }
}

impl From<PublishError> for JobError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Stopping { .. } => Self::Stopping,
            other => Self::Publish(other),
        }
    }
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Publish(error) => error.into(),
            other => Self::Store(other),
        }
    }
}

/// A job type as the program holds it.
#[derive(Clone)]
pub struct JobType {
    info: fn() -> TypeInfo,
    /// The type's name.
    pub name: &'static str,
    /// See [`Job::RUNS_PROGRAM`].
    pub(super) runs_program: bool,
    /// See [`Job::messages`].
    pub(super) messages: fn() -> Vec<MessageKind>,
    pub(super) run: fn(serde_json::Value, Context) -> Result<(), JobError>,
}

impl fmt::Debug for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobType({})", self.name)
    }
}

/// The job types of a program.
#[derive(Debug, Clone, Default)]
pub struct JobTypes(Vec<JobType>);

impl JobTypes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a type more.
    ///
    /// # Panics
    /// If two types have the same name: a mistake of the program.
    #[must_use]
    pub fn with<J: Job>(mut self) -> Self {
        assert!(self.get(J::TYPE).is_none(), "two job types are called {}", J::TYPE);
        self.0.push(JobType {
            info: info::<J>,
            name: J::TYPE,
            runs_program: J::RUNS_PROGRAM,
            messages: J::messages,
            run: run::<J>,
        });
        self
    }

    /// A type by its name.
    pub fn get(&self, name: &str) -> Option<&JobType> {
        self.0.iter().find(|job_type| job_type.name == name)
    }

    /// What the loader must know of them.
    ///
    /// # Panics
    /// If names or keys of types contradict each other: a mistake of the program.
    pub fn catalog(&self) -> Catalog {
        let catalog = Catalog::new(self.0.iter().map(|job_type| (job_type.info)()).collect());
        catalog.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Backend key → the store types that serve it.
    pub(super) fn backends(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        self.catalog().backends().into_iter().map(|(key, (_, types))| (key, types)).collect()
    }
}

fn info<J: Job>() -> TypeInfo {
    TypeInfo {
        name: J::TYPE,
        aliases: J::ALIASES,
        kind: J::KIND,
        kind_of: Some(kind_of::<J>),
        runs_program: J::RUNS_PROGRAM,
        schema: schemars::schema_for!(J::Config),
        backend: J::backend(),
        messages: J::messages(),
        check: check::<J>,
        check_watchdog: check_watchdog::<J>,
    }
}

fn kind_of<J: Job>(settings: &serde_json::Value) -> Kind {
    decode(settings).map_or(J::KIND, |config| J::kind(&config))
}

fn check<J: Job>(settings: &serde_json::Value) -> Result<(), Vec<Refusal>> {
    let config: J::Config = decode(settings).map_err(|refusal| vec![refusal])?;
    J::check(&config)
}

fn check_watchdog<J: Job>(settings: &serde_json::Value, timeout: Option<Duration>) -> Result<(), Refusal> {
    J::check_watchdog(&decode(settings)?, timeout)
}

fn run<J: Job>(settings: serde_json::Value, cx: Context) -> Result<(), JobError> {
    let config = serde_json::from_value(settings).map_err(|error| JobError::Config(error.to_string()))?;
    let job = J::new(config, &cx)?;
    cx.ready()?;
    match job.run(cx) {
        Err(JobError::Stopping) => Ok(()),
        other => other,
    }
}
