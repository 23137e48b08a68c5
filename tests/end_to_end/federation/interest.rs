//! What nobody at the other end wants does not cross; what somebody begins to want does.

use super::committed::{Committed, stored, wait_for_rows};
use super::place::{Place, ROWS, notary, wait_up};
use crate::harness::{Node, Signal, is_suspended, send, wait_for};

/// What a quiet link may carry: words about itself, and an alert or two.
const QUIET_BYTES: u64 = 100_000;

#[test]
fn what_nobody_at_the_hub_wants_does_not_cross() {
    const BYTES: u64 = 20_000 * 1000;
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").recorder().job("notary", &notary("limit = 10\npause_us = 10000"));
    let flood = "daq_job_type = \"DAQJobFlood\"\nmessages = 20000\nsize = 1000\nstays = true\n[store_config.recorder]";
    let leaf_site = leaf_site.job("flood", &format!("{flood}\n[supervise]\nautostart = false"));
    let (hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    Committed::by([&leaf_site]).wait_in(&hub_site, ROWS);
    assert_eq!(leaf_site.cli(&["start", "flood"]).code, 0);

    leaf.wait("the leaf's own store has all", |picture| picture.edge("flood", "recorder").arrived == 20_000);
    wait_for_rows(&hub_site, ROWS, 10);

    let (at_hub, at_leaf) = (hub.status(), leaf.status());
    let received = at_hub.link_count(leaf_site.id(), "received_bytes");
    assert!(received < QUIET_BYTES, "{received} bytes of {BYTES} crossed: {}", at_hub.link(leaf_site.id()));
    assert!(at_leaf.link_count("", "sent_bytes") < QUIET_BYTES, "{}", at_leaf.link(""));
    assert_eq!(at_leaf.link_count("", "spool_bytes"), 0, "{}", at_leaf.link(""));
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
}

#[test]
fn a_store_that_is_added_at_the_hub_has_all_rows_from_then_on() {
    let place = Place::on_loopback();
    let hub_site = place.hub("");
    let leaf_site = place.leaf("").csv().job("notary", &notary("pause_us = 300"));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for_rows(&leaf_site, ROWS, 1000);
    let before = hub.status().link_count(leaf_site.id(), "received_bytes");

    hub_site.write("configs/csv.toml", "daq_job_type = \"DAQJobStoreCSV\"");
    assert_eq!(hub_site.cli(&["reload"]).code, 0);
    hub.wait_ready(&["csv"]);
    wait_for_rows(&hub_site, ROWS, 1000);
    assert_eq!(leaf_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([&leaf_site]);
    hub.wait("the last one is there", |_| {
        let rows = hub_site.csv_rows(ROWS);
        let last = rows.last().and_then(|row| row.get(1)).and_then(|n| n.parse::<u64>().ok());
        last.is_some_and(|last| last + 1 >= committed.total())
    });

    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    let rows = hub_site.csv_rows(ROWS);
    let numbers: Vec<u64> = rows[1..].iter().map(|row| row[1].parse().unwrap()).collect();
    let all = numbers[0]..numbers[0] + numbers.len() as u64;
    assert!(numbers.iter().copied().eq(all), "a gap or a repetition among {} rows", numbers.len());
    println!("{before} bytes crossed before; of {} rows the hub has those from {} on", committed.total(), numbers[0]);
}

#[test]
fn what_is_meant_for_stores_of_its_own_supervisor_stays_there() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let local = "daq_job_type = \"DAQJobRows\"\nrows = 500\n[store_config]\ntarget_local_supervisor = true\n\
                 [store_config.csv]\nfile_path = \"local.csv\"";
    let leaf_site = place.leaf("").csv().job("local", local).job("notary", &notary("limit = 500\npause_us = 300"));
    let (hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for_rows(&hub_site, ROWS, 500);
    wait_for_rows(&leaf_site, "out/local.csv", 500);

    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    assert_eq!(stored(&hub_site, "out/local.csv"), 0);
}

#[test]
fn a_monitor_at_the_hub_that_stands_still_holds_nobody_and_has_the_newest_afterwards() {
    let place = Place::on_loopback();
    let patient = "delivery = \"latest\"\n[supervise]\nliveness_timeout_seconds = 3600";
    let monitor = format!("daq_job_type = \"DAQJobRecorder\"\npath = \"record\"\n{patient}");
    let hub_site = place.hub("ring_mb = 1\nspool_max_gb = 0.01").job("recorder", &monitor);
    let flood =
        "daq_job_type = \"DAQJobFlood\"\nmessages = 1000000000\nsize = 20000\npause_us = 500\n[store_config.recorder]";
    let leaf_site = place.leaf("window_mb = 1\nspool_max_gb = 0.01").job("flood", flood);
    let mut hub = hub_site.start();
    let pid = hub.wait_ready(&["recorder"]).running("recorder");
    let mut leaf = leaf_site.start();
    wait_up(&mut leaf, &hub_site);
    wait_for("it hears", || hub_site.recorded() > 100);

    send(pid, Signal::STOP);
    wait_for("it is suspended", || is_suspended(pid));
    let before = hub_site.recorded();
    let sent = |leaf: &Node<'_>| leaf.status().link_count("", "sent_bytes");
    let begun = sent(&leaf);
    // Far more than anything on the way has room for.
    wait_for("the link goes on", || sent(&leaf) > begun + 50_000_000);
    let picture = leaf.status();
    send(pid, Signal::CONT);
    wait_for("it hears again", || hub_site.recorded() > before + 100);

    assert!(picture.region("flood", "dead_time_s") < 1.0, "{}", picture.job("flood"));
    assert_eq!(picture.link_count("", "spool_bytes"), 0, "what is wanted as the latest is not kept");
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    let records = hub_site.records();
    assert!(records.is_sorted_by(|a, b| a < b), "none comes twice or late");
    let jump = records.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(jump > 1000, "it went on with the newest: {jump}");
}
