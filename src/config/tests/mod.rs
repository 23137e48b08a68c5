//! The catalog that the tests of this module share: job types as a physicist would write them.

use std::fs;
use std::path::Path;

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Backend, Catalog, Deployment, Kind, Refusal, Report, TypeInfo, decode, load};
use crate::message::StoreConfig;

mod bad_configs;
mod good_configs;
mod properties;

/// Draws numbers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TestConfig {
    /// Smallest number drawn.
    rand_min: i64,
    /// Largest number drawn.
    rand_max: i64,
    /// Port of the device.
    #[serde(default = "port")]
    #[expect(dead_code, reason = "the schema is what is tested")]
    port: String,
    /// Time between two rows.
    #[serde(default = "one")]
    #[schemars(range(min = 0.1, max = 3600))]
    #[expect(dead_code, reason = "the schema is what is tested")]
    poll_interval_seconds: f64,
    /// Where the trigger comes from.
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    trigger: Option<Trigger>,
    /// CAEN channels to look at.
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    channels: Vec<Channel>,
    /// Labels of the device.
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    labels: Option<Vec<String>>,
    /// Offset a channel, in millivolts.
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    offsets: std::collections::BTreeMap<u8, f32>,
    /// Writes a log of its own.
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    log: Option<bool>,
    /// What to do when a number is too large.
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    action: Option<Action>,
    /// A port, or a list of ports.
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    ports: Option<Ports>,
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    store_config: Option<StoreConfig>,
}

fn port() -> String {
    "5000".into()
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Trigger {
    /// The device's own.
    Internal,
    /// The cable's.
    External,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema is what is tested")]
struct Channel {
    /// Number of the slot.
    slot: u8,
    /// Numbers of the channels.
    numbers: Vec<u16>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "the schema is what is tested")]
enum Action {
    /// Writes a line.
    Log { text: String },
    /// Makes a noise.
    Beep { seconds: f64 },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema is what is tested")]
enum Ports {
    One(u16),
    Many(Vec<u16>),
}

/// Where rows go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema is what is tested")]
struct CsvTarget {
    /// Name of the file.
    file_path: String,
    /// Puts the date before the name.
    #[serde(default)]
    add_date: bool,
}

/// Keeps nothing for long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MemoryTarget {}

/// Takes what is for one store and publishes what it makes of it for others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilterConfig {
    #[serde(default)]
    #[expect(dead_code, reason = "the schema is what is tested")]
    store_config: Option<StoreConfig>,
}

/// Writes rows into files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema is what is tested")]
struct CsvConfig {
    /// Folder of the files.
    #[serde(default = "out")]
    out_dir: String,
}

fn out() -> String {
    "out/".into()
}

fn decodes<T: DeserializeOwned>(settings: &Value) -> Result<(), Vec<Refusal>> {
    decode::<T>(settings).map(drop).map_err(|refusal| vec![refusal])
}

fn check_test(settings: &Value) -> Result<(), Vec<Refusal>> {
    let config: TestConfig = decode(settings).map_err(|refusal| vec![refusal])?;
    if config.rand_min > config.rand_max {
        return Err(vec![Refusal { key: "rand_min".into(), reason: "is above `rand_max`; swap the two".into() }]);
    }
    Ok(())
}

pub(super) fn fake_types() -> Vec<TypeInfo> {
    vec![
        TypeInfo {
            name: "DAQJobTest",
            aliases: &["test"],
            kind: Kind::Source,
            kind_of: None,
            runs_program: false,
            schema: schema_for!(TestConfig),
            backend: None,
            messages: Vec::new(),
            check: check_test,
            check_watchdog: |_, _| Ok(()),
        },
        TypeInfo {
            name: "DAQJobStoreCSV",
            aliases: &["store_csv"],
            kind: Kind::Store,
            kind_of: None,
            runs_program: false,
            schema: schema_for!(CsvConfig),
            backend: Some(Backend { key: "csv", schema: schema_for!(CsvTarget) }),
            messages: Vec::new(),
            check: decodes::<CsvConfig>,
            check_watchdog: |_, _| Ok(()),
        },
        TypeInfo {
            name: "DAQJobStoreMemory",
            aliases: &[],
            kind: Kind::Store,
            kind_of: None,
            runs_program: false,
            schema: schema_for!(MemoryTarget),
            backend: Some(Backend { key: "memory", schema: schema_for!(MemoryTarget) }),
            messages: Vec::new(),
            check: decodes::<MemoryTarget>,
            check_watchdog: |_, _| Ok(()),
        },
        TypeInfo {
            name: "DAQJobFilter",
            aliases: &[],
            kind: Kind::Monitor,
            kind_of: None,
            runs_program: false,
            schema: schema_for!(FilterConfig),
            backend: Some(Backend { key: "filter", schema: schema_for!(MemoryTarget) }),
            messages: Vec::new(),
            check: decodes::<FilterConfig>,
            check_watchdog: |_, _| Ok(()),
        },
    ]
}

pub(super) fn catalog() -> Catalog {
    Catalog::new(fake_types()).unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(dir.path(), name, text.as_bytes());
    }
    dir
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn load_files(files: &[(&str, &str)]) -> Result<Deployment, Report> {
    load(folder(files).path(), &catalog())
}
