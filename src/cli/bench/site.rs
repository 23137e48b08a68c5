//! The folder of a measurement: TOML files as an operator would write them, gone when it is over.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use enrgdaq_ring::{Control, Leftovers, RingName};
use schemars::Schema;
use toml::{Table, Value};

use super::error::BenchError;
use super::plan::{Messages, Plan};
use crate::os::{runtime_dir, short_hash};

/// The name of the job that stores.
pub(super) const STORE: &str = "store";

/// Shared memory of all sources together in MiB, and how many messages each has room for at least.
const RING_MB: u64 = 256;
const ROOM_FOR_MESSAGES: u64 = 4;

/// The folder; also what its supervisor leaves behind goes with it.
#[derive(Debug)]
pub(super) struct Site {
    dir: PathBuf,
    id: String,
}

impl Site {
    /// Writes the files.
    pub(super) fn make(plan: &Plan) -> Result<Self, BenchError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = match COUNT.fetch_add(1, Ordering::Relaxed) {
            0 => format!("bench-{}", std::process::id()),
            n => format!("bench-{}-{n}", std::process::id()),
        };
        clear_away_dead();
        let dir = std::env::temp_dir().join(format!("{PREFIX}{id}"));
        let fail = |source| BenchError::Folder { path: dir.clone(), source };
        DirBuilder::new().mode(0o700).create(&dir).map_err(fail)?;
        let site = Self { dir: dir.clone(), id };
        site.write(plan).map_err(fail)?;
        Ok(site)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn write(&self, plan: &Plan) -> io::Result<()> {
        let write = |name: &str, table: Table| fs::write(self.dir.join(format!("{name}.toml")), table.to_string());
        write("supervisor", supervisor(&self.dir, &self.id, plan))?;
        write(STORE, store(&self.dir, plan))?;
        (0..plan.clients).try_for_each(|client| write(&source_name(client), source(client, plan)))
    }
}

/// Folders of measurements begin like this; then comes the id.
const PREFIX: &str = "enrgdaq-";

/// What measurements that were killed have left.
fn clear_away_dead() {
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for (dir, name) in entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned())) {
        let id = name.strip_prefix(PREFIX).filter(|id| id.starts_with("bench-"));
        let is_dead = |id: &&str| {
            let pid = id.split('-').nth(1).and_then(|pid| pid.parse::<u32>().ok());
            pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        };
        if let Some(id) = id.filter(is_dead) {
            drop(Site { dir, id: id.to_owned() });
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).ok();
        // What a run that failed left behind is of no use to anybody.
        if let Ok(name) = RingName::new(&short_hash(&self.id))
            && let Ok((ring, _)) = Control::open(&name, Leftovers::Discard)
        {
            ring.remove().ok();
        }
        if let Ok(dir) = runtime_dir(&self.id) {
            fs::remove_dir_all(dir).ok();
        }
    }
}

/// The name of a source's job.
fn source_name(client: u64) -> String {
    format!("bench_{client}")
}

/// Whether a job is one of the sources.
pub(super) fn is_source(name: &str) -> bool {
    name.starts_with("bench_")
}

fn supervisor(dir: &Path, id: &str, plan: &Plan) -> Table {
    let needed = (ROOM_FOR_MESSAGES * plan.message.bytes() * plan.clients).div_ceil(1 << 20);
    let mut table = Table::new();
    table.insert("info".into(), table_of([("supervisor_id", Value::from(id))]));
    table.insert("state_dir".into(), dir.join("state").to_string_lossy().into_owned().into());
    // A job that dies would spoil the measurement: it is to be seen.
    table.insert("supervise".into(), table_of([("restart", Value::from("never"))]));
    table.insert("ring_buffer_size_mb".into(), integer(needed.max(RING_MB)));
    table
}

fn store(dir: &Path, plan: &Plan) -> Table {
    let mut table = job(plan.store.job_type, plan);
    if has(&plan.store.job_schema, "void_data") {
        table.insert("void_data".into(), true.into());
    }
    if has(&plan.store.job_schema, "out_dir") {
        table.insert("out_dir".into(), dir.join("out").to_string_lossy().into_owned().into());
    }
    table
}

fn source(client: u64, plan: &Plan) -> Table {
    let mut table = job("DAQJobBenchmark", plan);
    let mut insert = |key: &str, value: Value| table.insert(key.into(), value);
    insert("use_shm", plan.uses_shm.into());
    match plan.message {
        Messages::Table(rows) => {
            insert("content", "table".into());
            insert("payload_size", integer(rows));
        }
        Messages::Raw(bytes) => {
            insert("content", "raw".into());
            insert("bytes", integer(bytes));
        }
        Messages::Records => {
            insert("content", "records".into());
        }
    }
    if let Some(rate) = plan.rate_hz {
        insert("rate_hz", rate.into());
    }
    if let (Some(plant), 0) = (plan.plant, client) {
        insert("plant", word(&plant));
    }
    let mut target = Table::new();
    let name = source_name(client);
    let keys: [(&str, Value); 4] = [
        ("file_path", format!("{name}.dat").into()),
        ("table_name", name.clone().into()),
        ("key", name.into()),
        ("overwrite", false.into()),
    ];
    let known = keys.into_iter().filter(|(key, _)| has(&plan.store.target_schema, key));
    target.extend(known.map(|(key, value)| (key.to_owned(), value)));
    let mut stores = Table::new();
    stores.insert(plan.store.backend.into(), target.into());
    insert("store_config", stores.into());
    table
}

/// What all jobs have.
fn job(job_type: &str, plan: &Plan) -> Table {
    let mut table = Table::new();
    table.insert("daq_job_type".into(), job_type.into());
    table.insert("use_shm_when_possible".into(), plan.uses_shm.into());
    table.insert("wait".into(), word(&plan.wait));
    table.insert("verbosity".into(), word(&plan.verbosity));
    table
}

fn has(schema: &Schema, key: &str) -> bool {
    schema.get("properties").is_some_and(|properties| properties.get(key).is_some())
}

fn table_of<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Table::from_iter(entries.map(|(key, value)| (key.to_owned(), value))).into()
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// An enum as configurations write it.
fn word(value: &impl serde::Serialize) -> Value {
    Value::try_from(value).expect("an enum without fields is a string")
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;
    use crate::config;

    #[test]
    fn what_is_written_is_a_configuration_without_a_warning() {
        for line in [
            "",
            "--clients 5 --payload-size 100000",
            "--bytes 1024 --rate 1000 --wait busy --no-shm --verbose",
            "--content records --plant lost",
            "--store csv",
        ] {
            let site = Site::make(&plan(line).unwrap()).unwrap();

            let loaded = config::load(site.dir(), &crate::jobs::all().catalog());

            let deployment = loaded.unwrap_or_else(|report| panic!("{line}: {report}"));
            assert_eq!(deployment.warnings, [], "{line}");
            let dir = site.dir().to_owned();
            drop(site);
            assert!(!dir.exists());
        }
    }
}
