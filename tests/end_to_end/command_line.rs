//! What can be asked without a supervisor: `check`, `jobs`, completions, help.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Site, said};

#[test]
fn check_accepts_a_good_folder_and_starts_nothing() {
    let site = Site::new().csv().rows(1, 0);

    let (text, json) = (site.cli(&["check"]), site.cli(&["check", "--json"]));

    assert_eq!((text.code, json.code), (0, 0), "{text:?}");
    assert!(serde_json::from_str::<Value>(&json.out).is_ok(), "{json:?}");
    assert!(!site.path("out").exists());
}

#[test]
fn check_reports_all_mistakes_at_once_with_file_line_and_remedy() {
    let site = Site::new()
        .job("csv", "daq_job_type = \"DAQJobStoreCSV\"\nout_dri = \"data\"")
        .job("test", "daq_job_type = \"DAQJobTest\"\nrand_min = 9\nrand_max = \"1\"\n[store_config.csv]\n");

    let (text, json) = (site.cli(&["check"]), site.cli(&["check", "--json"]));

    assert_eq!((text.code, json.code), (1, 1));
    for part in ["csv.toml:2", "out_dri", "out_dir", "test.toml:3", "rand_max", "file_path"] {
        assert!(text.out.contains(part), "{part} is not in\n{}", text.out);
    }
    assert!(serde_json::from_str::<Value>(&json.out).is_ok(), "{json:?}");
    let started = site.cli(&["--config", "configs"]);
    assert_eq!(started.code, 1, "nor does it start: {started:?}");
    assert!(started.err.contains("out_dri") && started.err.contains("test.toml:3"), "{started:?}");
    assert!(site.processes().is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let site = Site::new();

    let said = site.cli(&["--config", "confgis"]);

    assert_eq!(said.code, 1);
    assert!(said.err.contains("confgis"), "{said:?}");
}

#[test]
fn the_job_types_describe_themselves() {
    let site = Site::of_enrgdaq();

    let list = site.cli(&["jobs", "list"]);
    assert_eq!(list.code, 0);
    let types: Vec<_> = list.out.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    let expected = [
        "DAQJobBenchmark",
        "DAQJobExec",
        "DAQJobPCMetrics",
        "DAQJobStoreCSV",
        "DAQJobStoreMemory",
        "DAQJobStoreMySQL",
        "DAQJobStoreRaw",
        "DAQJobStoreRedis",
        "DAQJobStoreSQLite",
        "DAQJobTest",
    ];
    assert_eq!(types, expected);
    for job_type in types {
        let (text, schema) =
            (site.cli(&["jobs", "describe", job_type]), site.cli(&["jobs", "describe", job_type, "--schema"]));
        assert!(text.code == 0 && text.out.contains(job_type), "{text:?}");
        let schema: Value = serde_json::from_str(&schema.out).unwrap();
        assert!(schema["properties"].is_object(), "{schema}");
    }
    let described = site.cli(&["jobs", "describe", "DAQJobTest"]);
    assert!(described.out.contains("rand_min") && described.out.contains("The smallest number"), "{described:?}");
    let unknown = site.cli(&["jobs", "describe", "DAQJobTset"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("did you mean DAQJobTest?"), "{unknown:?}");
}

#[test]
fn completions_and_help_are_there() {
    let site = Site::of_enrgdaq();

    for shell in ["bash", "zsh", "fish"] {
        let said = site.cli(&["completions", shell]);
        assert!(said.code == 0 && said.out.contains("restart"), "{shell}: {said:?}");
    }
    let help = site.cli(&["--help"]);
    assert!(help.code == 0 && help.out.contains("Examples:"), "{help:?}");
    let wrong = site.cli(&["statsu"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("status"), "{wrong:?}");
}

#[test]
fn output_into_a_pipe_that_nobody_reads_is_no_panic() {
    let site = Site::of_enrgdaq();
    let script = format!("{} docs | head -c 1; {0} jobs describe DAQJobTest | true", env!("CARGO_BIN_EXE_enrgdaq"));

    let said = said(Command::new("sh").args(["-c", &script]).current_dir(site.path("")));

    assert!(!said.err.contains("panicked"), "{said:?}");
}
