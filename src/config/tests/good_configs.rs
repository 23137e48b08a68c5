//! What good configurations become, and of what they warn.

use std::time::Duration;

use serde_json::json;

use super::{catalog, folder, load, load_files};
use crate::config::{Catalog, Deployment, Kind, Restart, Supervise, Transport, Verbosity, load_supervisor};

const LAB1: &str = "[info]\nsupervisor_id = \"lab1\"\n";
const GOOD: &str = "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n";

/// Files, and what is said of them.
type Warned<'t> = (&'t [(&'t str, &'t str)], &'t [&'t str]);

fn warnings(deployment: &Deployment) -> Vec<String> {
    let dir = format!("{}/", deployment.dir.display());
    let printed = |warning: &crate::config::Diagnostic| {
        warning.to_string().replace(&dir, "").replace(dir.trim_end_matches('/'), "DIR")
    };
    deployment.warnings.iter().map(printed).collect()
}

#[test]
fn a_folder_becomes_what_it_says() {
    let supervisor = "include = [\"more/*.toml\"]\n[info]\nsupervisor_id = \"lab1\"\n\
                      [supervise]\nrestart = \"always\"\nmax_restarts = 4\n[bus]\ntransport = \"tcp\"\n";
    let job = "daq_job_type = \"DAQJobTest\"\nverbosity = \"DEBUG\"\ndaq_job_unique_id = \"x\"\n\
               use_shm_when_possible = false\ntopics_to_subscribe = [\"a.b\"]\nrand_min = -1\nrand_max = 0x10\n\
               [supervise]\nmax_restarts = 0\nwatchdog_timeout_seconds = 2.5\n\
               [store_config.csv]\nfile_path = \"a.csv\"\n";

    let deployment = load_files(&[
        ("supervisor.toml", supervisor),
        ("hv.toml", job),
        ("csv.toml", "daq_job_type = \"DAQJobStoreCSV\""),
        (".#hv.toml", "an editor's lock"),
        ("hv.toml~", "an editor's copy"),
        ("notes/x.toml", "not ours"),
        ("more/sensor.toml", GOOD),
    ])
    .unwrap();

    assert_eq!(warnings(&deployment), [""; 0]);
    assert_eq!(deployment.supervisor.bus.transport, Transport::Tcp);
    assert_eq!(deployment.files_checked, 4);
    let names: Vec<_> = deployment.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["csv", "hv", "sensor"]);
    let hv = &deployment.jobs[1];
    assert_eq!((hv.job_type, hv.kind, hv.unique_id.as_str()), ("DAQJobTest", Kind::Source, "x"));
    assert_eq!((hv.verbosity, hv.use_shm_when_possible), (Verbosity::Debug, false));
    assert_eq!(hv.topics_to_subscribe, ["a.b"]);
    assert_eq!(hv.text, job);
    assert_eq!(
        hv.supervise,
        Supervise {
            restart: Restart::Always,
            max_restarts: None,
            watchdog_timeout: Some(Duration::from_millis(2500)),
            ..Supervise::default()
        }
    );
    assert_eq!(
        hv.settings,
        json!({ "rand_min": -1, "rand_max": 16, "store_config": { "csv": { "file_path": "a.csv" } } })
    );
    assert_eq!(deployment.jobs[2].supervise.max_restarts, Some(4));
}

#[test]
fn an_id_that_is_made_hangs_on_the_supervisor_and_the_name_alone() {
    let id = |supervisor: &str, name: &str, text: &str| {
        let supervisor = format!("[info]\nsupervisor_id = \"{supervisor}\"\n");
        load_files(&[("supervisor.toml", &supervisor), (name, text)]).unwrap().jobs[0].unique_id.clone()
    };

    let hv = id("lab1", "hv.toml", GOOD);

    assert_eq!(hv, id("lab1", "hv.toml", &format!("{GOOD}port = \"1\"\n")));
    assert_ne!(hv, id("lab2", "hv.toml", GOOD));
    assert_ne!(hv, id("lab1", "hv2.toml", GOOD));
    assert_eq!(uuid::Uuid::parse_str(&hv).unwrap().get_version_num(), 3);
}

#[test]
fn every_warning_says_what_it_means() {
    let supervisor = "ring_buffer_slot_size_kb = 512\n[info]\nsupervisor_id = \"lab1\"\n";
    let leaf =
        format!("{LAB1}[federation]\nremote_server_xpub_url = \"ipc://a\"\nremote_server_xsub_url = \"ipc://b\"\n");
    let twice_open = format!(
        "{LAB1}[federation]\nis_server = true\ninsecure = true\n[federation.curve]\nkey_file = \"supervisor.toml\"\n\
         clients = {{ lab2 = \"rq:rM>}}U?@Lns47E1%kR.o@n%FcmmsL/@{{H8]yf7\" }}\n"
    );
    let csv = format!("{GOOD}[store_config.csv]\nfile_path = \"a.csv\"\n");
    let table: &[Warned<'_>] = &[
        (&[("supervisor.toml", LAB1), ("a.toml", GOOD)], &[]),
        (
            &[("supervisor.toml", LAB1)],
            &["DIR: warning: there is no job in this folder; each job is a .toml file beside supervisor.toml"],
        ),
        (
            &[("supervisor.toml", supervisor), ("a.toml", GOOD)],
            &["supervisor.toml:1:1: warning: `ring_buffer_slot_size_kb` is deprecated: has no meaning here, since \
                 payloads may be of any size; accepted from configs made for ENRGDAQ; remove the line"],
        ),
        (
            &[("supervisor.toml", LAB1), ("a.toml", "daq_job_type = \"store_csv\"")],
            &["a.toml:1:16: warning: `store_csv` is a deprecated name of DAQJobStoreCSV; write `daq_job_type = \
               \"DAQJobStoreCSV\"`"],
        ),
        (
            &[("supervisor.toml", LAB1), ("a.toml", &csv)],
            &["a.toml:4:15: warning: messages for backend `csv` have no store here; add a job of type DAQJobStoreCSV"],
        ),
        (
            &[("supervisor.toml", LAB1), ("a.toml", &format!("{GOOD}[store_config]\n"))],
            &[
                "a.toml:4:2: warning: `[store_config]` names no backend, so nothing is stored; the backends are csv, filter, memory",
            ],
        ),
        (&[("supervisor.toml", &leaf), ("a.toml", &csv)], &[]),
        (
            &[("supervisor.toml", &format!("{leaf}server_xpub_url = \"ipc://a\"\n")), ("a.toml", GOOD)],
            &[
                "supervisor.toml:6:1: warning: `server_xpub_url`: has no effect on a leaf: only a hub listens; remove it, or \
               say `is_server = true`",
            ],
        ),
        (
            &[("supervisor.toml", &twice_open), ("a.toml", GOOD)],
            &[
                "supervisor.toml:5:1: warning: `insecure`: has no effect beside `[federation.curve]`: nobody gets in without \
               a key; remove it",
            ],
        ),
    ];

    for (files, expected) in table {
        let deployment = load_files(files).unwrap();
        assert_eq!(warnings(&deployment), *expected);
        assert_eq!(deployment.report().warnings(), expected.len());
    }
}

#[test]
fn without_a_supervisor_file_the_host_gives_the_name() {
    let deployment = load_files(&[("a.toml", GOOD)]).unwrap();

    let id = &deployment.supervisor.info.supervisor_id;
    assert_eq!(
        warnings(&deployment),
        [format!(
            "supervisor.toml: warning: there is no supervisor.toml: the supervisor is called {id:?}; write one with \
             `[info]` and `supervisor_id = \"…\"`"
        )]
    );
}

#[test]
fn a_file_that_two_patterns_match_is_one_job() {
    let supervisor = "include = [\"*.toml\", \"more/*\", \"more/a*.toml\"]\n[info]\nsupervisor_id = \"lab1\"\n";

    let deployment =
        load_files(&[("supervisor.toml", supervisor), ("x.toml", GOOD), ("more/a.toml", GOOD), ("more/README", "")])
            .unwrap();

    assert_eq!(deployment.jobs.len(), 2);
}

#[test]
fn the_supervisor_alone_is_read_although_a_job_is_bad() {
    let dir = folder(&[("supervisor.toml", LAB1), ("a.toml", "nonsense")]);

    let (supervisor, warnings) = load_supervisor(dir.path()).unwrap();

    assert_eq!(supervisor.info.supervisor_id, "lab1");
    assert!(warnings.is_empty());
    assert!(load(dir.path(), &catalog()).is_err());
}

#[test]
fn every_value_that_a_type_takes_is_taken() {
    let table = [
        "port = \"1\"\n",
        "poll_interval_seconds = 1\n",
        "poll_interval_seconds = 0.1\n",
        "trigger = \"external\"\n",
        "log = true\n",
        "labels = []\n",
        "ports = 1\n",
        "ports = [1, 2]\n",
        "action = { kind = \"log\", text = \"x\" }\n",
        "action = { kind = \"beep\", seconds = 2 }\n",
        "[offsets]\n1 = 2\n3 = -4.5\n",
        "[[channels]]\nslot = 255\nnumbers = []\n",
        "store_config.memory = {}\n",
        "[store_config]\ntarget_local_supervisor = true\nmemory = {}\n",
    ];

    for text in table {
        let job = format!("{GOOD}{text}");
        let memory = "daq_job_type = \"DAQJobStoreMemory\"";
        let loaded = load_files(&[("supervisor.toml", LAB1), ("a.toml", &job), ("memory.toml", memory)]);
        assert_eq!(loaded.map(|deployment| warnings(&deployment)), Ok(vec![]), "{text}");
    }
}

#[test]
fn a_circle_with_a_job_that_gets_the_latest_is_no_fault() {
    let filter = "daq_job_type = \"DAQJobFilter\"\nstore_config.filter = {}\n";
    let stores_csv = format!("{GOOD}delivery = \"lossless\"\nstore_config.csv = {{ file_path = \"a.csv\" }}\n");
    let elsewhere = format!("topics_to_subscribe = [\"store.DAQJobStoreMemory\"]\n{stores_csv}");
    let of_another = format!("topics_to_subscribe = [\"store.supervisor\"]\n{stores_csv}");
    let csv = "daq_job_type = \"DAQJobStoreCSV\"";

    for job in [filter, &elsewhere, &of_another] {
        let loaded = load_files(&[("supervisor.toml", LAB1), ("a.toml", job), ("csv.toml", csv)]);
        assert_eq!(loaded.map(|deployment| warnings(&deployment)), Ok(vec![]), "{job}");
    }
}

#[test]
fn a_program_without_job_types_says_only_that_there_is_none() {
    let dir = folder(&[("supervisor.toml", LAB1), ("a.toml", "daq_job_type = \"Mine\"")]);

    let report = load(dir.path(), &Catalog::default()).unwrap_err();

    assert_eq!(report.diagnostics[0].message, "there is no job type \"Mine\"");
}
