//! Messages that somebody outside gives to jobs, by the control socket.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Site, wait_for, wait_until};
use crate::stores::python;

const SQLITE: &str = "daq_job_type = \"DAQJobStoreSQLite\"";
const SET_DIAL: &str = "DAQJobMessageSetDial";

/// A site with two jobs that take a message of their own.
fn two_dials() -> Site {
    let dial = |name| format!("daq_job_type = \"DAQJobDial\"\npath = \"{name}\"\ndaq_job_unique_id = \"id.{name}\"");
    Site::new().recorder().csv().job("left", &dial("left")).job("right", &dial("right"))
}

/// The answer to `send`.
fn send(site: &Site, message_type: &str, payload: &str, target: Option<&str>) -> Value {
    let call = json!({ "id": 2, "do": "send", "message_type": message_type, "payload": payload, "target": target });
    let answer = site.ask(&call.to_string()).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Sends until somebody takes it: that a job is ready and what it subscribed come to the supervisor on two ways.
fn send_until_taken(site: &Site, message_type: &str, payload: &Value, target: Option<&str>) -> Value {
    wait_until("it is taken", DEADLINE, || {
        let answer = send(site, message_type, &payload.to_string(), target);
        if answer["failed"] == true { Err(answer.to_string()) } else { Ok(answer) }
    })
}

fn lines(site: &Site, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(site.path(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn a_message_arrives_once_at_each_job_that_takes_it_and_nowhere_else() {
    let site = two_dials();
    let mut node = site.start();
    node.wait_ready(&["recorder", "csv", "left", "right"]);
    let set = |dial: u8, note: Option<&str>| json!({ "dial": dial, "volts": 1.5, "note": note });

    let to_one = send_until_taken(&site, SET_DIAL, &set(0, None), Some("id.left"));
    send_until_taken(&site, SET_DIAL, &set(1, None), Some("id.right"));
    let to_all = send(&site, SET_DIAL, "{\"dial\": 7, \"volts\": -2, \"note\": \"all\"}", None);

    assert_eq!((&to_one["jobs_notified"], &to_one["message"]), (&json!(1), &json!(format!("{SET_DIAL} sent to left"))));
    assert_eq!(to_all["jobs_notified"], 2, "{to_all}");
    let last = json!({ "dial": 7, "volts": -2.0, "note": "all" });
    wait_for("both have the last", || ["left", "right"].iter().all(|file| lines(&site, file).last() == Some(&last)));
    assert_eq!(node.stop(), 0);
    assert_eq!(lines(&site, "left"), [set(0, None), last.clone()]);
    assert_eq!(lines(&site, "right"), [set(1, None), last]);
    assert_eq!(site.recorded(), 0);
    assert!(site.csv_rows("out/a.csv").is_empty());
}

#[test]
fn what_is_no_message_is_refused_with_the_reason_and_reaches_nobody() {
    let site = two_dials();
    let mut node = site.start();
    node.wait_ready(&["recorder", "csv", "left", "right"]);
    let good = json!({ "dial": 1, "volts": 2 });
    send_until_taken(&site, SET_DIAL, &good, Some("id.left"));
    assert_eq!(site.cli(&["stop", "right"]).code, 0);
    let nowhere = "{\"store_config\": {\"sqlite\": {\"table_name\": \"t\"}}, \"keys\": [\"a\"], \"data\": []}";
    let table = [
        (
            "DAQJobMessageSetDail",
            "{}",
            None,
            "UnknownMessage",
            "Unknown message type `DAQJobMessageSetDail`; there are",
        ),
        ("DAQJobMessageHeartbeat", "{}", None, "UnknownMessage", "Unknown message type"),
        (SET_DIAL, "{", None, "BadPayload", "no JSON"),
        (SET_DIAL, "[1]", None, "BadPayload", "expected an object, found a list"),
        (SET_DIAL, "{\"dial\": 8, \"volts\": 1}", None, "BadPayload", "`dial`: is 8, but must be from 0 to 7"),
        (SET_DIAL, "{\"dial\": 1}", None, "BadPayload", "`volts`: is missing"),
        (
            SET_DIAL,
            "{\"dial\": 1, \"vots\": 1}",
            None,
            "BadPayload",
            "`vots`: is no field of DAQJobMessageSetDial; did you mean `volts`?",
        ),
        (SET_DIAL, "{\"dial\": true, \"volts\": 1}", None, "BadPayload", "`dial`: expected an integer"),
        (SET_DIAL, "{\"dial\": 1, \"volts\": 1}", Some("id.none"), "NobodyTakes", "No jobs accepted"),
        (SET_DIAL, "{\"dial\": 1, \"volts\": 1}", Some("id.right"), "NobodyTakes", "(target: id.right)"),
        (SET_DIAL, "{\"dial\": 1, \"volts\": 1}", Some("left"), "NobodyTakes", "No jobs accepted"),
        ("DAQJobMessageStoreTabular", nowhere, None, "NobodyTakes", "No jobs accepted"),
        ("DAQJobMessageStoreTabular", "{\"keys\": [], \"data\": []}", None, "BadPayload", "`store_config`: is missing"),
    ];

    for (message_type, payload, target, class, part) in table {
        let answer = send(&site, message_type, payload, target);

        let error = &answer["error"];
        assert_eq!(error["class"], class, "{message_type} {payload}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(part), "{part}: {answer}");
    }

    let last = json!({ "dial": 2, "volts": 3.0, "note": null });
    send(&site, SET_DIAL, &last.to_string(), None);
    wait_for("the last has arrived", || lines(&site, "left").last() == Some(&last));
    assert_eq!(node.stop(), 0);
    assert_eq!(lines(&site, "left").len(), 2);
    assert!(lines(&site, "right").is_empty());
}

#[test]
fn a_stop_ends_a_job_whose_policy_says_whether_it_comes_back() {
    let source = |restart: &str, id: &str| {
        format!(
            "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 2\ndaq_job_unique_id = \"{id}\"\n\
             [store_config.csv]\nfile_path = \"{id}.csv\"\n[supervise]\nrestart = \"{restart}\"\nrestart_base_seconds = 0.1"
        )
    };
    let site = Site::new().csv().job("once", &source("on-failure", "one")).job("always", &source("always", "two"));
    let mut node = site.start();
    let picture = node.wait_ready(&["csv", "once", "always"]);
    let (csv, always) = (picture.running("csv"), picture.running("always"));
    let stop = json!({ "reason": "the shift is over" });

    send_until_taken(&site, "DAQJobMessageStop", &stop, Some("one"));
    send_until_taken(&site, "DAQJobMessageStop", &stop, Some("two"));

    node.wait_back("always", always);
    let picture = node.wait("the other is done", |picture| picture.state("once") == "exited");
    assert_eq!(picture.running("csv"), csv, "{}", picture.brief());
    assert_eq!(node.stop(), 0);
}

#[test]
fn rows_and_bytes_that_are_given_are_stored_once_where_they_say() {
    let site = Site::new().csv().job("db", SQLITE).job("raw", "daq_job_type = \"DAQJobStoreRaw\"");
    let mut node = site.start();
    node.wait_ready(&["csv", "db", "raw"]);
    let stores = json!({ "csv": { "file_path": "a.csv" }, "sqlite": { "table_name": "t" } });
    let rows = |data: Value| json!({ "store_config": stores, "tag": "hand", "keys": ["n", "word"], "data": data });
    let to = |store: &Value| json!({ "store_config": { "raw": store }, "data": "AAECqg==" });
    // Who is there is known from the first of each; only the others are counted.
    for (store, file) in [("csv", "csv"), ("sqlite", "db"), ("raw", "raw")] {
        let first = match store {
            "raw" => json!({ "store_config": { "raw": { "file_path": "first" } }, "data": "" }),
            "csv" => json!({ "store_config": { "csv": { "file_path": "first.csv" } }, "keys": ["a"], "data": [[1]] }),
            _ => json!({ "store_config": { "sqlite": { "table_name": "first" } }, "keys": ["a"], "data": [[1]] }),
        };
        let name = if store == "raw" { "DAQJobMessageStoreRaw" } else { "DAQJobMessageStoreTabular" };
        let sent = send_until_taken(&site, name, &first, None);
        assert_eq!(sent["message"], format!("{name} sent to {file}"));
    }

    let both = send(&site, "DAQJobMessageStoreTabular", &rows(json!([[1, "a"], [2, null]])).to_string(), None);
    let more = send(&site, "DAQJobMessageStoreTabular", &rows(json!([[3, "c"]])).to_string(), None);
    let raw = to(&json!({ "file_path": "a.bin", "overwrite": false }));
    let bytes = send(&site, "DAQJobMessageStoreRaw", &raw.to_string(), None);

    assert_eq!(both["jobs_notified"], 2, "{both}");
    assert_eq!(more["jobs_notified"], 2, "{more}");
    assert_eq!(bytes["jobs_notified"], 1, "{bytes}");
    wait_for("the bytes are there", || std::fs::read(site.path("out/a.bin")).is_ok_and(|bytes| bytes.len() == 4));
    wait_for("the rows are in the file", || site.csv_rows("out/a_hand.csv").len() == 4);
    assert_eq!(node.stop(), 0);
    assert_eq!(site.csv_rows("out/a_hand.csv"), [["n", "word"], ["1", "a"], ["2", ""], ["3", "c"]]);
    assert_eq!(std::fs::read(site.path("out/a.bin")).unwrap(), [0, 1, 2, 0xaa]);
    let read =
        "import sqlite3\nprint(sqlite3.connect('out/data.db').execute('SELECT * FROM t_hand ORDER BY n').fetchall())";
    assert_eq!(python(&site, read), "[(1, 'a'), (2, None), (3, 'c')]");
}

#[test]
fn a_job_that_reads_nothing_holds_up_nobody_who_gives_messages() {
    let site = two_dials();
    let mut node = site.start();
    let stopped = node.wait_ready(&["recorder", "csv", "left", "right"]).running("left");
    send_until_taken(&site, SET_DIAL, &json!({ "dial": 0, "volts": 0 }), Some("id.left"));
    send_until_taken(&site, SET_DIAL, &json!({ "dial": 0, "volts": 0 }), Some("id.right"));
    crate::harness::send(stopped, crate::harness::Signal::STOP);
    let note = "x".repeat(40_000);
    let begun = std::time::Instant::now();

    for volts in 1..=500 {
        let set = json!({ "dial": 1, "volts": volts, "note": note });
        let answer = send(&site, SET_DIAL, &set.to_string(), None);
        assert_ne!(answer["failed"], true, "{answer}");
    }

    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    wait_for("the other has all", || lines(&site, "right").len() == 501);
    crate::harness::send(stopped, crate::harness::Signal::CONT);
    assert_eq!(site.cli(&["status"]).code, 0);
}
