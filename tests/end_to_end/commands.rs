//! What an operator types to a running supervisor.

use crate::harness::{LogReader, Site, said, wait_for};

/// A source that ticks once a second, for a store.
const TEST: &str =
    "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n[store_config.csv]\nfile_path = \"t.csv\"";

#[test]
fn a_job_is_stopped_started_and_restarted_by_its_name() {
    let site = Site::new().csv().job("test", TEST);
    let mut node = site.start();
    let first = node.wait_ready(&["csv", "test"]);

    let stopped = site.cli(&["stop", "csv"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (0, "csv: stopped\n"), "{stopped:?}");
    let picture = node.status();
    assert_eq!((picture.state("csv"), picture.pid("csv"), picture.state("test")), ("stopped", None, "ready"));
    assert!(site.processes().iter().all(|process| process.pid != first.running("csv")), "stopped means gone");

    let started = site.cli(&["start", "csv"]);
    assert_eq!((started.code, started.out.as_str()), (0, "csv: started\n"), "{started:?}");
    let second = node.status();
    assert_eq!(second.state("csv"), "ready", "it waited until the job was ready");

    let restarted = site.cli(&["restart", "csv"]);
    assert_eq!((restarted.code, restarted.out.as_str()), (0, "csv: restarted\n"), "{restarted:?}");
    let third = node.status();
    assert_eq!(third.state("csv"), "ready");
    assert_ne!(third.running("csv"), second.running("csv"));
}

#[test]
fn what_a_stores_last_start_got_is_not_missing_after_a_restart() {
    let site = Site::new().csv().rows(100, 0);
    let mut node = site.start();
    node.wait("all arrived", |picture| picture.edge("rows", "csv").arrived == 100);
    assert_eq!(site.cli(&["restart", "csv"]).code, 0);

    node.interrupt();
    let code = node.wait_exit();

    let log = node.log();
    assert!(!log.contains("did not reach"), "all had arrived: {log}");
    assert_eq!(code, 0);
    assert_eq!(site.csv_rows("out/rows.csv").len(), 101);
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_helps() {
    let site = Site::new().csv().job("test", TEST);
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let refused = |args: &[&str], text: &str| {
        let said = site.cli(args);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args:?}: {said:?}");
        assert_eq!(said.err, format!("enrgdaq: {text}\n"), "{args:?}");
    };

    refused(&["restart", "cvs"], "there is no job `cvs`; did you mean `csv`?");
    refused(&["stop", "camera"], "there is no job `camera`; `enrgdaq status` lists them");
    refused(&["logs", "tests"], "there is no job `tests`; did you mean `test`?");
    refused(&["start", "csv"], "`csv` is already running");
    assert_eq!(site.cli(&["stop", "test"]).code, 0);
    refused(&["stop", "test"], "`test` is already stopped");
}

#[test]
fn a_start_that_fails_says_why() {
    let site = Site::new().csv().difficult("hv", "refuses_config", "");
    let mut node = site.start();
    node.wait("it is fatal", |picture| picture.state("hv") == "fatal");

    let started = site.cli(&["start", "hv"]);

    assert_eq!(started.code, 1);
    assert!(started.err.starts_with("enrgdaq: `hv` is now fatal: it ended with exit code 78"), "{started:?}");
}

#[test]
fn an_operators_stop_wins_over_a_restart_that_waits() {
    let wait = "[supervise]\nrestart_base_seconds = 4\nrestart_max_seconds = 4";
    let site = Site::new().csv().job("test", TEST).difficult("hv", "fails_in_run", wait);
    let mut node = site.start();
    let waiting = node.wait("it waits", |picture| {
        picture.state("hv") == "backingoff" && picture.job("hv")["restart_in_s"].as_f64() > Some(1.0)
    });

    let stopped = site.cli(&["stop", "hv"]);

    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(node.status().state("hv"), "stopped");
    let arrived = node.status().edge("test", "csv").arrived;
    let later = node.wait("7 s later", |picture| picture.edge("test", "csv").arrived > arrived + 6);
    assert_eq!((later.state("hv"), later.restarts("hv")), ("stopped", waiting.restarts("hv")));
}

#[test]
fn a_start_does_not_wait_for_the_end_of_a_pause() {
    let wait = "[supervise]\nrestart_base_seconds = 600\nrestart_max_seconds = 600";
    let site = Site::new().difficult("hv", "fails_in_run", wait);
    let mut node = site.start();
    node.wait("it waits", |picture| picture.state("hv") == "backingoff");

    let started = site.cli(&["start", "hv"]);

    // It may have been ready for a moment before it fails again: either answer is right.
    assert!(started.code == 0 || started.err.contains("waiting to be started again"), "{started:?}");
    node.wait("it has been started again", |picture| picture.restarts("hv") == 1);
}

#[test]
fn status_shows_jobs_edges_and_alerts_to_people_and_as_json() {
    let site = Site::new().csv().job("test", TEST).difficult("hv", "refuses_config", "");
    let mut node = site.start();
    node.wait("some rows", |picture| picture.edge("test", "csv").arrived > 1 && picture.state("hv") == "fatal");

    let (text, json) = (site.cli(&["status"]), site.cli(&["status", "--json"]));

    assert_eq!((text.code, json.code), (0, 0));
    for part in [site.id(), "running, up", "csv", "ready", "test → csv", "FATAL", "exit code 78", "alert "] {
        assert!(text.out.contains(part), "{part} is not in\n{}", text.out);
    }
    assert!(!text.out.contains('\u{1b}'), "no colours in a pipe");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["supervisor"]["supervisor_id"], site.id());
    assert_eq!(json["supervisor"]["pid"], node.pid());
    assert_eq!(json["jobs"].as_array().unwrap().len(), 3);
}

#[test]
fn logs_shows_the_last_lines_of_a_job() {
    let site = Site::new().csv().difficult("hv", "refuses_config", "");
    let mut node = site.start();
    node.wait("it is fatal", |picture| picture.state("hv") == "fatal");
    wait_for("its words have come", || site.cli(&["logs", "hv"]).out.contains("channel 17 of 16"));

    let one = site.cli(&["logs", "hv", "-n", "1"]);

    assert_eq!((one.code, one.out.lines().filter(|line| !line.starts_with('…')).count()), (0, 1), "{one:?}");
    assert!(one.out.contains("ERROR"), "{one:?}");
    assert!(node.log().contains("[hv] channel 17 of 16"), "the supervisor's own log has it too: {}", node.log());
}

#[test]
fn a_supervisor_is_found_by_its_id_and_by_its_folder_from_anywhere() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    let configs = site.path("configs").display().to_string();
    let elsewhere = |args: &[&str]| said(site.command(args).current_dir("/"));

    for args in [&["--id", site.id(), "status"], &["status", "--id", site.id()], &["--config", &configs, "status"]] {
        let said = elsewhere(args);
        assert!(said.code == 0 && said.out.contains("csv"), "{args:?}: {said:?}");
    }
    assert_eq!(elsewhere(&["stop", "csv", "--id", site.id()]).code, 0);
}

#[test]
fn without_a_supervisor_a_command_says_how_to_start_one() {
    let site = Site::new().csv();

    for args in [&["status"][..], &["stop", "csv"], &["logs", "csv"], &["status", "--id", "nobody"]] {
        let said = site.cli(args);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        let id = if args.contains(&"nobody") { "nobody" } else { site.id() };
        let text = format!("enrgdaq: no supervisor `{id}` runs here; start it with: enrgdaq --config DIR\n");
        assert_eq!(said.err, text);
    }
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    node.kill();
    assert_eq!(site.cli(&["status"]).code, 1, "nor after one was killed, whose socket is still there");
}

#[test]
fn a_second_supervisor_of_the_same_id_ends_with_3_and_names_the_first() {
    let site = Site::new().csv();
    site.write("copy/supervisor.toml", &format!("[info]\nsupervisor_id = \"{}\"\n", site.id()));
    let mut node = site.start();
    let before = node.wait_ready(&["csv"]);

    for folder in ["configs", "copy"] {
        let second = site.cli(&["--config", folder]);
        assert_eq!(second.code, 3, "{second:?}");
        assert!(second.err.contains(&format!("pid {}", node.pid())), "{second:?}");
        assert!(second.err.contains(site.id()), "{second:?}");
    }

    assert_eq!(node.status().pid("csv"), before.pid("csv"), "the first goes on");
    assert_eq!(node.stop(), 0);
}

#[test]
fn supervisors_of_different_ids_run_side_by_side() {
    let site = Site::new().csv().job("test", TEST);
    site.write("other/supervisor.toml", "[info]\nsupervisor_id = \"other one/ä\"\n");
    site.write("other/store.toml", "daq_job_type = \"DAQJobStoreCSV\"\nout_dir = \"other_out\"");
    let names = |id: &str| {
        let status = site.cli(&["status", "--json", "--id", id]);
        let status: serde_json::Value = serde_json::from_str(&status.out).unwrap_or_default();
        let jobs = status["jobs"].as_array().cloned().unwrap_or_default();
        jobs.iter().filter(|job| job["state"] == "ready").map(|job| job["name"].to_string()).collect::<Vec<_>>()
    };

    let first = site.start();
    wait_for("the first is ready", || names(site.id()).len() == 2);
    let second = site.start_with("other", LogReader::Test);

    wait_for("the second is ready", || names("other one/ä") == ["\"store\""]);
    assert_eq!(names(site.id()), ["\"csv\"", "\"test\""]);
    assert_eq!((first.stop(), second.stop()), (0, 0));
    let lines = site.csv_rows("out/t.csv");
    assert!(lines.len() > 1 && !site.path("other_out/t.csv").exists(), "the one's data is not the other's: {lines:?}");
}
