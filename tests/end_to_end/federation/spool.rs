//! While the hub is away: the disk takes what it may, then the source waits; nothing is dropped.

use super::committed::Committed;
use super::place::{Place, ROWS, notary, wait_up};
use crate::harness::{Node, Picture, Signal, Site, is_suspended, send, wait_for};

/// 2 MB on the disk, and little elsewhere.
const SMALL: &str = "spool_max_gb = 0.002\nwindow_mb = 1\nring_mb = 1";
const SPOOL_MAX: u64 = 2_000_000;

/// Waits until a leaf whose hub is away takes no more.
fn wait_held(leaf: &mut Node<'_>, site: &Site) -> Picture {
    let held = leaf.wait("the source is held", |picture| {
        // It takes more as soon as there is room for a good part again.
        picture.region("notary", "dead_time_percent") > 95.0 && picture.link_count("", "spool_bytes") > SPOOL_MAX / 4
    });
    let now = Committed::by([site]).total();
    // What waits for room does so for as long as one looks.
    leaf.wait("it still is", |picture| {
        picture.region("notary", "dead_time_s") > held.region("notary", "dead_time_s") + 1.0
    });
    assert_eq!(Committed::by([site]).total(), now, "it was held all the time");
    let told = held.alerts().into_iter().filter(|alert| alert.contains("spool_max_gb")).count();
    assert!((1..10).contains(&told), "it is told, and not {told} times");
    held
}

#[test]
fn a_full_spool_holds_the_source_and_drops_nothing_also_when_the_leaf_is_killed() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let job = notary("ring_mb = 2\nlimit = 8000\nlength = 1000");
    let leaf_site = place.leaf(SMALL).job("notary", &job);
    let mut leaf = leaf_site.start();
    let held = wait_held(&mut leaf, &leaf_site);

    assert!(held.link_count("", "spool_bytes") < 2 * SPOOL_MAX, "{}", held.link(""));
    assert_eq!(held.link_count("", "dropped"), 0, "{}", held.link(""));
    assert!(held.link_count("", "lag_messages") > 100, "{}", held.link(""));
    let first = Committed::by([&leaf_site]).total();
    leaf.kill();
    let mut leaf = leaf_site.start();
    wait_held(&mut leaf, &leaf_site);
    let mut hub = hub_site.start();
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == first + 8000);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);
    leaf.wait("the spool is left", |picture| picture.link_count("", "lag_messages") == 0);

    let last = leaf.status();
    assert_eq!(last.link_count("", "dropped"), 0, "{}", last.link(""));
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_leaf_that_ends_while_its_hub_is_away_brings_the_rest_when_both_are_back() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("limit = 1500\npause_us = 100\nlength = 100"));
    let mut leaf = leaf_site.start();
    leaf.wait_ready(&["notary"]);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 1500);
    let code = leaf.stop();
    let committed = Committed::by([&leaf_site]);

    std::fs::remove_file(leaf_site.path("configs/notary.toml")).unwrap();
    let hub = hub_site.start();
    let leaf = leaf_site.start();
    committed.wait_in(&hub_site, ROWS);

    println!("the leaf ended with {code} while all waited");
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_hub_whose_store_stands_still_holds_the_leaf_in_the_end_and_drops_nothing() {
    let place = Place::on_loopback();
    let store = "daq_job_type = \"DAQJobStoreCSV\"\n[supervise]\nliveness_timeout_seconds = 3600";
    let hub_site = place.hub("ring_mb = 1").job("csv", store);
    let job = notary("ring_mb = 2\nlimit = 15000\nlength = 1000");
    let leaf_site = place.leaf(SMALL).job("notary", &job);
    let mut hub = hub_site.start();
    let pid = hub.wait_ready(&["csv"]).running("csv");
    send(pid, Signal::STOP);
    wait_for("it is suspended", || is_suspended(pid));
    let mut leaf = leaf_site.start();
    wait_up(&mut leaf, &hub_site);
    wait_held(&mut leaf, &leaf_site);

    send(pid, Signal::CONT);

    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 15_000);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);
    assert_eq!(leaf.status().link_count("", "dropped"), 0, "{}", leaf.status().link(""));
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}
