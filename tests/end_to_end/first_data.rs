//! A first look: the configs of the repo as they stand.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::harness::{Node, Picture, Site, private_memory_mb};

/// The repository's configurations have one id, and its shared memory one name on this machine: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The repo's `configs/`.
fn site_of_the_repo() -> Site {
    let site = Site::of_enrgdaq().with_id("my_lab");
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    for entry in fs::read_dir(configs).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, site.path("configs").join(path.file_name().unwrap())).unwrap();
        }
    }
    site
}

/// The file that the job `test` writes: with today's date, whichever day it is.
fn dated(site: &Site) -> String {
    let names = fs::read_dir(site.path("out")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: Vec<_> = names.filter(|name| name.ends_with("_test.csv")).collect();
    assert_eq!(found.len(), 1, "{found:?}; at midnight there may be two: run it again");
    format!("out/{}", found[0])
}

/// Ctrl-C, and the last picture before the end.
fn stop_and_watch(mut node: Node<'_>) -> (Picture, i32) {
    let mut last = node.status();
    node.interrupt();
    while let Some(picture) = node.try_status() {
        last = picture;
    }
    (last, node.wait_exit())
}

/// One row a second: the steps between timestamps are one second, give or take a loaded machine.
fn assert_even_beat(rows: &[Vec<String>]) {
    let stamps: Vec<i64> = rows[1..].iter().map(|row| row[0].parse().unwrap()).collect();
    let mut steps: Vec<i64> = stamps.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let (mean, median) = ((stamps[stamps.len() - 1] - stamps[0]) / (stamps.len() as i64 - 1), steps[steps.len() / 2]);
    assert!((900..1600).contains(&mean) && (800..1300).contains(&median), "{steps:?}");
}

#[test]
fn the_configs_of_the_repo_take_right_data_and_end_with_every_row_in_its_file() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = site_of_the_repo();
    let host = "out/host_my_lab.csv";
    let mut node = site.start();
    node.wait_ready(&["csv", "host", "test"]);
    node.wait("eight rows each", |_| {
        let is_there = site.path("out").exists() && site.path(host).exists();
        is_there && site.csv_rows(host).len() > 8 && site.csv_rows(&dated(&site)).len() > 8
    });

    let (last, code) = stop_and_watch(node);

    assert_eq!(code, 0);
    site.wait_until_empty();
    let (host, test) = (site.csv_rows(host), site.csv_rows(&dated(&site)));
    assert_eq!(host[0], ["timestamp", "cpu", "memory", "disk"]);
    assert_eq!(test[0], ["timestamp", "A", "B", "C"]);
    for (name, rows) in [("host", &host), ("test", &test)] {
        assert_eq!(rows.iter().filter(|row| row[0] == "timestamp").count(), 1, "the header of {name}");
        assert!(rows.iter().all(|row| row.len() == 4), "{rows:?}");
        assert_even_beat(rows);
        // One more may have come between the last picture and the end.
        let (edge, stored) = (last.edge(name, "csv"), rows.len() as u64 - 1);
        assert!((edge.produced..=edge.produced + 1).contains(&stored), "{stored} rows of {name}: {edge:?}");
    }
    let percent = |cell: &String| (0.0..=100.0).contains(&cell.parse::<f64>().unwrap());
    assert!(host[1..].iter().all(|row| row[1..].iter().all(percent)), "{host:?}");
    assert!(host[1..].iter().all(|row| row[2].parse::<f64>().unwrap() > 0.1), "some memory is in use: {host:?}");
    let random = |cell: &String| (1..=100).contains(&cell.parse::<i64>().unwrap());
    assert!(test[1..].iter().all(|row| row[1..].iter().all(random)), "{test:?}");
}

#[test]
fn an_idle_deployment_is_small() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = site_of_the_repo();
    let mut node = site.start();

    let picture = node.wait("three reports of each job", |picture| {
        ["csv", "host", "test"].iter().all(|job| picture.job(job)["uptime_s"].as_f64().is_some_and(|up| up > 3.0))
    });

    let supervisor = picture.0["supervisor"]["rss_mb"].as_f64().unwrap();
    assert!((0.5..30.0).contains(&supervisor), "{supervisor} MB");
    for job in ["csv", "host", "test"] {
        let rss = picture.job(job)["stats"]["resource_stats"]["rss_mb"].as_f64().unwrap();
        assert!((0.5..30.0).contains(&rss), "{job}: {rss} MB");
        let private = private_memory_mb(picture.running(job));
        assert!(private < 6, "{job}: {private} MB of its own");
    }
}
