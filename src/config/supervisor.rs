//! `supervisor.toml`: the supervisor's own configuration. The comments of the fields are its reference.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::de::DeTable;

use super::catalog::{Catalog, decode};
use super::cnc::{self, CncConfig};
use super::diagnostics::Diagnostic;
use super::document::{Source, entry, locate, table_to_json};
use super::federation::{self, FederationConfig};
use super::schema::Node;
use super::supervise::{OF_ONE_JOB, Supervise, SuperviseKeys, wrong_texts};
use super::syntax::parse;
use super::walk::Walk;
use crate::message::SupervisorInfo;

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verbosity {
    /// Everything, for the search of a fault.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What went wrong and was mended.
    Warning,
    /// Data lost, or a human needed.
    Error,
}

impl Verbosity {
    /// The level of the log.
    pub(crate) fn level(self) -> tracing::Level {
        match self {
            Self::Debug => tracing::Level::DEBUG,
            Self::Info => tracing::Level::INFO,
            Self::Warning => tracing::Level::WARN,
            Self::Error => tracing::Level::ERROR,
        }
    }
}

/// The supervisor's own configuration, `supervisor.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SupervisorConfig {
    /// Who this supervisor is to others.
    pub info: SupervisorInfo,
    /// How much the supervisor logs.
    #[serde(default)]
    pub verbosity: Verbosity,
    /// Further job files: patterns like `"sensors/*.toml"`, relative to this folder. The folder's own `*.toml` are
    /// jobs without being named here; those of its subfolders are not.
    #[serde(default)]
    pub include: Vec<String>,
    /// How the supervisor looks after jobs whose own `[supervise]` does not say.
    #[serde(default)]
    pub supervise: SuperviseKeys,
    /// Where the supervisor keeps what must survive a restart: which jobs the operator has stopped or scaled, and log files.
    /// Without it: `$XDG_STATE_HOME/enrgdaq/…`, or `~/.local/state/enrgdaq/…`.
    #[serde(default)]
    pub state_dir: Option<PathBuf>,
    /// Log files.
    #[serde(default)]
    pub logs: LogsConfig,
    /// The watch over memory.
    #[serde(default)]
    pub memory: MemoryConfig,
    /// The watch over disks.
    #[serde(default)]
    pub disk: DiskConfig,
    /// How messages travel between the jobs.
    #[serde(default)]
    pub bus: BusConfig,
    /// Shared memory into which sources publish, all together, in MiB: each has an equal share.
    #[serde(default = "default_ring_buffer_size_mb")]
    #[schemars(range(min = 1, max = 131_072))]
    pub ring_buffer_size_mb: u32,
    /// Has no meaning here, since payloads may be of any size; accepted from configs made for ENRGDAQ.
    #[serde(default = "default_ring_buffer_slot_size_kb")]
    #[schemars(extend("deprecated" = true))]
    pub ring_buffer_slot_size_kb: u32,
    /// Command and control over the network. Without this table there is none.
    #[serde(default)]
    pub cnc: Option<CncConfig>,
    /// Exchange of messages with other supervisors. Without this table there is none.
    #[serde(default)]
    pub federation: Option<FederationConfig>,
}

/// Log files: one for each job, with what it said, and `supervisor.log`, with all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogsConfig {
    /// The folder, relative to the working directory. Without it: `logs` in `state_dir`.
    pub dir: Option<PathBuf>,
    /// A file that has become larger than this, in MiB, is put aside as `NAME.log.1`, and a new one is begun; 0: no files at
    /// all.
    pub max_mb: u32,
    /// Files that were put aside are kept up to this number, the older ones removed.
    #[schemars(range(max = 1000))]
    pub keep: u32,
    /// A file is put aside too when it is so many days old, and removed when it is `keep` times as old; 0: only by size.
    #[schemars(range(max = 3660))]
    pub days: u32,
    /// What stands in a line.
    pub format: LogFormat,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self { dir: None, max_mb: 10, keep: 5, days: 0, format: LogFormat::Text }
    }
}

/// What stands in a line of a log file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Time, level, text.
    #[default]
    Text,
    /// A JSON object with `timestamp`, `level`, `module`, `message`.
    Json,
}

/// The watch over memory; the limits of one job are in its `[supervise]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// How often memory is looked at.
    #[schemars(extend("exclusiveMinimum" = 0, "format" = "seconds"))]
    pub interval_seconds: f64,
    /// If all jobs together hold more than this, in MiB, the largest is restarted; 0: no limit.
    pub total_max_mb: u32,
    /// If the host has less free memory than this, in MiB, the largest job is restarted; 0: not watched.
    pub host_free_min_mb: u32,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { interval_seconds: 10.0, total_max_mb: 0, host_free_min_mb: 0 }
    }
}

/// The watch over the disks to which data, logs and state are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// How often they are looked at.
    #[schemars(extend("exclusiveMinimum" = 0, "format" = "seconds"))]
    pub interval_seconds: f64,
    /// Less room than this, in MiB, raises an alert, and less than a tenth of it another one; 0: not watched.
    pub free_min_mb: u32,
    /// Directories to watch besides the `out_dir` of every store and the supervisor's own.
    pub paths: Vec<PathBuf>,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { interval_seconds: 10.0, free_min_mb: 1024, paths: Vec::new() }
    }
}

/// How messages travel between the jobs of a supervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// What connects the jobs.
    #[serde(default)]
    pub transport: Transport,
}

/// What connects the jobs of a supervisor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Local sockets in the runtime folder, for this user only.
    #[default]
    Ipc,
    /// TCP on loopback, encrypted with keys made for this start.
    Tcp,
}

fn default_ring_buffer_size_mb() -> u32 {
    256
}

fn default_ring_buffer_slot_size_kb() -> u32 {
    1024
}

impl SupervisorConfig {
    /// The defaults, for a supervisor of that id.
    #[must_use]
    pub fn named(supervisor_id: impl Into<String>) -> Self {
        Self {
            info: SupervisorInfo { supervisor_id: supervisor_id.into(), supervisor_tags: Vec::new() },
            verbosity: Verbosity::default(),
            include: Vec::new(),
            supervise: SuperviseKeys::default(),
            state_dir: None,
            logs: LogsConfig::default(),
            memory: MemoryConfig::default(),
            disk: DiskConfig::default(),
            bus: BusConfig::default(),
            ring_buffer_size_mb: default_ring_buffer_size_mb(),
            ring_buffer_slot_size_kb: default_ring_buffer_slot_size_kb(),
            cnc: None,
            federation: None,
        }
    }
}

/// JSON Schema of `supervisor.toml`.
pub(super) fn schema() -> Schema {
    schema_for!(SupervisorConfig)
}

/// The name of this host, the default id.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

/// What `supervisor.toml` says, as far as it can be used, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Checked {
    /// As written if there is no error; else only what later checks need.
    pub(super) config: SupervisorConfig,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Where each pattern of `include` stands.
    pub(super) include_at: Vec<usize>,
}

pub(super) fn check(source: &Source) -> Checked {
    let parsed = parse(source);
    let schema = schema();
    let catalog = Catalog::default();
    let mut walk = Walk::new(source, &catalog, &parsed.damage);
    walk.file(&parsed.root, &[Node::root(&schema)], "supervisor.toml", 0);
    let mut diagnostics = parsed.errors;
    let clean = diagnostics.is_empty() && walk.is_clean();
    diagnostics.extend(walk.into_diagnostics());
    let table = table_to_json(&parsed.root);
    let mut config = None;
    if clean {
        match decode::<SupervisorConfig>(&table) {
            Ok(decoded) => config = Some(decoded),
            Err(refusal) => {
                let at = locate(&parsed.root, &refusal.key).unwrap_or(0);
                diagnostics.push(source.error(at, refusal.key, refusal.reason));
            }
        }
    }
    let config = config.unwrap_or_else(|| what_can_be_used(&table));
    diagnostics.extend(contradictions(source, &parsed.root, &config));
    diagnostics.extend(of_one_job(source, &parsed.root));
    diagnostics.extend(missing_env_file(source, &parsed.root, &config));
    diagnostics.extend(config.cnc.iter().flat_map(|cnc| cnc::open_doors(source, &parsed.root, cnc)));
    diagnostics.extend(config.federation.iter().flat_map(|table| federation::faults(source, &parsed.root, table)));
    Checked { config, diagnostics, include_at: include_at(&parsed.root) }
}

/// The parts that the check of the jobs needs, each taken if it alone is good.
fn what_can_be_used(table: &Value) -> SupervisorConfig {
    let id = table.pointer("/info/supervisor_id").and_then(Value::as_str);
    let mut config = SupervisorConfig::named(id.map_or_else(host_name, str::to_owned));
    let part = |key: &str| table.get(key).cloned().unwrap_or_default();
    config.include = serde_json::from_value(part("include")).unwrap_or_default();
    config.supervise = serde_json::from_value(part("supervise")).unwrap_or_default();
    config.federation = serde_json::from_value(part("federation")).unwrap_or_default();
    config
}

/// Contradictions within the table itself; those that a job adds are the job's.
fn contradictions(source: &Source, root: &DeTable<'_>, config: &SupervisorConfig) -> Vec<Diagnostic> {
    let resolved = Supervise::resolve(&config.supervise, &SuperviseKeys::default());
    let contradictions = resolved.contradictions().into_iter();
    let placed = contradictions.filter_map(|contradiction| {
        let (key, at) = contradiction.place_in(root)?;
        Some(source.error(at, key, contradiction.message).with_help(contradiction.help))
    });
    placed.chain(wrong_texts(source, root, &config.supervise)).collect()
}

/// Keys that belong into a job's file.
fn of_one_job(source: &Source, root: &DeTable<'_>) -> Vec<Diagnostic> {
    let found = OF_ONE_JOB.iter().filter_map(|key| place_of(root, &[key]));
    let refuse = |(key, at): (String, usize)| {
        let message = format!("`{key}` says something about one job");
        source.error(at, key, message).with_help("write it into that job's file")
    };
    found.map(refuse).collect()
}

/// `env_file` of all jobs, relative to the folder of this file, must be there.
fn missing_env_file(source: &Source, root: &DeTable<'_>, config: &SupervisorConfig) -> Option<Diagnostic> {
    let dir = source.path.parent().unwrap_or(Path::new(""));
    let path = dir.join(config.supervise.env_file.as_ref()?);
    let (key, at) = place_of(root, &["env_file"]).filter(|_| !path.is_file())?;
    let fault = source.error(at, key, format!("`env_file`: {} is no file", path.display()));
    Some(fault.with_help("it lies relative to the folder of this file"))
}

/// The first of some keys of `[supervise]` that a file has.
pub(super) fn place_of(root: &DeTable<'_>, keys: &[&str]) -> Option<(String, usize)> {
    let (_, table) = entry(root, "supervise")?;
    let table = table.get_ref().as_table()?;
    keys.iter().find_map(|key| entry(table, key).map(|(at, _)| (format!("supervise.{key}"), at)))
}

fn include_at(root: &DeTable<'_>) -> Vec<usize> {
    let list = entry(root, "include").and_then(|(_, value)| value.get_ref().as_array());
    list.map(|items| items.iter().map(|item| item.span().start).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_only_the_id_gives_the_defaults() {
        let source =
            Source { path: "supervisor.toml".into(), text: "[info]\nsupervisor_id = \"lab1\"\n[cnc]\n".into() };

        let checked = check(&source);

        assert_eq!(
            checked.config,
            SupervisorConfig { cnc: Some(CncConfig::default()), ..SupervisorConfig::named("lab1") }
        );
        assert_eq!(checked.config.cnc.unwrap().server_port, 1638);
    }

    #[test]
    fn the_host_has_a_name() {
        assert!(!host_name().is_empty());
    }
}
