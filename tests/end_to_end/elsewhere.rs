//! Commands as other programs give them: jobs by their text, by id or type; all jobs at once; the program anew; and what is
//! written down of it.

use serde_json::{Value, json};

use crate::harness::{Node, Site, wait_for};

/// A source that ticks once a second, for a store.
const TEST: &str =
    "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n[store_config.csv]\nfile_path = \"t.csv\"\n";

fn ask(site: &Site, call: &Value) -> Value {
    let mut call = call.clone();
    call["id"] = 2.into();
    serde_json::from_str(&site.ask(&call.to_string()).unwrap()).unwrap()
}

fn run(site: &Site, config: &str, rest: &Value) -> Value {
    let mut call = json!({"do": "run", "config": config});
    rest.as_object().unwrap().iter().for_each(|(key, value)| call[key] = value.clone());
    ask(site, &call)
}

/// The commands in the audit log, and what became of them.
fn audit(site: &Site) -> Vec<(String, String)> {
    let said = site.cli(&["audit-log", "--json"]);
    let lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines.map(|line| (text(&line["call"]["do"]), text(&line["result"]))).collect()
}

fn names(node: &Node<'_>) -> Vec<String> {
    let picture = node.status();
    picture.0["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_job_that_came_as_text_is_one_of_the_supervisors_also_after_its_restart() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let answer = run(&site, &format!("daq_job_unique_id = \"run-7\"\n{TEST}"), &json!({}));
    assert_eq!((&answer["name"], &answer["failed"]), (&json!("run-7"), &Value::Null), "{answer}");
    node.wait_ready(&["run-7"]);
    wait_for("its rows arrive", || site.csv_rows("out/t.csv").len() > 2);
    let mark = node.status().running("run-7");
    crate::harness::send(mark, crate::harness::Signal::KILL);
    node.wait_back("run-7", mark);

    node.kill();
    let mut node = site.start();
    let picture = node.wait_ready(&["csv", "run-7"]);
    assert_eq!(picture.job("run-7")["unique_id"], "run-7");

    // The same id takes its place; another text without one is another job.
    let before = picture.running("run-7");
    let changed = TEST.replace("rand_max = 9", "rand_max = 99");
    let answer = run(&site, &format!("daq_job_unique_id = \"run-7\"\n{changed}"), &json!({}));
    assert_eq!(answer["name"], "run-7", "{answer}");
    node.wait_back("run-7", before);
    assert_eq!(run(&site, TEST, &json!({}))["name"], "Test");
    assert_eq!(run(&site, TEST, &json!({}))["name"], "Test_2");
    assert_eq!(run(&site, TEST, &json!({"name": "mine"}))["name"], "mine");
    assert_eq!(names(&node), ["csv", "run-7", "Test", "Test_2", "mine"]);

    let ended = ask(&site, &json!({"do": "end", "unique_id": "run-7", "remove": true}));
    assert_eq!(ended["failed"], Value::Null, "{ended}");
    node.wait("it is gone", |picture| picture.state("run-7") == "no such job");
    assert_eq!(node.stop(), 0);
    let mut node = site.start();
    node.wait_ready(&["csv", "Test", "Test_2", "mine"]);
    assert_eq!(node.status().state("run-7"), "no such job");
}

#[test]
fn a_text_that_is_wrong_changes_nothing_and_says_where() {
    let site = Site::new().csv().job("test", TEST);
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);

    let wrong = [
        ("daq_job_type = \"DAQJobTset\"\n", "DAQJobTest"),
        ("daq_job_type = ", "config"),
        ("daq_job_type = \"DAQJobTest\"\nrand_min = 1\n", "rand_max"),
        ("daq_job_unique_id = \"../../x\"\ndaq_job_type = \"DAQJobTest\"\n", "rand_max"),
    ];
    for (text, part) in wrong {
        let answer = run(&site, text, &json!({}));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(answer["error"]["class"] == "BadConfig" && message.contains(part), "{text}: {answer}");
    }
    for name in ["../x", "", "supervisor", "a b"] {
        assert_eq!(run(&site, TEST, &json!({"name": name}))["error"]["class"], "BadConfig", "{name:?}");
    }
    // A name or an id that a file of the folder has is taken.
    assert_eq!(run(&site, TEST, &json!({"name": "test"}))["error"]["class"], "BadConfig");
    assert_eq!(names(&node), ["csv", "test"]);
    let left: Vec<_> = std::fs::read_dir(site.state_dir().join("remote")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_job_that_is_not_to_come_back_does_not() {
    let site = Site::new();
    let mut node = site.start();
    node.wait("it answers", |_| true);

    let answer =
        run(&site, "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n", &json!({"restart_on_crash": false}));
    assert_eq!(answer["name"], "Difficult", "{answer}");
    let picture = node.wait_ready(&["Difficult"]);
    crate::harness::send(picture.running("Difficult"), crate::harness::Signal::KILL);

    node.wait("it stays down", |picture| matches!(picture.state("Difficult"), "exited" | "fatal"));
    assert_eq!(node.status().restarts("Difficult"), 0);
}

#[test]
fn a_job_is_ended_by_id_by_name_or_by_a_type_that_is_its_own() {
    let site = Site::new().csv().job("a", TEST).job("b", TEST);
    let mut node = site.start();
    let picture = node.wait_ready(&["csv", "a", "b"]);

    let ambiguous = ask(&site, &json!({"do": "end", "name": "DAQJobTest"}));
    assert_eq!(ambiguous["error"]["class"], "Ambiguous", "{ambiguous}");
    let id = picture.job("a")["unique_id"].clone();
    assert_eq!(ask(&site, &json!({"do": "end", "unique_id": id}))["state"], "stopped");
    assert_eq!(ask(&site, &json!({"do": "end", "unique_id": id}))["state"], "stopped", "it is where it is to be");
    assert_eq!(ask(&site, &json!({"do": "end", "name": "b", "remove": true}))["failed"], Value::Null);
    assert_eq!(node.status().state("b"), "no such job");
    assert_eq!(ask(&site, &json!({"do": "end", "name": "DAQJobStoreCSV"}))["name"], "csv");
    assert_eq!(ask(&site, &json!({"do": "end", "name": "nobody"}))["error"]["class"], "NoSuchJob");
    assert_eq!(node.status().state("a"), "stopped");
    assert_eq!(node.stop(), 0);
}

#[test]
fn all_jobs_are_restarted_but_those_that_were_stopped() {
    let site = Site::new().csv().job("a", TEST).job("b", TEST);
    let mut node = site.start();
    let before = node.wait_ready(&["csv", "a", "b"]);
    assert_eq!(site.cli(&["stop", "b"]).code, 0);

    let answer = ask(&site, &json!({"do": "restart_all"}));

    assert_eq!(answer["message"], "2 jobs restarted", "{answer}");
    let after = node.status();
    assert_eq!((after.state("csv"), after.state("a"), after.state("b")), ("ready", "ready", "stopped"));
    assert!(after.running("csv") != before.running("csv") && after.running("a") != before.running("a"));
    assert_eq!(node.stop(), 0);
}

#[test]
fn the_program_starts_anew_and_nothing_that_was_committed_is_lost() {
    let site = Site::new().csv().rows(2000, 1000);
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("rows", "csv").arrived > 100);
    let (pid, old) = (node.pid(), node.status().running("csv"));

    let refused = ask(&site, &json!({"do": "renew", "update": true}));
    assert_eq!(refused["error"]["class"], "NoUpdate", "{refused}");
    let answer = ask(&site, &json!({"do": "renew"}));
    assert_eq!(answer["message"], "restarting", "{answer}");

    let after = node.wait_back("csv", old);
    assert_eq!((node.pid(), after.0["supervisor"]["pid"].as_u64()), (pid, Some(pid.into())), "it is the same process");
    node.wait("the rows of both starts arrived", |picture| {
        let edge = picture.edge("rows", "csv");
        edge.produced == 2000 && edge.arrived == 2000
    });
    let done: Vec<_> = audit(&site).into_iter().map(|(call, _)| call).collect();
    assert_eq!(done, ["renew", "renew"]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn an_update_runs_before_the_restart_and_one_that_fails_restarts_nothing() {
    let script = "[cnc]\nupdate_command = [\"sh\", \"update.sh\"]";
    let site = Site::new().csv().supervisor(script);
    site.write("update.sh", "echo no room >&2; exit 3");
    let mut node = site.start();
    let old = node.wait_ready(&["csv"]).running("csv");

    let failed = ask(&site, &json!({"do": "renew", "update": true}));
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("no room") && message.contains("nothing is restarted"), "{failed}");
    assert_eq!(node.status().running("csv"), old);

    site.write("update.sh", "echo done > updated");
    assert_eq!(ask(&site, &json!({"do": "renew", "update": true}))["message"], "updated, and restarting");
    node.wait_back("csv", old);
    assert!(site.path("updated").is_file());
}

#[test]
fn who_changes_something_is_written_down_and_who_looks_is_not() {
    let site = Site::new().csv().job("test", TEST);
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    assert_eq!(site.cli(&["audit-log"]).out, "nobody has commanded anything yet\n");

    site.cli(&["status"]);
    site.cli(&["restart", "test"]);
    site.cli(&["restart", "tset"]);
    site.cli(&["logs"]);
    site.cli(&["stop", "test"]);

    let no_such = "there is no job `tset`; did you mean `test`?";
    let expected = [("restart", "ok"), ("restart", no_such), ("stop", "ok")];
    assert_eq!(audit(&site), expected.map(|(call, result)| (call.to_owned(), result.to_owned())));
    let said = site.cli(&["audit-log", "-n", "1"]).out;
    assert!(said.contains("uid 0 (admin, control socket pid ") && said.contains("\"stop\""), "{said}");
    assert_eq!(node.stop(), 0);
}

#[test]
fn tokens_are_made_listed_and_removed_by_name() {
    let site = Site::new();

    let made = site.cli(&["token", "add", "anna", "--role", "operator"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.out.starts_with("enrgdaq_") && made.out.trim().len() > 40, "{made:?}");
    assert!(made.err.contains("shown only now"), "{made:?}");
    let twice = site.cli(&["token", "add", "anna", "--role", "viewer"]);
    assert!(twice.code == 1 && twice.err.contains("enrgdaq token rm anna"), "{twice:?}");
    let wrong = site.cli(&["token", "add", "otto", "--role", "root"]);
    assert!(wrong.code == 2 && wrong.err.contains("viewer, operator and admin"), "{wrong:?}");
    let list = site.cli(&["token", "list"]).out;
    assert!(list.starts_with("anna ") && list.contains("operator") && !list.contains(made.out.trim()), "{list}");
    assert_eq!(site.cli(&["token", "rm", "anna"]).out, "anna: removed\n");
    assert!(site.cli(&["token", "list"]).out.contains("there are no tokens"));
}
