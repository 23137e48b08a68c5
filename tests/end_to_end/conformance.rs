//! Every backend keeps what it is given, as a foreign reader judges.
//!
//! A backend is a few lines here ([`Backend`]) and a script of `readers/` that says in Python what the documents promise
//! and reads what is there; `readers/judge.py` compares. All backends are sent the same messages ([`letters`]): what one
//! does not take it must refuse and count. What a script leaves out, the documents do.

mod letters;

use std::process::Command;

use serde_json::{Value, json};

use crate::clock::{shift, shifter};
use crate::harness::{LogReader, Site, said};
use crate::redis::{PASSWORD, RedisServer};
use crate::sql::MariaDb;

/// A backend under test, and the server that it needs.
pub(crate) trait Backend: Sized {
    /// Its script in `readers/`.
    const READER: &'static str;
    /// How its disk is made full.
    const FULL_DISK: FullDisk = FullDisk { dir: "out", size_mb: 8, room_kb: 256, padding: 100 };

    /// Starts what it needs; and the file of a store that writes there.
    fn start(site: &Site) -> (Self, String);

    /// What stands in the `store_config` of a message for this place; if the backend sorts by date, by date.
    fn store_config(place: &str, is_dated: bool) -> Value;

    /// What its script needs to find the server.
    fn access(&self) -> Value {
        Value::Null
    }
}

/// A disk that some thousands of rows fill.
pub(crate) struct FullDisk {
    /// The folder of the data.
    pub(crate) dir: &'static str,
    /// How large it is, and how much of that is left for rows.
    pub(crate) size_mb: usize,
    pub(crate) room_kb: usize,
    /// Characters of a row beside its number.
    pub(crate) padding: usize,
}

/// A site of a backend, with a store.
pub(crate) struct Bench<B> {
    pub(crate) site: Site,
    pub(crate) backend: B,
}

impl<B: Backend> Bench<B> {
    pub(crate) fn new(site: Site) -> Self {
        let (backend, store) = B::start(&site);
        Self { site: site.job("store", &store), backend }
    }

    fn with_letters(letters: &Value) -> Self {
        let text = "daq_job_type = \"DAQJobLetters\"\nfile = \"letters.json\"";
        let bench = Self::new(Site::new().job("letters", text));
        bench.site.write("letters.json", &letters.to_string());
        bench
    }

    /// Runs it until all letters have arrived and all bad ones are refused, and ends it.
    fn deliver(&self, env: &[(&str, String)]) {
        let letters = std::fs::read(self.site.path("letters.json")).unwrap();
        let count = serde_json::from_slice::<Vec<Value>>(&letters).unwrap().len() as u64;
        let refused: u64 = self.ask(1, &["expected"], env).parse().unwrap();
        let mut node = self.site.start_with_env(&["--config", "configs"], env, LogReader::Test);
        node.wait(&format!("{count} letters arrived, {refused} refused"), |picture| {
            let told = picture.job("store")["stats"]["message_in_refused"].as_u64().unwrap_or_default();
            picture.edge("letters", "store").arrived == count && told == refused
        });
        assert_eq!(node.stop(), 0);
    }

    /// What the judge says.
    pub(crate) fn ask(&self, starts: u64, question: &[&str], env: &[(&str, String)]) -> String {
        let of_project = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        let mut judge = Command::new(of_project("target/python/bin/python3"));
        judge.arg("-B").arg(of_project("tests/end_to_end/readers/judge.py"));
        judge.args([B::READER, &starts.to_string(), &self.backend.access().to_string()]).args(question);
        let zone = env.iter().filter(|(name, _)| *name == "TZ").map(|(name, value)| (name, value));
        let answer = said(judge.envs(zone).current_dir(self.site.path("")));
        assert_eq!(answer.code, 0, "{}: {}{}", B::READER, answer.out, answer.err);
        answer.out.trim().to_owned()
    }

    /// Asserts that all is there after so many starts, and nothing else; and that it is something.
    fn judge(&self, starts: u64, question: &str, env: &[(&str, String)]) {
        let judged = self.ask(starts, &[question], env);
        assert!(judged.parse::<u64>().unwrap() > 1, "{}: {judged} places", B::READER);
    }
}

/// Each start sends its messages once more; what is there stays, and nothing is there twice.
fn every_value_of_two_starts_comes_back<B: Backend>() {
    let bench = Bench::<B>::with_letters(&letters::of_all_types::<B>());
    for starts in 1..=2 {
        bench.deliver(&[]);

        bench.judge(starts, "all", &[]);
    }
}

/// A million rows in a thousand messages, and a million in one, which is larger than the ring.
fn two_million_rows_come_back_in_order<B: Backend>() {
    let bench = Bench::<B>::with_letters(&letters::of_numbers::<B>());

    bench.deliver(&[]);

    bench.judge(1, "numbers", &[]);
}

/// By the clock of the source when it sent a message, wherever midnight is, and not by its arrival.
fn a_message_belongs_to_the_local_date_of_its_sending<B: Backend>() {
    for (zone, letters) in letters::around_midnights::<B>() {
        let bench = Bench::<B>::with_letters(&letters);
        shift(&bench.site, 0);
        let clock = bench.site.path("shift").display().to_string();
        let env = [("LD_PRELOAD", shifter(&bench.site)), ("CLOCK_SHIFT_FILE", clock), ("TZ", zone.to_owned())];

        bench.deliver(&env);

        bench.judge(1, "all", &env);
    }
}

fn store(job_type: &str) -> String {
    format!("daq_job_type = \"{job_type}\"")
}

pub(crate) struct Csv;

impl Backend for Csv {
    const READER: &'static str = "csv_files";

    fn start(_: &Site) -> (Self, String) {
        (Self, store("DAQJobStoreCSV"))
    }

    fn store_config(place: &str, is_dated: bool) -> Value {
        json!({"csv": {"file_path": format!("{place}.csv"), "add_date": is_dated}})
    }
}

pub(crate) struct CsvZstd;

impl Backend for CsvZstd {
    const READER: &'static str = "csv_files";
    // The rows hardly differ.
    const FULL_DISK: FullDisk = FullDisk { dir: "out", size_mb: 8, room_kb: 16, padding: 100 };

    fn start(_: &Site) -> (Self, String) {
        (Self, store("DAQJobStoreCSV"))
    }

    fn store_config(place: &str, is_dated: bool) -> Value {
        json!({"csv": {"file_path": format!("{place}.csv"), "add_date": is_dated, "use_zstd": true}})
    }
}

pub(crate) struct Raw;

impl Backend for Raw {
    const READER: &'static str = "raw_files";
    // A stream of Arrow for each row.
    const FULL_DISK: FullDisk = FullDisk { dir: "out", size_mb: 32, room_kb: 256, padding: 100 };

    fn start(_: &Site) -> (Self, String) {
        (Self, store("DAQJobStoreRaw"))
    }

    fn store_config(place: &str, is_dated: bool) -> Value {
        let file_path = format!("{place}.bin");
        json!({"raw": {"file_path": file_path, "add_date": is_dated, "overwrite": false, "lengths": true}})
    }
}

pub(crate) struct Sqlite;

impl Backend for Sqlite {
    const READER: &'static str = "sqlite";
    // Its log takes up to 16 MB beside the data.
    const FULL_DISK: FullDisk = FullDisk { dir: "out", size_mb: 32, room_kb: 256, padding: 100 };

    fn start(_: &Site) -> (Self, String) {
        (Self, store("DAQJobStoreSQLite"))
    }

    fn store_config(place: &str, _: bool) -> Value {
        json!({"sqlite": {"table_name": place}})
    }
}

impl Backend for MariaDb {
    const READER: &'static str = "mysql";
    const FULL_DISK: FullDisk = FullDisk { dir: "mariadb", size_mb: 256, room_kb: 256, padding: 500 };

    fn start(site: &Site) -> (Self, String) {
        let server = Self::start(site);
        let store = server.store();
        (server, store)
    }

    fn store_config(place: &str, _: bool) -> Value {
        json!({"mysql": {"table_name": place}})
    }

    fn access(&self) -> Value {
        json!({"socket": self.socket()})
    }
}

impl Backend for RedisServer {
    const READER: &'static str = "redis_keys";

    fn start(site: &Site) -> (Self, String) {
        let server = Self::start(site);
        let store = server.store();
        (server, store)
    }

    fn store_config(place: &str, is_dated: bool) -> Value {
        match is_dated {
            true => json!({"redis": {"key": place, "key_expiration_days": 30}}),
            false => json!({"redis": {"key": place}}),
        }
    }

    fn access(&self) -> Value {
        json!({"port": self.port(), "password": PASSWORD})
    }
}

/// The whole run of a backend.
macro_rules! conforms {
    ($($name:ident: $backend:ty;)*) => {$(
        mod $name {
            #[test]
            fn every_value_of_two_starts_comes_back() {
                super::every_value_of_two_starts_comes_back::<$backend>();
            }

            #[test]
            fn two_million_rows_come_back_in_order() {
                super::two_million_rows_come_back_in_order::<$backend>();
            }

            #[test]
            fn a_message_belongs_to_the_local_date_of_its_sending() {
                super::a_message_belongs_to_the_local_date_of_its_sending::<$backend>();
            }
        }
    )*};
}

conforms! {
    csv: super::Csv;
    csv_zstd: super::CsvZstd;
    raw: super::Raw;
    sqlite: super::Sqlite;
    mysql: super::MariaDb;
    redis: super::RedisServer;
}
