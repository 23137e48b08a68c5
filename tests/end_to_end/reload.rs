//! What runs follows the files, and only what has changed is touched.

use std::collections::BTreeMap;

use crate::harness::{Picture, Signal, Site, send, wait_for};

/// A source that ticks once a second, for a store.
fn source(max: u32) -> String {
    format!(
        "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = {max}\n[store_config.csv]\nfile_path = \"t.csv\"\n"
    )
}

fn write(site: &Site, job: &str, text: &str) {
    site.write(&format!("configs/{job}.toml"), text);
}

fn pids(picture: &Picture) -> BTreeMap<String, Option<u32>> {
    let jobs = picture.0["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["name"].as_str().unwrap().to_owned()).map(|name| (name.clone(), picture.pid(&name))).collect()
}

#[test]
fn of_fifty_jobs_one_that_changed_is_new_and_a_broken_file_changes_nothing() {
    let mut site = Site::new().csv();
    for n in 0..48 {
        site = site.difficult(&format!("job{n:02}"), "good", "");
    }
    let site = site.job("test", &source(9));
    let mut node = site.start();
    let before = node.wait("all 50 are ready", |picture| {
        pids(picture).len() == 50 && picture.0["jobs"].as_array().unwrap().iter().all(|job| job["state"] == "ready")
    });

    // Comments and places are nothing to a job.
    write(&site, "test", &format!("# louder\n{}", source(9)));
    let said = site.cli(&["plan"]);
    assert_eq!((said.code, said.out.as_str()), (0, "nothing has changed\n"), "{said:?}");

    write(&site, "test", &source(10));
    let said = site.cli(&["plan"]);
    assert_eq!(said.out, "~ test  restarted: rand_max\n", "{said:?}");
    assert_eq!(pids(&node.status()), pids(&before), "a plan does nothing");

    site.write("configs/job07.toml", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"godo\"\n");
    let said = site.cli(&["reload"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("configs/job07.toml:2") && said.err.contains("nothing has changed"), "{said:?}");
    assert_eq!(pids(&node.status()), pids(&before), "a fault changes nothing");

    write(&site, "job07", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n");
    let said = site.cli(&["reload"]);
    assert_eq!((said.code, said.out.as_str()), (0, "~ test  restarted: rand_max\n"), "{said:?}");
    let after = node.status();
    let differing: Vec<_> = pids(&after).into_iter().filter(|(name, pid)| before.pid(name) != *pid).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert_eq!((differing[0].0.as_str(), after.state("test")), ("test", "ready"));
    assert_eq!(node.stop(), 0);
}

#[test]
fn sighup_reloads_and_says_what_it_did() {
    let site = Site::new().csv().job("test", &source(9));
    let mut node = site.start();
    let before = node.wait_ready(&["csv", "test"]);

    write(&site, "more", &source(5));
    write(&site, "test", &format!("{}[supervise]\nrestart = \"always\"\n", source(9)));
    send(node.pid(), Signal::HUP);
    let after = node.wait_ready(&["more"]);

    assert_eq!(after.pid("test"), before.pid("test"), "the policy is the supervisor's business");
    assert!(node.log().contains("= test  goes on: supervise.restart"), "{}", node.log());
    site.write("configs/more.toml", "broken");
    send(node.pid(), Signal::HUP);
    node.wait("it says so", |picture| picture.has_alert("was not reloaded") && picture.has_alert("more.toml"));
    assert_eq!(node.status().state("more"), "ready");
}

#[test]
fn a_removed_source_leaves_what_it_published_and_a_new_store_finds_its_source() {
    let site = Site::new().recorder().flood(2000, "");
    let mut node = site.start();
    node.wait("some arrived", |_| site.recorded() > 0);

    let flood = std::fs::read_to_string(site.path("configs/flood.toml")).unwrap();
    std::fs::remove_file(site.path("configs/flood.toml")).unwrap();
    let said = site.cli(&["reload"]);
    assert_eq!((said.code, said.out.as_str()), (0, "- flood  removed\n"), "{said:?}");
    assert_eq!(node.status().state("flood"), "no such job");
    let edge = node.wait("all of it arrives", |picture| {
        let edge = picture.edge("flood", "recorder");
        edge.produced == edge.arrived && edge.waiting == 0
    });
    assert!(edge.edge("flood", "recorder").produced > 0);

    // It comes back as who it was.
    write(&site, "flood", &flood);
    assert_eq!(site.cli(&["reload"]).out, "+ flood  new\n");
    wait_for("its messages arrive", || site.records().iter().filter(|number| **number == 1999).count() > 0);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_store_that_is_removed_while_messages_wait_for_it_is_a_loss_with_a_number() {
    let site = Site::new().recorder().flood(1000, "");
    let mut node = site.start();
    node.wait("all arrived", |_| site.recorded() == 1000);
    let recorder = node.status().running("recorder");
    send(recorder, Signal::STOP);
    let restarted = site.cli(&["restart", "flood"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    node.wait("some wait", |picture| picture.edge("flood", "recorder").waiting == 1000);

    let said = site.command(&["rm", "recorder"]).spawn();
    // It cannot end as it is stopped: killed after its time.
    node.wait("it is gone", |picture| picture.state("recorder") == "no such job");
    assert!(said.unwrap().wait().unwrap().success());

    node.wait("the loss is told", |picture| picture.has_alert("1000") && picture.has_alert("recorder"));
    let edge = node.status().edge("flood", "recorder");
    assert_eq!((edge.produced, edge.arrived, edge.missing), (2000, 1000, 1000));
    assert_eq!(node.stop(), 1, "something was lost");
}

#[test]
fn a_store_that_is_changed_gets_what_came_meanwhile() {
    let site = Site::new().recorder().flood(300_000, "pause_us = 20");
    let mut node = site.start();
    node.wait("some arrived", |_| site.recorded() > 100);

    for wait in ["busy", "sleep", "busy"] {
        let text = format!("daq_job_type = \"DAQJobRecorder\"\npath = \"record\"\nwait = \"{wait}\"\n");
        site.write("configs/recorder.toml", &text);
        let said = site.cli(&["reload"]);
        assert_eq!((said.code, said.out.trim()), (0, "~ recorder  restarted: wait"), "{said:?}");
    }
    site.cli(&["stop", "flood"]);
    node.wait("all arrives", |picture| {
        let edge = picture.edge("flood", "recorder");
        edge.produced == edge.arrived && edge.produced > 0
    });

    let mut records = site.records();
    records.sort_unstable();
    records.dedup();
    assert!(records.iter().copied().eq(0..records.len() as u64), "a gap");
    assert_eq!(node.stop(), 0);
}

#[test]
fn jobs_are_added_scaled_and_removed_and_that_survives_a_restart() {
    let site = Site::new().csv().job("many", &format!("{}[supervise]\nreplicas = 2\n", source(9)));
    site.write("elsewhere/extra.toml", &source(3));
    let mut node = site.start();
    let before = node.wait_ready(&["csv", "many_00", "many_01"]);

    assert_eq!(site.cli(&["scale", "many", "3"]).out, "+ many_02  new\n");
    assert_eq!(site.cli(&["add", "elsewhere/extra.toml"]).out, "+ extra  new\n");
    assert_eq!(site.cli(&["stop", "many_00"]).code, 0);
    assert_eq!(site.cli(&["rm", "csv"]).out, "- csv  removed\n");
    let refused = site.cli(&["scale", "extra", "2"]);
    assert!(refused.code == 1 && refused.err.contains("replicas = 1"), "{refused:?}");
    assert_eq!(node.status().pid("many_01"), before.pid("many_01"));
    let plan = site.cli(&["plan"]).out;
    for part in
        ["many: 3 copies by hand", "many_00: stopped by hand", "csv: removed by hand", "extra.toml: added by hand"]
    {
        assert!(plan.contains(part), "{part} is not in {plan}");
    }
    node.stop();

    let mut node = site.start();
    let after = node.wait_ready(&["many_01", "many_02", "extra"]);
    assert_eq!((after.state("many_00"), after.state("csv")), ("stopped", "no such job"));
    assert_eq!(site.cli(&["start", "many"]).code, 0);
    assert_eq!(site.cli(&["add", "configs/csv.toml"]).out, "+ csv  new\n");
    assert_eq!(site.cli(&["rm", "extra"]).out, "- extra  removed\n");
    assert_eq!(site.cli(&["scale", "many", "1"]).out, "- many_01  removed\n- many_02  removed\n");
    node.stop();

    let mut node = site.start();
    let last = node.wait_ready(&["many_00", "csv"]);
    assert_eq!(pids(&last).len(), 2, "{}", last.brief());
}

#[test]
fn a_job_more_that_cannot_read_the_ring_gets_copies_of_what_running_sources_send() {
    let site = Site::new().flood(400_000, "pause_us = 50");
    let mut node = site.start();
    node.wait_ready(&["flood"]);

    let text = "daq_job_type = \"DAQJobRecorder\"\npath = \"record\"\nuse_shm_when_possible = false\n";
    write(&site, "recorder", text);
    assert_eq!(site.cli(&["reload"]).code, 0);

    node.wait("copies arrive", |_| site.recorded() > 10);
}

#[test]
fn a_job_of_an_included_file_can_be_removed_too() {
    let site = Site::new().supervisor_with("include = [\"more/*.toml\"]", "").csv();
    site.write("configs/more/test.toml", &source(9));
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);

    assert_eq!(site.cli(&["rm", "test"]).out, "- test  removed\n");
    assert_eq!(site.cli(&["reload"]).out.lines().next(), Some("nothing has changed"));

    assert_eq!(site.cli(&["add", "configs/more/test.toml"]).out, "+ test  new\n");
}

#[test]
fn a_signal_reaches_the_job_alone() {
    let site = Site::new().difficult("good", "good", "");
    let mut node = site.start();
    let pid = node.wait_ready(&["good"]).running("good");

    assert_eq!(site.cli(&["signal", "good", "KILL"]).out, "good: SIGKILL sent\n");
    node.wait_back("good", pid);
    let refused = site.cli(&["signal", "good", "NOSUCH"]);
    assert!(refused.code == 2 && refused.err.contains("there is no signal"), "{refused:?}");
}
