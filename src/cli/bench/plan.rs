//! One measurement, decided: options and the job types of this program become a plan.

use std::time::Duration;

use schemars::Schema;

use super::error::BenchError;
use super::options::{Content, Options, Plant, Wait};
use crate::config::{Catalog, Verbosity};

/// Bytes of a value: two floats.
const VALUE_BYTES: u64 = 16;

/// The store that verifies.
const MEMORY: &str = "memory";

/// One measurement.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) clients: u64,
    pub(super) message: Messages,
    pub(super) duration: Duration,
    pub(super) rate_hz: Option<f64>,
    pub(super) store: Store,
    pub(super) uses_shm: bool,
    pub(super) wait: Wait,
    pub(super) plant: Option<Plant>,
    pub(super) verbosity: Verbosity,
}

/// What each message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    /// So many rows of two floats.
    Table(u64),
    /// So many bytes.
    Raw(u64),
    /// Eight bytes.
    Records,
}

/// The job type that stores.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) job_type: &'static str,
    pub(super) backend: &'static str,
    /// The keys of the job, and those of its table in `store_config`.
    pub(super) job_schema: Schema,
    pub(super) target_schema: Schema,
}

impl Plan {
    /// What the options mean for this program.
    pub(super) fn of(options: &Options, catalog: &Catalog) -> Result<Self, BenchError> {
        let rows_bytes = options.payload_size * VALUE_BYTES;
        let content = options.content.unwrap_or(if options.bytes.is_some() { Content::Raw } else { Content::Table });
        let bytes = options.bytes.unwrap_or(rows_bytes);
        Ok(Self {
            clients: options.clients,
            message: Messages::of(content, bytes),
            duration: options.duration,
            rate_hz: options.rate,
            store: Store::find(options.store.as_deref().unwrap_or(MEMORY), catalog)?,
            uses_shm: !options.no_shm,
            wait: options.wait,
            plant: options.plant,
            verbosity: if options.verbose { Verbosity::Info } else { Verbosity::Warning },
        })
    }

    /// The same with messages of about so many bytes.
    pub(super) fn with_bytes(&self, bytes: u64) -> Self {
        Self { message: Messages::of(self.message.content(), bytes), ..self.clone() }
    }
}

impl Messages {
    fn of(content: Content, bytes: u64) -> Self {
        match content {
            Content::Table => Self::Table((bytes / VALUE_BYTES).max(1)),
            Content::Raw => Self::Raw(bytes),
            Content::Records => Self::Records,
        }
    }

    pub(super) fn content(self) -> Content {
        match self {
            Self::Table(_) => Content::Table,
            Self::Raw(_) => Content::Raw,
            Self::Records => Content::Records,
        }
    }

    /// Bytes of a message, without envelope and frame.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Table(rows) => rows * VALUE_BYTES,
            Self::Raw(bytes) => bytes,
            Self::Records => 8,
        }
    }
}

impl Store {
    fn find(asked: &str, catalog: &Catalog) -> Result<Self, BenchError> {
        let stores = || catalog.types().iter().filter_map(|info| Some((info, info.backend.as_ref()?)));
        let found = stores()
            .find(|(info, backend)| backend.key == asked || info.name == asked || info.aliases.contains(&asked));
        let (info, backend) = found.ok_or_else(|| {
            let known: Vec<_> = stores().map(|(_, backend)| backend.key).collect();
            BenchError::NoSuchStore { asked: asked.into(), known: known.join(", ") }
        })?;
        Ok(Self {
            job_type: info.name,
            backend: backend.key,
            job_schema: info.schema.clone(),
            target_schema: backend.schema.clone(),
        })
    }

    /// Whether it looks at every word.
    pub(super) fn verifies(&self) -> bool {
        self.backend == MEMORY
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    /// The plan of a command line.
    pub(in crate::cli::bench) fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let options = Line::try_parse_from(words).map_err(|error| error.to_string())?.options;
        Plan::of(&options, &crate::jobs::all().catalog()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_original() {
        let plan = plan("").unwrap();

        assert_eq!(plan.message, Messages::Table(10_000));
        assert_eq!((plan.clients, plan.message.bytes(), plan.duration), (1, 160_000, Duration::from_secs(10)));
        assert!(plan.uses_shm && plan.store.verifies() && plan.rate_hz.is_none());
    }

    #[test]
    fn sizes_are_bytes_or_values() {
        assert_eq!(plan("--bytes 1024").unwrap().message, Messages::Raw(1024));
        assert_eq!(plan("--payload-size 64 --content raw").unwrap().message, Messages::Raw(1024));
        assert_eq!(plan("--content records").unwrap().message.bytes(), 8);
        assert_eq!(plan("").unwrap().with_bytes(100).message, Messages::Table(6));
        assert!(plan("--bytes 1024 --payload-size 3").is_err());
    }

    #[test]
    fn a_store_is_found_by_key_and_by_name() {
        assert_eq!(plan("--store csv").unwrap().store.job_type, "DAQJobStoreCSV");
        assert_eq!(plan("--store DAQJobStoreCSV").unwrap().store.backend, "csv");
        let refused = plan("--store cvs").unwrap_err();
        assert!(refused.contains("csv") && refused.contains("memory"), "{refused}");
    }
}
