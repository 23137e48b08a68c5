//! Statistics and alerts of all nodes, heard anywhere.

use std::fs;

use serde_json::Value;

use super::place::{Place, wait_up};
use crate::harness::{Site, wait_for};

/// A job that writes down what is said of all nodes, into `heard`, and raises an alert itself.
fn listener(says: &str) -> String {
    let topics = "topics_to_subscribe = [\"stats\", \"alert\"]";
    format!("daq_job_type = \"DAQJobListener\"\n{topics}\npath = \"heard\"\nsays = \"{says}\"")
}

fn heard(site: &Site) -> Vec<Value> {
    let text = fs::read_to_string(site.path("heard")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits until a node has heard this kind of message of another, with this text in it.
fn wait_heard(site: &Site, kind: &str, of: &Site, part: &str) -> Value {
    let is_it = |message: &Value| {
        let is_kind = message["type"].as_str().is_some_and(|text| text.ends_with(kind));
        is_kind && message["of"] == of.id() && message["body"].to_string().contains(part)
    };
    wait_for(&format!("{kind} of {} is heard: {part}", of.id()), || heard(site).iter().any(is_it));
    heard(site).into_iter().find(is_it).expect("it was there")
}

#[test]
fn statistics_and_alerts_of_each_node_are_heard_at_the_others() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").job("listener", &listener("the hub is here"));
    let leaf_sites = [
        place.leaf("").job("listener", &listener("leaf a is here")),
        place.leaf("").job("listener", &listener("leaf b is here")),
    ];
    let mut hub = hub_site.start();
    let [mut a, mut b] = [leaf_sites[0].start(), leaf_sites[1].start()];
    for (leaf, site) in [(&mut a, &leaf_sites[0]), (&mut b, &leaf_sites[1])] {
        wait_up(leaf, &hub_site);
        wait_up(&mut hub, site);
    }

    let all = [(&hub_site, "the hub is here"), (&leaf_sites[0], "leaf a is here"), (&leaf_sites[1], "leaf b is here")];
    let pairs = || all.into_iter().flat_map(|(to, _)| all.into_iter().map(move |of| (to, of)));
    for (to, (of, _)) in pairs() {
        let stats = wait_heard(to, "StatsReport", of, "message_in_stats");
        assert!(stats["body"].is_object(), "{stats}");
    }

    // Each raises its alert anew, now that all hear each other.
    for (site, _) in all {
        assert_eq!(site.cli(&["restart", "listener"]).code, 0);
    }

    for (to, (of, says)) in pairs().filter(|(to, (of, _))| to.id() != of.id()) {
        wait_heard(to, "Alert", of, says);
    }
    for (site, says) in &all[1..] {
        let picture = hub.wait("the hub lists the alert of its leaf", |picture| picture.has_alert(says));
        let alerts = picture.0["alerts"].as_array().unwrap().iter();
        let mut of_leaf =
            alerts.filter(|alert| alert["alert_info"]["message"].as_str().is_some_and(|text| text.contains(says)));
        assert!(of_leaf.all(|alert| alert["originated_supervisor_id"] == site.id()), "{}", picture.0["alerts"]);
    }
    assert_eq!([a.stop(), b.stop(), hub.stop()], [0, 0, 0]);
}

#[test]
fn the_hub_lists_what_a_leafs_supervisor_has_to_say() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let twice = "[supervise]\nautostart = false\nrestart_base_seconds = 0.1\nmax_restarts = 1";
    let leaf_site = place.leaf("").difficult("hopeless", "fails_in_run", twice);
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    leaf_site.cli(&["start", "hopeless"]);
    let own = leaf.wait("the leaf lists it", |picture| picture.has_alert("hopeless"));

    let picture = hub.wait("the hub lists it too", |picture| picture.has_alert("hopeless"));
    let of = |picture: &crate::harness::Picture| {
        let alerts = picture.0["alerts"].as_array().unwrap().clone();
        alerts.into_iter().find(|alert| alert["alert_info"]["message"].to_string().contains("hopeless")).unwrap()
    };
    assert_eq!(of(&picture)["alert_info"], of(&own)["alert_info"]);
    assert_eq!(of(&picture)["originated_supervisor_id"], leaf_site.id());
}
