//! The job types a program has, as far as the loader must know them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::Schema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::job;
use super::json;
use super::schema::Node;
use crate::message::{BadField, Body, Message, MessageKind, Stop};

/// What a job is to the others. It decides the order of start and stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Produces messages.
    Source,
    /// Keeps messages.
    Store,
    /// Looks at messages, and may publish what it makes of them.
    Monitor,
    /// Tells people.
    Alert,
    /// Serves others: pages, files.
    Service,
}

impl Kind {
    /// The rank of those that start last and stop first.
    pub const LAST_RANK: u8 = 2;

    /// Jobs start by rising rank, and stop by falling rank: whoever receives stands ready before whoever sends.
    #[must_use]
    pub fn start_rank(self) -> u8 {
        match self {
            Self::Store | Self::Alert => 0,
            Self::Monitor | Self::Service => 1,
            Self::Source => Self::LAST_RANK,
        }
    }
}

/// What the loader must know of one job type.
#[derive(Debug, Clone)]
pub struct TypeInfo {
    /// The name in `daq_job_type`: `DAQJobTest`.
    pub name: &'static str,
    /// Deprecated names, still accepted: `test`.
    pub aliases: &'static [&'static str],
    /// What it is to the others.
    pub kind: Kind,
    /// The same by the job's own keys, where it depends on them; called when the schema has no objection left.
    pub kind_of: Option<fn(&Value) -> Kind>,
    /// Its jobs run a program that is none of ours.
    pub runs_program: bool,
    /// JSON Schema of the type's own keys; its description is that of the type.
    pub schema: Schema,
    /// The backend that a store serves.
    pub backend: Option<Backend>,
    /// Messages that its jobs take from outside, besides those that all take.
    pub messages: Vec<MessageKind>,
    /// Decodes the job's own keys and looks at them once more; called when the schema has no objection left.
    pub check: fn(&Value) -> Result<(), Vec<Refusal>>,
    /// Whether a job with these keys of its own can be watched by this `watchdog_timeout_seconds`; called when `check` has no
    /// objection. A timeout that is meant for all jobs does not count where it is refused.
    pub check_watchdog: fn(&Value, Option<Duration>) -> Result<(), Refusal>,
}

/// A key of the `store_config` tables, and what its table may hold.
#[derive(Debug, Clone)]
pub struct Backend {
    /// `csv` in `[store_config.csv]`.
    pub key: &'static str,
    /// JSON Schema of that table.
    pub schema: Schema,
}

/// Why a job type does not take its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Dotted path in the job's file; empty: the file as a whole.
    pub key: String,
    /// What is wrong and what to do, without the key.
    pub reason: String,
}

/// Decodes a table, and says which key is at fault if that fails.
///
/// # Errors
/// The first key that does not fit `T`.
pub fn decode<T: DeserializeOwned>(table: &Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(table).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        // Of a key that is no number serde_json gives a place in the key, not in the file.
        let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
        Refusal { key: if path == "." { String::new() } else { path }, reason }
    })
}

/// A list of job types that contradicts itself: a fault of the program, not of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CatalogError {
    /// A name leads to two job types.
    #[error("two job types are called `{0}`; rename one of them")]
    NameTaken(String),
    /// A key would mean two things in one file.
    #[error("job type `{job_type}` has a key `{key}`, which every job has already; rename the type's key")]
    KeyTaken {
        /// The job type.
        job_type: &'static str,
        /// The common key.
        key: String,
    },
    /// A name leads to two message types.
    #[error("two message types are called `{0}`; rename one of them")]
    MessageNameTaken(&'static str),
}

/// Why something from outside is no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoMessage {
    /// There is no type of that name that could be given.
    #[error("there is no such message type")]
    UnknownType,
    /// It is not JSON.
    #[error("no JSON: {0}")]
    NoJson(String),
    /// Its fields are others, or other values than they may be.
    #[error("{}", .0.iter().map(BadField::to_string).collect::<Vec<_>>().join("; "))]
    BadFields(Vec<BadField>),
}

/// All job types of a program.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    types: Vec<TypeInfo>,
}

/// A job type, and by which name it was found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'c> {
    /// The job type.
    pub info: &'c TypeInfo,
    /// The name was a deprecated one.
    pub by_alias: bool,
}

impl Catalog {
    /// # Errors
    /// Names, or keys, that would mean two things.
    pub fn new(types: Vec<TypeInfo>) -> Result<Self, CatalogError> {
        let common = job::schema();
        let common: BTreeSet<&str> = Node::root(&common).properties().into_iter().map(|(key, _)| key).collect();
        let mut names = BTreeSet::new();
        for info in &types {
            for name in std::iter::once(info.name).chain(info.aliases.iter().copied()) {
                if !names.insert(name) {
                    return Err(CatalogError::NameTaken(name.to_owned()));
                }
            }
            if let Some((key, _)) = Node::root(&info.schema).properties().iter().find(|(key, _)| common.contains(key)) {
                return Err(CatalogError::KeyTaken { job_type: info.name, key: (*key).to_owned() });
            }
        }
        let catalog = Self { types };
        let messages = catalog.messages();
        let differs = |kind: &&MessageKind| messages[kind.name()].schema() != kind.schema();
        match catalog.types.iter().flat_map(|info| &info.messages).find(differs) {
            Some(kind) => Err(CatalogError::MessageNameTaken(kind.name())),
            None => Ok(catalog),
        }
    }

    /// The job types, in the order they were given.
    #[must_use]
    pub fn types(&self) -> &[TypeInfo] {
        &self.types
    }

    /// The type of that name, or of that deprecated name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Found<'_>> {
        let named = self.types.iter().find(|info| info.name == name).map(|info| Found { info, by_alias: false });
        named.or_else(|| {
            let info = self.types.iter().find(|info| info.aliases.contains(&name))?;
            Some(Found { info, by_alias: true })
        })
    }

    /// The names, without the deprecated ones.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.types.iter().map(|info| info.name)
    }

    /// Backend key → what its table may hold, and the job types that serve it.
    #[must_use]
    pub fn backends(&self) -> BTreeMap<&'static str, (&Schema, Vec<&'static str>)> {
        let mut backends: BTreeMap<_, (&Schema, Vec<_>)> = BTreeMap::new();
        for info in &self.types {
            if let Some(backend) = &info.backend {
                backends.entry(backend.key).or_insert_with(|| (&backend.schema, Vec::new())).1.push(info.name);
            }
        }
        backends
    }

    /// The message types that somebody outside can give to jobs, by their names.
    #[must_use]
    pub fn messages(&self) -> BTreeMap<&'static str, MessageKind> {
        let of_types = self.types.iter().flat_map(|info| info.messages.iter().cloned());
        let all = of_types.chain([MessageKind::of::<Stop>()]);
        all.map(|kind| (kind.name(), kind)).collect()
    }

    /// Whether jobs of a type take a message type from outside.
    #[must_use]
    pub fn takes(&self, job_type: &str, message_type: &str) -> bool {
        let takes = |info: &TypeInfo| info.messages.iter().any(|kind| kind.name() == message_type);
        let mut of_name = self.types.iter().filter(|info| info.name == job_type);
        of_name.any(|info| message_type == Stop::TYPE || takes(info))
    }

    /// Reads a message that somebody outside gives as JSON text.
    ///
    /// # Errors
    /// [`NoMessage`]: all fields that the schema objects to.
    pub fn read_message(&self, message_type: &str, payload: &str) -> Result<Message, NoMessage> {
        let kind = self.messages().remove(message_type).ok_or(NoMessage::UnknownType)?;
        let mut fields: Value = serde_json::from_str(payload).map_err(|error| NoMessage::NoJson(error.to_string()))?;
        json::forget_nulls(&mut fields, kind.schema());
        let faults = json::faults(&fields, kind.schema(), kind.name(), self);
        match faults.is_empty() {
            true => kind.message(&fields).map_err(|fault| NoMessage::BadFields(vec![fault])),
            false => Err(NoMessage::BadFields(faults)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{catalog, fake_types};

    #[test]
    fn a_type_is_found_by_its_name_and_by_its_deprecated_name() {
        let catalog = catalog();

        assert!(!catalog.get("DAQJobTest").unwrap().by_alias);
        assert!(catalog.get("test").unwrap().by_alias);
        assert_eq!(catalog.get("test").unwrap().info.name, "DAQJobTest");
        assert!(catalog.get("Test").is_none());
    }

    #[test]
    fn a_name_that_leads_to_two_types_is_refused() {
        let mut types = fake_types();
        types.extend(fake_types());

        assert_eq!(Catalog::new(types).unwrap_err(), CatalogError::NameTaken("DAQJobTest".into()));
    }

    #[test]
    fn a_type_may_not_take_a_key_of_every_job() {
        let mut types = fake_types();
        types[0].schema = schemars::json_schema!({ "type": "object", "properties": { "verbosity": {} } });

        assert_eq!(
            Catalog::new(types).unwrap_err(),
            CatalogError::KeyTaken { job_type: "DAQJobTest", key: "verbosity".into() }
        );
    }

    #[test]
    fn a_backend_names_the_types_that_serve_it() {
        let catalog = catalog();

        assert_eq!(catalog.backends()["csv"].1, ["DAQJobStoreCSV"]);
    }

    /// The tests' job types, of which the first takes rows.
    fn catalog_with_rows() -> Catalog {
        let mut types = fake_types();
        types[0].messages = vec![MessageKind::store_tabular()];
        Catalog::new(types).unwrap()
    }

    #[test]
    fn every_type_takes_a_stop_and_only_some_take_others() {
        let catalog = catalog_with_rows();
        let (first, second) = (catalog.types()[0].name, catalog.types()[1].name);

        let takes = |job_type, message_type| catalog.takes(job_type, message_type);
        assert!(takes(first, "DAQJobMessageStop") && takes(second, "DAQJobMessageStop"));
        assert!(takes(first, "DAQJobMessageStoreTabular") && !takes(second, "DAQJobMessageStoreTabular"));
        assert!(!takes("DAQJobNone", "DAQJobMessageStop"));
    }

    #[test]
    fn a_message_is_read_or_every_field_at_fault_is_named() {
        let read = |name, payload: &str| catalog_with_rows().read_message(name, payload).map(|message| message.kind);
        let faults = |payload| read("DAQJobMessageStoreTabular", payload).unwrap_err().to_string();

        assert_eq!(read("DAQJobMessageStop", "{\"reason\": \"\"}"), Ok("DAQJobMessageStop"));
        assert_eq!(read("DAQJobMessageStoreTable", "{}"), Err(NoMessage::UnknownType));
        assert!(faults("{\"keys\": [").starts_with("no JSON: EOF"));
        assert_eq!(
            faults("{\"kyes\": [], \"data\": 1, \"tag\": null, \"store_config\": {\"cvs\": {}}}"),
            "`data`: expected a list of lists, found `1`; `kyes`: is no field of DAQJobMessageStoreTabular; did you mean \
             `keys`?; `store_config.cvs`: is no backend; did you mean `csv`?"
        );
        let good = "{\"keys\": [\"a\"], \"data\": [[null]], \"store_config\": {\"csv\": {\"file_path\": \"a\"}}}";
        assert_eq!(read("DAQJobMessageStoreTabular", good), Ok("DAQJobMessageStoreTabular"));
    }

    #[test]
    fn a_name_that_leads_to_two_message_types_is_refused() {
        #[derive(Serialize, Deserialize, schemars::JsonSchema)]
        struct Other {}
        impl Body for Other {
            const TYPE: &'static str = "DAQJobMessageStoreTabular";
        }
        let mut types = fake_types();
        types[0].messages = vec![MessageKind::store_tabular()];
        types[1].messages = vec![MessageKind::of::<Other>()];

        let error = Catalog::new(types).unwrap_err();

        assert_eq!(error, CatalogError::MessageNameTaken("DAQJobMessageStoreTabular"));
    }

    #[test]
    fn decoding_names_the_key_at_fault() {
        let refusal = decode::<BTreeMap<String, Vec<u8>>>(&serde_json::json!({ "a": [1, "x"] })).unwrap_err();

        assert_eq!(refusal.key, "a[1]");
    }
}
