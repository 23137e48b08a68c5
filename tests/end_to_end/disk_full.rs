//! A full disk holds data up, and loses none.

use crate::harness::{Signal, Site, SmallDisk, send};

const ROWS: u64 = 20_000;

fn site_of_rows() -> Site {
    let text = format!("rows = {ROWS}\npause_us = 100\npadding = 100\n[store_config.csv]\nfile_path = \"rows.csv\"");
    Site::new().csv().job("rows", &format!("daq_job_type = \"DAQJobRows\"\n{text}"))
}

/// Header once, every row once, in order.
fn assert_all_rows(site: &Site) {
    let rows = site.csv_rows("out/rows.csv");
    let numbers: Vec<_> = rows[1..].iter().map(|row| row[0].parse::<u64>().expect("a whole row")).collect();
    assert!(numbers.iter().copied().eq(0..ROWS), "{} rows, from {:?} to {:?}", numbers.len(), rows[1], rows.last());
    assert!(rows.iter().all(|row| row.len() == 2));
}

#[test]
fn when_the_disk_is_full_the_source_goes_on_and_afterwards_every_row_is_there_once() {
    let site = site_of_rows();
    let disk = SmallDisk::mount(site.path("out"));
    disk.fill(256);
    let mut node = site.start();
    let picture = node.wait("it is told", |picture| picture.has_alert("cannot write, and keeps what comes"));

    let produced = picture.edge("rows", "csv").produced;
    let held = node.wait("the source goes on", |picture| picture.edge("rows", "csv").produced > produced + 500);
    assert_eq!((held.state("rows"), held.state("csv")), ("ready", "ready"), "{}", held.brief());
    assert_eq!((held.restarts("rows"), held.restarts("csv")), (0, 0));
    disk.free();

    node.wait("all arrived", |picture| picture.edge("rows", "csv").arrived == ROWS);
    assert_eq!(node.stop(), 0);
    assert_all_rows(&site);
}

#[test]
fn a_full_disk_is_told_once_and_not_each_second() {
    let site = site_of_rows();
    let disk = SmallDisk::mount(site.path("out"));
    disk.fill(256);
    let mut node = site.start();
    let first = node.wait("it is told", |picture| picture.has_alert("cannot write, and keeps what comes"));
    let up = first.0["supervisor"]["uptime_s"].as_f64().unwrap();

    let later = node.wait("5 s later", |picture| picture.0["supervisor"]["uptime_s"].as_f64().unwrap() > up + 5.0);

    assert!(later.alerts().len() <= 2, "{:?}", later.alerts());
}

#[test]
fn a_store_that_is_killed_while_the_disk_is_full_gets_its_rows_again_and_leaves_no_torn_one() {
    let site = site_of_rows();
    let disk = SmallDisk::mount(site.path("out"));
    disk.fill(256);
    let mut node = site.start();
    let pid = node.wait("it is told", |picture| picture.has_alert("cannot write, and keeps what comes")).running("csv");

    send(pid, Signal::KILL);
    node.wait_back("csv", pid);
    disk.free();

    node.wait("all arrived", |picture| picture.edge("rows", "csv").arrived == ROWS);
    assert_eq!(node.stop(), 0);
    assert_all_rows(&site);
}

#[test]
fn ctrl_c_while_the_disk_is_full_ends_in_time_and_the_next_start_writes_the_rows() {
    let site = site_of_rows();
    let disk = SmallDisk::mount(site.path("out"));
    disk.fill(256);
    let mut node = site.start();
    node.wait("it is told", |picture| picture.has_alert("cannot write, and keeps what comes"));

    node.interrupt();
    let code = node.wait_exit();

    assert_eq!(code, 1, "rows were left, so the end is not clean");
    let log = node.log();
    assert!(
        log.contains("not all could be written before the end") && log.contains("wait in the spool for the next start"),
        "{log}"
    );
    site.wait_until_empty();
    disk.free();
    let left = "rows = 0\npadding = 100\n[store_config.csv]\nfile_path = \"rows.csv\"";
    site.write("configs/rows.toml", &format!("daq_job_type = \"DAQJobRows\"\n{left}"));
    let mut node = site.start();
    node.wait("they are written", |picture| {
        let edge = picture.edge("rows", "csv");
        picture.state("rows") == "ready" && edge.waiting == 0 && picture.figure("csv", "spool_bytes") == 0.0
    });
    assert_eq!(node.stop(), 0);
    let rows = site.csv_rows("out/rows.csv");
    let numbers: Vec<_> = rows[1..].iter().map(|row| row[0].parse::<u64>().expect("a whole row")).collect();
    assert!(numbers.len() > 100 && numbers.iter().copied().eq(0..numbers.len() as u64), "once: {:?}", numbers.last());
}
