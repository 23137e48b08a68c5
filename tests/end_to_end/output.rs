//! What jobs say: as much as they like, and nobody suffers.

use crate::harness::{LogReader, Node, Site, memory_peak_mb};

/// The supervisor's memory stays below this whatever jobs say.
const MOST_MB: u64 = 60;

/// A job that shouts, beside one that takes data.
fn site_with_shouter(line: usize, to: &str) -> Site {
    let shout = format!("daq_job_type = \"DAQJobShout\"\nmegabytes = 100\nline = {line}\nto = \"{to}\"");
    Site::new().csv().rows(1_000_000, 10_000).job("shout", &shout)
}

fn assert_shouted(site: &Site, node: &mut Node<'_>) {
    let before = node.wait_ready(&["rows"]).edge("rows", "csv").arrived;

    node.wait("it has said all and ended", |picture| picture.state("shout") == "exited");
    node.wait("data goes on", |picture| picture.edge("rows", "csv").arrived > before + 10);

    let logs = site.cli(&["logs", "shout", "-n", "2"]);
    let last: Vec<_> = logs.out.lines().filter(|line| !line.starts_with('…')).collect();
    assert!(last[0].ends_with(" next to last words") && last[1].ends_with(" last words"), "{last:?}");
    let peak = memory_peak_mb(node.pid());
    assert!(peak < MOST_MB, "the supervisor once had {peak} MB");
}

#[test]
fn a_hundred_megabytes_in_lines_harm_nobody() {
    let site = site_with_shouter(100, "stdout");

    assert_shouted(&site, &mut site.start());
}

#[test]
fn a_hundred_megabytes_without_a_line_end_harm_nobody() {
    let site = site_with_shouter(0, "stderr");

    assert_shouted(&site, &mut site.start());
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let site = site_with_shouter(100, "stderr");

    assert_shouted(&site, &mut site.start_with("configs", LogReader::Nobody));
}

#[test]
fn long_lines_into_a_log_that_nobody_reads_fill_no_memory() {
    let site = site_with_shouter(0, "stdout");

    assert_shouted(&site, &mut site.start_with("configs", LogReader::Nobody));
}

#[test]
fn a_supervisor_whose_log_nobody_reads_ends_when_it_is_told() {
    let site = site_with_shouter(100, "stdout");
    let mut node = site.start_with("configs", LogReader::Nobody);
    node.wait("it has said all and ended", |picture| picture.state("shout") == "exited");

    assert_eq!(node.stop(), 0);

    site.wait_until_empty();
}

#[test]
fn lost_lines_are_counted_in_status() {
    let site = site_with_shouter(100, "stdout");
    let mut node = site.start_with("configs", LogReader::Nobody);

    node.wait("the loss has a number", |picture| picture.0["supervisor"]["log_lines_dropped"].as_u64() > Some(1000));
}
