//! Laws: no input panics, every fault lies in its file, and what is written well is read as it was written.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::{catalog, folder, load, write};
use crate::config::{Deployment, Report};

/// Bits of TOML, from which files are made that are almost right.
const BITS: &[&str] = &[
    "daq_job_type",
    "\"DAQJobTest\"",
    "\"store_csv\"",
    "rand_min",
    "rand_max",
    "port",
    "labels",
    "channels",
    "offsets",
    "store_config",
    "csv",
    "file_path",
    "supervise",
    "restart",
    "\"always\"",
    "info",
    "supervisor_id",
    "include",
    "bus",
    "action",
    "kind",
    "=",
    " = ",
    ".",
    ",",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\n",
    "\n",
    "\n[",
    "]\n",
    "\"",
    "'",
    "'''",
    "\"\"\"",
    "\\",
    "#",
    "1",
    "-1",
    "0x",
    "1e999",
    "nan",
    "inf",
    "true",
    "yes",
    "1979-05-27",
    "07:32:00",
    "ä",
    "\u{feff}",
    "\r\n",
    "\r",
    "\t",
    "\0",
    "\"x\"",
    "\"*/**/*\"",
    "\"[\"",
];

fn almost_toml() -> impl Strategy<Value = String> {
    vec(proptest::sample::select(BITS), 0..60).prop_map(|bits| bits.concat())
}

/// A file of whole lines, some of which are right.
fn lines() -> impl Strategy<Value = String> {
    let key = proptest::sample::select(
        &[
            "daq_job_type",
            "rand_min",
            "rand_max",
            "port",
            "labels",
            "channels",
            "verbosity",
            "supervise",
            "action",
            "store_config.csv.file_path",
            "store_config",
            "ports",
            "info.supervisor_id",
            "nonsense",
            "offsets.7",
        ][..],
    );
    let value = proptest::sample::select(
        &[
            "1",
            "-1.5",
            "\"DAQJobTest\"",
            "\"INFO\"",
            "[1]",
            "[\"a\", {}]",
            "{}",
            "{ kind = \"log\" }",
            "true",
            "nan",
            "1979-05-27",
            "[",
            "",
            "x",
            "\"",
            "99999999999999999999",
        ][..],
    );
    vec((key, value), 0..12).prop_map(|pairs| pairs.iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
}

/// Loads a folder whose two files have this text, and looks at every fault.
fn load_bytes(supervisor: &[u8], job: &[u8]) -> Result<Deployment, Report> {
    let dir = folder(&[]);
    write(dir.path(), "supervisor.toml", supervisor);
    write(dir.path(), "a.toml", job);
    let loaded = load(dir.path(), &catalog());
    let diagnostics = match &loaded {
        Ok(deployment) => &deployment.warnings,
        Err(report) => {
            assert!(report.errors() > 0);
            &report.diagnostics
        }
    };
    for diagnostic in diagnostics {
        assert!(!diagnostic.message.is_empty());
        let Ok(bytes) = fs::read(&diagnostic.file) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.split('\n').collect();
        assert!(diagnostic.line <= lines.len(), "{diagnostic}");
        if diagnostic.line > 0 {
            assert!((1..=lines[diagnostic.line - 1].chars().count() + 1).contains(&diagnostic.column), "{diagnostic}");
        }
    }
    loaded
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_answered(supervisor in vec(any::<u8>(), 0..200), job in vec(any::<u8>(), 0..200)) {
        drop(load_bytes(&supervisor, &job));
    }

    #[test]
    fn almost_toml_is_answered(supervisor in almost_toml(), job in almost_toml()) {
        drop(load_bytes(supervisor.as_bytes(), job.as_bytes()));
    }

    #[test]
    fn lines_that_are_sometimes_right_are_answered(supervisor in lines(), job in lines()) {
        drop(load_bytes(supervisor.as_bytes(), job.as_bytes()));
    }

    #[test]
    fn a_good_job_is_read_as_it_was_written(
        rand_min in -1000_i64..0,
        rand_max in 0_i64..1000,
        port in "[a-z\"\\\\ä\n]{0,12}",
        seconds in 0.1_f64..3600.0,
        labels in vec("\\PC{0,8}", 0..4),
        channels in vec((any::<u8>(), vec(any::<u16>(), 0..3)), 0..3),
        file in "\\PC{1,12}",
        base in 0.1_f64..50.0,
    ) {
        let channels: Vec<_> = channels.iter().map(|(slot, numbers)| json!({ "slot": slot, "numbers": numbers })).collect();
        let settings = json!({
            "rand_min": rand_min,
            "rand_max": rand_max,
            "port": port,
            "poll_interval_seconds": seconds,
            "labels": labels,
            "channels": channels,
            "store_config": { "csv": { "file_path": file } },
        });
        let mut table: toml::Table = serde_json::from_value(settings.clone()).unwrap();
        table.insert("daq_job_type".into(), "DAQJobTest".into());
        table.insert("supervise".into(), toml::Value::Table([("restart_base_seconds".to_owned(), base.into())].into_iter().collect()));
        let text = toml::to_string(&table).unwrap();

        let deployment = load_bytes(b"[info]\nsupervisor_id = \"lab1\"\n", text.as_bytes()).unwrap();

        prop_assert_eq!(&deployment.jobs[0].settings, &settings);
        prop_assert_eq!(&deployment.jobs[0].text, &text);
        prop_assert_eq!(deployment.jobs[0].supervise.restart_base.as_secs_f64(), std::time::Duration::from_secs_f64(base).as_secs_f64());
    }
}
