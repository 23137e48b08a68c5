//! One job file: the keys that every job has, and the check of the whole.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};
use uuid::Uuid;

use super::catalog::{Catalog, Kind, Refusal, TypeInfo, decode};
use super::diagnostics::Diagnostic;
use super::document::{Source, entry, locate, to_json};
use super::job_type;
use super::process::ProcessSetup;
use super::schema::Node;
use super::supervise::{Supervise, SuperviseKeys, wrong_texts};
use super::supervisor::{SupervisorConfig, Verbosity, place_of};
use super::syntax::parse;
use super::walk::{UsedBackend, Walk};
use crate::os::Account;

/// Keys that every job has, whatever its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobKeys {
    /// The type of the job; `enrgdaq jobs list` shows them.
    pub daq_job_type: String,
    /// How much the job logs.
    #[serde(default)]
    pub verbosity: Verbosity,
    /// Name of the job for the machine, unique among all jobs that meet. Without it: made from the supervisor's id
    /// and the name of the file, so that it stays the same after every restart.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub daq_job_unique_id: Option<String>,
    /// Payloads go through shared memory where that is possible.
    #[serde(default = "yes")]
    pub use_shm_when_possible: bool,
    /// Size of the shared memory into which the job publishes, in MiB. Without it a source has an equal share of
    /// `ring_buffer_size_mb`, a monitor or service has 8, and other jobs publish payloads over the bus.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65536))]
    pub ring_mb: Option<u32>,
    /// What happens when the job reads more slowly than others publish: `"lossless"`, they wait for it; `"latest"`, it
    /// gets the newest message and skips others, counted. Without it stores are lossless, all others get the latest.
    #[serde(default)]
    pub delivery: Option<DeliveryMode>,
    /// How the job waits for messages and for room: `"sleep"` spins for some 50 µs and then sleeps; `"busy"` never sleeps,
    /// and is for jobs with a processor core of their own.
    #[serde(default)]
    pub wait: Wait,
    /// Topics that the job receives, besides those that its type asks for.
    #[serde(default)]
    #[schemars(inner(length(min = 1, max = 255)))]
    pub topics_to_subscribe: Vec<String>,
    /// How the supervisor looks after the job.
    #[serde(default)]
    pub supervise: SuperviseKeys,
}

/// What happens when a job reads more slowly than others publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryMode {
    /// Writers wait for it.
    Lossless,
    /// It gets the newest message and skips others.
    Latest,
}

impl DeliveryMode {
    /// What jobs of a kind have that do not say it.
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Store => Self::Lossless,
            Kind::Source | Kind::Monitor | Kind::Alert | Kind::Service => Self::Latest,
        }
    }
}

/// How a job waits for messages and for room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// A short spin, then asleep until it is woken.
    #[default]
    Sleep,
    /// Never asleep.
    Busy,
}

fn yes() -> bool {
    true
}

/// Which of several copies a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The name of their file, without `.toml`.
    pub of: String,
    /// From 0.
    pub index: u16,
    /// How many the file says that there are.
    pub count_in_file: u16,
}

/// A job as it will run.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    /// The file's name without `.toml`, and `_00` … for one of several copies.
    pub name: String,
    /// Which copy it is, where the file says how many there are.
    pub replica: Option<Replica>,
    /// The file.
    pub path: PathBuf,
    /// The file's text, as it was read.
    pub text: String,
    /// Name of the job type, never a deprecated one.
    pub job_type: &'static str,
    /// What the job is to the others.
    pub kind: Kind,
    /// It runs a program that is none of ours.
    pub runs_program: bool,
    /// `daq_job_unique_id`, or else made from the supervisor's id and the job's name.
    pub unique_id: String,
    /// How much it logs.
    pub verbosity: Verbosity,
    /// Payloads may go through shared memory.
    pub use_shm_when_possible: bool,
    /// Size of the job's own shared memory in MiB, where the file says it.
    pub ring_mb: Option<u32>,
    /// What happens when the job reads too slowly.
    pub delivery: DeliveryMode,
    /// How the job waits.
    pub wait: Wait,
    /// The backend of `store_config` that the job serves.
    pub backend: Option<&'static str>,
    /// Topics besides those of the type.
    pub topics_to_subscribe: Vec<String>,
    /// How the supervisor looks after it.
    pub supervise: Supervise,
    /// What its process is given.
    pub process: ProcessSetup,
    /// The keys of the job type, as written: defaults are not filled in.
    pub settings: Value,
}

/// JSON Schema of [`JobKeys`].
pub(super) fn schema() -> Schema {
    schema_for!(JobKeys)
}

/// What came of one job file.
#[derive(Debug)]
pub(super) struct Checked {
    /// Present if the file has no error.
    pub(super) config: Option<JobConfig>,
    /// The kind and backend of the type, if that much is known.
    pub(super) serves: Option<&'static str>,
    /// The id that the file gives, and where.
    pub(super) unique_id: Option<(String, Diagnostic)>,
    pub(super) backends: Vec<UsedBackend>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Whose job it is: the supervisor's configuration, and the folder to which its paths are relative.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home<'h> {
    pub(super) supervisor: &'h SupervisorConfig,
    pub(super) dir: &'h Path,
}

/// Checks one job file by itself.
pub(super) fn check(source: &Source, name: &str, node: Home<'_>, catalog: &Catalog) -> Checked {
    let parsed = parse(source);
    let root = &parsed.root;
    let common = schema();
    let (info, mut diagnostics) = job_type::of_file(source, root, catalog, &parsed.damage);
    let type_at = entry(root, "daq_job_type").map_or(0, |(at, _)| at);
    let mut walk = Walk::new(source, catalog, &parsed.damage);
    match info {
        Some(info) => walk.file(root, &[Node::root(&info.schema), Node::root(&common)], info.name, type_at),
        None => walk.keys_of_unknown_owner(root, Node::root(&common)),
    }
    let clean = parsed.errors.is_empty() && walk.is_clean();
    let backends = walk.take_backends();
    diagnostics.extend(parsed.errors);
    diagnostics.extend(walk.into_diagnostics());

    let mut checked = Checked {
        config: None,
        serves: info.and_then(|info| info.backend.as_ref()).map(|backend| backend.key),
        unique_id: given_id(source, root),
        backends,
        diagnostics,
    };
    if let Some(info) = info.filter(|_| clean) {
        let file = File { name, source, root };
        match file.into_job(info, node) {
            Ok(config) => {
                checked.diagnostics.extend(unknown_user(source, root, &config));
                checked.config = Some(config);
            }
            Err(faults) => checked.diagnostics.extend(faults),
        }
    }
    checked
}

/// A warning only: the machine that checks a folder may be another than the one that it is for.
fn unknown_user(source: &Source, root: &DeTable<'_>, config: &JobConfig) -> Option<Diagnostic> {
    let user = config.process.user.as_deref().filter(|user| Account::look_up(user).is_none())?;
    let (key, at) = place_of(root, &["user"])?;
    let message = format!("`user`: there is no user or group {user:?} on this machine: the job would be fatal here");
    Some(source.error(at, key, message).into_warning())
}

/// A file to which its schemas have no objection.
struct File<'f> {
    name: &'f str,
    source: &'f Source,
    root: &'f DeTable<'f>,
}

impl File<'_> {
    /// It becomes a job, unless its type or the sum of its keys objects.
    fn into_job(self, info: &TypeInfo, node: Home<'_>) -> Result<JobConfig, Vec<Diagnostic>> {
        let supervisor = node.supervisor;
        let (common, settings) = self.common_and_own();
        let mut faults = Vec::new();
        if let Err(refusals) = (info.check)(&settings) {
            faults.extend(refusals.into_iter().map(|refusal| self.refused(refusal)));
        }
        let keys: JobKeys = match decode(&common) {
            Ok(keys) => keys,
            Err(refusal) => {
                faults.push(self.refused(refusal));
                return Err(faults);
            }
        };
        let mut supervise = Supervise::resolve(&keys.supervise, &supervisor.supervise);
        let own_watchdog = keys.supervise.watchdog_timeout_seconds.is_some();
        match (info.check_watchdog)(&settings, supervise.watchdog_timeout) {
            Err(_) if !faults.is_empty() => {}
            // What is meant for all jobs has no meaning for this one.
            Err(_) if supervise.watchdog_timeout.is_some() && !own_watchdog => supervise.watchdog_timeout = None,
            Err(refusal) => faults.push(self.refused(refusal)),
            Ok(()) => {}
        }
        for contradiction in supervise.contradictions() {
            // Without a key of this file in it, it is the fault of supervisor.toml and reported there.
            if let Some((key, at)) = contradiction.place_in(self.root) {
                faults.push(self.source.error(at, key, contradiction.message).with_help(contradiction.help));
            }
        }
        faults.extend(wrong_texts(self.source, self.root, &keys.supervise));
        let process = ProcessSetup::resolve((&keys.supervise, self.folder()), (&supervisor.supervise, node.dir));
        let kind = info.kind_of.map_or(info.kind, |kind_of| kind_of(&settings));
        faults.extend(self.unfit(&keys, &process, info, kind));
        if !faults.is_empty() {
            return Err(faults);
        }
        let made = || made_id(&supervisor.info.supervisor_id, self.name);
        Ok(JobConfig {
            name: self.name.to_owned(),
            // Made into copies by the deployment.
            replica: keys.supervise.replicas.map(|count| Replica {
                of: self.name.to_owned(),
                index: 0,
                count_in_file: count,
            }),
            path: self.source.path.clone(),
            text: without_secrets(&self.source.text, self.root),
            job_type: info.name,
            kind,
            runs_program: info.runs_program,
            unique_id: keys.daq_job_unique_id.unwrap_or_else(made),
            verbosity: keys.verbosity,
            use_shm_when_possible: keys.use_shm_when_possible,
            ring_mb: keys.ring_mb,
            delivery: keys.delivery.unwrap_or(DeliveryMode::of(kind)),
            wait: keys.wait,
            backend: info.backend.as_ref().map(|backend| backend.key),
            topics_to_subscribe: keys.topics_to_subscribe,
            supervise,
            process,
            settings,
        })
    }

    /// The folder in which the file lies.
    fn folder(&self) -> &Path {
        self.source.path.parent().unwrap_or(Path::new(""))
    }

    /// Keys that have no meaning for a job of this kind or type.
    fn unfit(&self, keys: &JobKeys, process: &ProcessSetup, info: &TypeInfo, kind: Kind) -> Vec<Diagnostic> {
        let own = &keys.supervise;
        let is_program = info.runs_program;
        let objections = [
            (
                "user",
                own.user.is_some() && !is_program,
                "only the program of a DAQJobExec can run as another user: all other jobs share memory with the supervisor",
                "remove it, or run the whole supervisor as that user",
            ),
            (
                "stop_signal",
                own.stop_signal.is_some() && !is_program,
                "this job is told to end by a message; only the program of a DAQJobExec gets a signal",
                "remove it",
            ),
            (
                "replicas",
                own.replicas.is_some() && kind == Kind::Store,
                "every copy of a store would get, and write, all messages",
                "remove it; to spread the work, give each source a store of its own",
            ),
            (
                "schedule",
                own.schedule.is_some() && kind != Kind::Source,
                "only a source can come and go: others rely on all other jobs",
                "remove it",
            ),
            (
                "cpu_affinity",
                own.cpu_affinity.as_ref().is_some_and(Vec::is_empty),
                "a job needs a core to run on",
                "name one, or remove the key",
            ),
        ];
        // `env_file` of all jobs is the fault of supervisor.toml.
        let is_missing = own.env_file.is_some() && process.env_file.as_ref().is_some_and(|path| !path.is_file());
        let missing = (
            "env_file",
            is_missing,
            "there is no such file, or it is no regular one",
            "it lies relative to the folder of this file",
        );
        let found = objections.into_iter().chain([missing]).filter(|(_, is_wrong, ..)| *is_wrong);
        let placed = found.filter_map(|(key, _, message, help)| {
            let (key, at) = place_of(self.root, &[key])?;
            Some(self.source.error(at, key.clone(), format!("`{key}`: {message}")).with_help(help))
        });
        placed.collect()
    }

    /// The keys that every job has, and those of the type.
    fn common_and_own(&self) -> (Value, Value) {
        let schema = schema();
        let common = Node::root(&schema).properties();
        let is_common = |key: &str| common.iter().any(|(name, _)| *name == key);
        let keys = self.root.iter().map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())));
        let (common, own): (Map<_, _>, Map<_, _>) = keys.partition(|(key, _)| is_common(key));
        (Value::Object(common), Value::Object(own))
    }

    fn refused(&self, Refusal { key, reason }: Refusal) -> Diagnostic {
        let type_at = || entry(self.root, "daq_job_type").map(|(at, _)| at);
        let at = locate(self.root, &key).or_else(type_at).unwrap_or(0);
        let message = if key.is_empty() { reason } else { format!("`{key}`: {reason}") };
        self.source.error(at, key, message)
    }
}

/// The id of a job that gives none: a UUID (version 3, MD5) of the supervisor's id and the job's name.
pub(super) fn made_id(supervisor_id: &str, name: &str) -> String {
    // The NUL keeps ("a", "bc") and ("ab", "c") apart.
    Uuid::new_v3(&Uuid::NAMESPACE_OID, format!("{supervisor_id}\0{name}").as_bytes()).to_string()
}

/// The id as the file gives it, with an error at its place for the case that another job has it too.
fn given_id(source: &Source, root: &DeTable<'_>) -> Option<(String, Diagnostic)> {
    let (at, value) = entry(root, "daq_job_unique_id")?;
    let id = value.get_ref().as_str()?.to_owned();
    let error = source.error(at, "daq_job_unique_id", String::new());
    Some((id, error))
}

/// Keys whose values nobody else is to see: the text of a job's file goes to whoever asks for it.
fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 9] =
        ["password", "passwd", "passphrase", "secret", "token", "webhook", "api_key", "apikey", "credential"];
    let key = key.to_lowercase();
    WORDS.iter().any(|word| key.contains(word))
}

/// The text with `"***"` for every secret.
fn without_secrets(text: &str, root: &DeTable<'_>) -> String {
    fn collect(table: &DeTable<'_>, spans: &mut Vec<std::ops::Range<usize>>) {
        table.iter().for_each(|(key, value)| look_at(value, is_secret(key.get_ref()), spans));
    }
    fn look_at(value: &toml::Spanned<DeValue<'_>>, is_secret: bool, spans: &mut Vec<std::ops::Range<usize>>) {
        match value.get_ref() {
            DeValue::Table(table) => collect(table, spans),
            DeValue::Array(values) => values.iter().for_each(|value| look_at(value, is_secret, spans)),
            DeValue::String(_) if is_secret => spans.push(value.span()),
            _ => {}
        }
    }
    let mut spans = Vec::new();
    collect(root, &mut spans);
    spans.sort_by_key(|span| std::cmp::Reverse(span.start));
    spans.into_iter().fold(text.to_owned(), |mut text, span| {
        text.replace_range(span, "\"***\"");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_whoever_asks_has_no_secrets() {
        let text = "user = \"lab\"\npassword = 'p\"w' # ours\nDB_TOKENS = ['a', \"b\"]\n[deep]\n\
                    slack_webhook_url = \"http://x\"\npasswords = 3\n[[list]]\nAPI_KEY = 'c'\nkey = 'k'\n";
        let root = DeTable::parse(text).unwrap();

        let told = without_secrets(text, root.get_ref());

        let expected = "user = \"lab\"\npassword = \"***\" # ours\nDB_TOKENS = [\"***\", \"***\"]\n[deep]\n\
                        slack_webhook_url = \"***\"\npasswords = 3\n[[list]]\nAPI_KEY = \"***\"\nkey = 'k'\n";
        assert_eq!(told, expected);
    }
}
