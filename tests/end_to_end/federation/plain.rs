//! One leaf and its hub, and nothing that disturbs them.

use std::time::Instant;

use super::committed::Committed;
use super::place::{Place, ROWS, notary, wait_state, wait_up};
use crate::harness::wait_for;

#[test]
fn what_a_leaf_commits_is_in_the_hubs_store_once() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("limit = 3000\npause_us = 500"));
    let mut hub = hub_site.start();
    hub.wait_ready(&["csv"]);
    let mut leaf = leaf_site.start();

    let at_leaf = wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);
    hub.wait("the link has carried all", |picture| picture.link_count(leaf_site.id(), "received") >= 3000);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);

    assert_eq!(at_leaf.0["federation"]["role"], "leaf");
    assert_eq!(at_leaf.link("")["is_encrypted"], false);
    let last = leaf.wait("all is acknowledged, and the clocks compared", |picture| {
        picture.link_count("", "lag_messages") == 0
            && picture.link("")["clock_offset_ms"].is_f64()
            && picture.link("")["peer"] == hub_site.id()
    });
    let link = last.link("");
    assert!(link["clock_offset_ms"].as_f64().unwrap().abs() < 10_000.0, "the clock is the same: {link}");
    assert!(link["round_trip_ms"].as_f64().unwrap() >= 0.0, "{link}");
    assert!(last.link_count("", "sent") >= 3000 && last.link_count("", "sent_bytes") > 3000 * 40, "{link}");
    assert_eq!([last.link_count("", "refused"), last.link_count("", "dropped")], [0, 0], "{link}");
    let picture = hub.status();
    assert_eq!(picture.0["federation"]["role"], "hub");
    assert_eq!([picture.federation("strangers"), picture.federation("bad_frames")], [0, 0]);
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    assert_eq!(committed.total(), 3000);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_leaf_that_is_there_before_its_hub_loses_nothing() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("limit = 2000\npause_us = 100"));
    let mut leaf = leaf_site.start();
    wait_state(&mut leaf, &hub_site, "connecting");
    leaf.wait("all is committed", |_| Committed::by([&leaf_site]).total() == 2000);

    let mut hub = hub_site.start();

    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_node_without_federation_says_so() {
    let site = crate::harness::Site::new().csv();
    let mut node = site.start();

    let picture = node.wait_ready(&["csv"]);

    assert_eq!(picture.0.get("federation"), Some(&serde_json::Value::Null));
    let said = site.cli(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(status.get("federation"), Some(&serde_json::Value::Null));
}

#[test]
fn two_hundred_thousand_small_messages_arrive_in_their_order() {
    const MESSAGES: u64 = 200_000;
    let place = Place::on_loopback();
    let hub_site = place.hub("").recorder();
    let leaf_site = place.leaf("").flood(MESSAGES, "[supervise]\nautostart = false\n");
    let (hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    assert_eq!(leaf_site.cli(&["start", "flood"]).code, 0);

    let begun = Instant::now();
    wait_for("all are there", || hub_site.recorded() >= MESSAGES);

    println!("{MESSAGES} messages in {:?}", begun.elapsed());
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    assert!(hub_site.records().into_iter().eq(0..MESSAGES));
}
