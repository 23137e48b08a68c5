//! kill -9: of a store, of a source, of the supervisor.

use crate::harness::{Node, Picture, Signal, Site, is_suspended, send, wait_for};

/// Kills a job, sees it wait, and sees it back.
fn kill_and_await(node: &mut Node<'_>, job: &str) -> (Picture, Picture) {
    let before = node.status();
    send(before.running(job), Signal::KILL);
    let waiting = node.wait("it waits before it comes back", |picture| picture.state(job) == "backingoff");
    assert!(waiting.job(job)["restart_in_s"].as_f64().unwrap() > 0.0);
    assert!(waiting.reason(job).contains("SIGKILL"), "{}", waiting.brief());
    let after = node.wait_back(job, before.running(job));
    (before, after)
}

fn assert_came_back(before: &Picture, after: &Picture, job: &str) {
    let of = |picture: &Picture, key: &str| picture.job(job)[key].as_str().unwrap().to_owned();
    assert_eq!(of(before, "unique_id"), of(after, "unique_id"));
    assert_ne!(of(before, "instance_id"), of(after, "instance_id"));
    assert_ne!(before.pid(job), after.pid(job));
    assert_eq!((before.restarts(job), after.restarts(job)), (0, 1));
    assert!(of(after, "last_end").contains("SIGKILL"), "{}", after.job(job));
}

/// Header once, no torn row; the numbers of the rows.
fn whole_rows(site: &Site) -> Vec<u64> {
    let rows = site.csv_rows("out/rows.csv");
    assert_eq!(rows[0], ["n", "padding"]);
    rows[1..]
        .iter()
        .map(|row| row[0].parse().unwrap_or_else(|_| panic!("a torn row or a second header: {row:?}")))
        .collect()
}

#[test]
fn a_store_that_is_killed_comes_back_and_its_file_stays_right() {
    let site = Site::new().csv().rows(1_000_000, 2000);
    let mut node = site.start();
    node.wait("some rows are on the disk", |_| site.csv_rows("out/rows.csv").len() > 100);

    let (before, after) = kill_and_await(&mut node, "csv");

    assert_came_back(&before, &after, "csv");
    let so_far = site.csv_rows("out/rows.csv").len();
    node.wait("more rows", |_| site.csv_rows("out/rows.csv").len() > so_far + 100);
    node.stop();
    let numbers = whole_rows(&site);
    assert!(numbers.is_sorted_by(|a, b| a < b), "rows come once and in order");
}

#[test]
fn a_source_that_is_killed_comes_back_and_loses_nothing_that_it_had_published() {
    let site = Site::new().csv().rows(1_000_000, 2000);
    let mut node = site.start();
    node.wait("some rows arrived", |picture| picture.edge("rows", "csv").arrived > 100);

    let (before, after) = kill_and_await(&mut node, "rows");

    assert_came_back(&before, &after, "rows");
    let so_far = after.edge("rows", "csv").arrived;
    let last = node.wait("more rows", |picture| picture.edge("rows", "csv").arrived > so_far + 100);
    node.stop();
    let numbers = whole_rows(&site);
    assert_eq!(numbers.iter().filter(|&&n| n == 0).count(), 2, "each start counts from 0");
    assert!(numbers.len() as u64 >= last.edge("rows", "csv").arrived);
}

#[test]
fn what_a_killed_source_had_handed_over_is_counted_where_it_is_missing() {
    let site = Site::new().recorder().flood(1_000_000, "pause_us = 1");
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 1000);
    let pid = node.status().running("flood");

    send(pid, Signal::KILL);

    node.wait_back("flood", pid);
    assert_eq!(node.stop(), 0);
    let starts = site.records().iter().filter(|&&n| n == 0).count();
    assert_eq!(starts, 2);
}

#[test]
fn when_the_supervisor_is_killed_no_job_survives_it_and_a_second_start_works_at_once() {
    let site = Site::new().csv().recorder().rows(1_000_000, 2000).flood(1_000_000, "pause_us = 100");
    let mut node = site.start();
    let first = node.wait("data", |picture| picture.edge("rows", "csv").arrived > 10);

    node.kill();
    let mut node = site.start();

    let second = node.wait("data again", |picture| picture.edge("rows", "csv").arrived > 10);
    for job in ["csv", "recorder", "rows", "flood"] {
        let (old, new) = (first.running(job), second.running(job));
        wait_for("the jobs of the first start are gone", || site.processes().iter().all(|process| process.pid != old));
        assert_ne!(old, new);
        assert_eq!(first.job(job)["unique_id"], second.job(job)["unique_id"]);
    }
    assert_eq!(node.stop(), 0);
    site.wait_until_empty();
    whole_rows(&site);
}

#[test]
fn a_job_that_is_suspended_does_not_survive_the_supervisor() {
    let site = Site::new().csv().rows(1_000_000, 2000);
    let mut node = site.start();
    let picture = node.wait_ready(&["csv", "rows"]);
    let pid = picture.running("csv");
    send(pid, Signal::STOP);
    wait_for("it is suspended", || is_suspended(pid));

    node.kill();

    site.wait_until_empty();
}

#[test]
fn a_job_that_hears_nothing_kills_itself_and_its_children_when_the_supervisor_is_killed() {
    let site = Site::new().difficult("deaf", "deaf", "child = \"deaf\"");
    let mut node = site.start();
    node.wait_ready(&["deaf"]);
    wait_for("its child runs", || site.processes().iter().any(|process| process.name == "sleep"));

    node.kill();

    site.wait_until_empty();
}

#[test]
fn a_child_of_a_good_job_does_not_survive_the_supervisor() {
    let site = Site::new().difficult("parent", "good", "child = \"good\"");
    let mut node = site.start();
    node.wait_ready(&["parent"]);
    wait_for("its child runs", || site.processes().iter().any(|process| process.name == "sleep"));

    node.kill();

    site.wait_until_empty();
}

#[test]
fn a_second_start_clears_away_what_a_killed_supervisor_left() {
    let site = Site::new().difficult("parent", "good", "child = \"deaf\"");
    let mut node = site.start();
    let old = node.wait_ready(&["parent"]).running("parent");
    wait_for("its child runs", || site.processes().iter().any(|process| process.name == "sleep"));

    node.kill();
    let mut node = site.start();

    node.wait_ready(&["parent"]);
    wait_for("the old group is empty", || site.processes().iter().all(|process| process.group != old));
}

#[test]
fn what_had_arrived_outlives_the_supervisor_and_no_second_store_writes_into_it() {
    const PADDING: usize = 50;
    let source = format!("daq_job_type = \"DAQJobRows\"\nrows = 1000000\npause_us = 200\npadding = {PADDING}");
    let target = "[store_config.csv]\nfile_path = \"rows.csv\"";
    let site = Site::new().csv().job("rows", &format!("{source}\n{target}"));
    let mut arrived = Vec::new();
    for _ in 0..5 {
        let mut node = site.start();
        let picture = node.wait("some rows arrived", |picture| picture.edge("rows", "csv").arrived > 300);
        arrived.push(picture.edge("rows", "csv").arrived);
        node.kill();
    }

    let mut node = site.start();
    node.wait("rows again", |picture| picture.edge("rows", "csv").arrived > 300);
    assert_eq!(node.stop(), 0);

    site.wait_until_empty();
    let rows = site.csv_rows("out/rows.csv");
    let is_whole = |row: &Vec<String>| row.len() == 2 && row[0].parse::<u64>().is_ok() && row[1].len() == PADDING;
    let torn: Vec<_> = rows[1..].iter().filter(|row| !is_whole(row)).collect();
    assert!(torn.is_empty(), "{torn:?}");
    let numbers: Vec<u64> = rows[1..].iter().map(|row| row[0].parse().unwrap()).collect();
    let (rows, arrived) = (numbers.len() as u64, arrived.iter().sum::<u64>());
    assert!(rows >= arrived, "{arrived} had arrived, {rows} are in the file");
    // A store that died may have written the last rows without having said so: they come again.
    for number in 0..300 {
        let times = numbers.iter().filter(|&&other| other == number).count();
        assert!(times >= 6, "each start made row {number}, and it is there {times} times");
    }
}
