//! The ordered end, and what happens to those that do not want to end.

use crate::harness::{Node, Picture, Process, Site, wait_for};

/// The children that jobs have started.
fn children(site: &Site) -> Vec<Process> {
    site.processes().into_iter().filter(|process| process.name == "sleep").collect()
}

fn wait_for_child(node: &mut Node<'_>, site: &Site, job: &str) {
    node.wait_ready(&[job]);
    wait_for("its child runs", || !children(site).is_empty());
}

#[test]
fn a_job_that_does_not_end_is_killed_with_its_children() {
    let site = Site::new().csv().rows(1_000_000, 10_000);
    let site = site.difficult("deaf", "deaf", "child = \"deaf\"\n[supervise]\nstop_timeout_seconds = 0.5");
    let mut node = site.start();
    wait_for_child(&mut node, &site, "deaf");
    node.wait("data", |picture| picture.edge("rows", "csv").arrived > 10);

    node.interrupt();
    let code = node.wait_exit();

    assert_eq!(code, 1, "not every job ended as it should");
    assert!(site.processes().is_empty(), "the supervisor ends last: {:?}", site.processes());
    let log = node.log();
    assert!(log.contains("[deaf] sending SIGTERM") && log.contains("[deaf] sending SIGKILL"), "{log}");
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let site = Site::new().difficult("deaf", "deaf", "child = \"deaf\"\n[supervise]\nstop_timeout_seconds = 3600");
    let mut node = site.start();
    wait_for_child(&mut node, &site, "deaf");
    node.interrupt();
    let uptime = |picture: &Picture| picture.0["supervisor"]["uptime_s"].as_f64().unwrap();
    let stopping = node.wait("it is stopping", |picture| picture.0["supervisor"]["is_stopping"] == true);
    // What follows at once is the same wish.
    node.wait("a second has passed", |picture| uptime(picture) > uptime(&stopping) + 1.0);

    node.interrupt();

    assert_eq!(node.wait_exit(), 1);
    assert!(site.processes().is_empty(), "{:?}", site.processes());
}

#[test]
fn a_job_is_not_stopped_before_its_last_child_is_gone() {
    let site = Site::new().difficult("parent", "good", "child = \"deaf\"\n[supervise]\nstop_timeout_seconds = 2");
    let mut node = site.start();
    wait_for_child(&mut node, &site, "parent");
    let leader = node.status().running("parent");

    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| site.cli(&["stop", "parent"]));
        let mut was_alone = false;
        loop {
            let picture = node.status();
            let group: Vec<_> = site.processes().into_iter().filter(|process| process.group == leader).collect();
            was_alone |= !group.is_empty() && group.iter().all(|process| process.pid != leader);
            match picture.state("parent") {
                "stopped" => {
                    assert!(group.is_empty(), "{group:?}");
                    break;
                }
                state => assert!(["ready", "stopping"].contains(&state), "{state}"),
            }
        }
        let stopped = stopped.join().unwrap();
        assert_eq!((stopped.code, stopped.out.as_str()), (0, "parent: stopped\n"), "{stopped:?}");
        assert!(was_alone, "the leader ended first, or this tests nothing");
    });
}

#[test]
fn a_job_that_died_is_not_started_again_before_its_last_child_is_gone() {
    let quick = "child = \"deaf\"\n[supervise]\nrestart_base_seconds = 0.1\nstop_timeout_seconds = 1\nmax_restarts = 2";
    let site = Site::new().difficult("parent", "fails_in_run", quick);
    let mut node = site.start();

    wait_for("it is given up", || {
        let count = children(&site).len();
        assert!(count <= 1, "{count} children at a time");
        node.try_status().is_some_and(|picture| picture.state("parent") == "fatal")
    });

    assert!(children(&site).is_empty());
    node.interrupt();
    assert_eq!(node.wait_exit(), 1);
}

#[test]
fn sources_end_before_stores() {
    let site = Site::new().csv().rows(1_000_000, 1000);
    let mut node = site.start();
    node.wait("data", |picture| picture.edge("rows", "csv").arrived > 10);

    node.interrupt();
    let code = node.wait_exit();

    assert_eq!(code, 0);
    let log = node.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text} is not in {log}"));
    assert!(at("[rows] stopped") < at("[csv] stopped"), "{log}");
}

#[test]
fn sigterm_is_an_ordered_end_too() {
    let site = Site::new().csv().rows(1_000_000, 1000);
    let mut node = site.start();
    node.wait("data", |picture| picture.edge("rows", "csv").arrived > 10);

    crate::harness::send(node.pid(), crate::harness::Signal::TERM);

    assert_eq!(node.wait_exit(), 0);
    site.wait_until_empty();
}

#[test]
fn ctrl_c_while_jobs_are_still_starting_ends_all() {
    let site = Site::new().csv().rows(10, 0).difficult("hv", "hangs_in_new", "[supervise]\nstop_timeout_seconds = 1");
    let mut node = site.start();
    node.wait("it is starting", |picture| picture.state("hv") == "starting" && picture.pid("hv").is_some());

    node.interrupt();
    let code = node.wait_exit();

    assert!([0, 1].contains(&code), "{code}");
    assert!(site.processes().is_empty());
}
