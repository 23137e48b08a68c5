//! What else one sees of a link: the clock at its other end, and the same figures over REST.

use super::committed::Committed;
use super::place::{Place, ROWS, notary, wait_up};
use crate::clock::{shift, shifter};
use crate::harness::{LogReader, Node, Picture, Site};
use crate::rest_client::with_api;

const HOUR: i64 = 3600;

/// Starts a node whose clock can be moved.
fn start_with_clock(site: &Site) -> Node<'_> {
    let shift_file = site.path("shift").display().to_string();
    let variables = [("LD_PRELOAD", shifter(site)), ("CLOCK_SHIFT_FILE", shift_file)];
    site.start_with_env(&["--config", "configs"], &variables, LogReader::Test)
}

/// Whether a link shows that the hub's clock is so many seconds before this one, to some seconds.
fn is_ahead(picture: &Picture, seconds: i64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "some hours")]
    let expected_ms = seconds as f64 * 1e3;
    picture.link("")["clock_offset_ms"].as_f64().is_some_and(|ms| (ms - expected_ms).abs() < 20_000.0)
}

#[test]
fn the_clock_of_a_leaf_that_goes_wrong_is_seen_and_disturbs_nobody() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv().job("memory", "daq_job_type = \"DAQJobStoreMemory\"\nvoid_data = true");
    let bench = "daq_job_type = \"DAQJobBenchmark\"\npayload_size = 10\nrate_hz = 50\n[store_config.memory]";
    let leaf_site = place.leaf("").job("notary", &notary("pause_us = 2000")).job("bench", bench);
    shift(&leaf_site, -HOUR);
    let mut hub = hub_site.start();
    let mut leaf = start_with_clock(&leaf_site);

    wait_up(&mut leaf, &hub_site);
    leaf.wait("the hub's clock is seen to be ahead", |picture| is_ahead(picture, HOUR));
    let at_hub = hub.wait("the hub knows it too, and has latencies", |picture| {
        picture.link(leaf_site.id())["clock_offset_ms"].is_f64() && picture.figure("memory", "latency_us_p50") > 0.0
    });
    shift(&leaf_site, 2 * HOUR);
    leaf.wait("it has jumped", |picture| is_ahead(picture, -2 * HOUR));
    assert_eq!(leaf_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);

    let p50_us = at_hub.figure("memory", "latency_us_p50");
    assert!(p50_us < 60e6, "by one clock it is not {p50_us} µs");
    assert!(!leaf.log().contains("is silent") && !hub.log().contains("is silent"), "{}", leaf.log());
    assert_eq!(hub.status().link_state(leaf_site.id()), "up");
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_link_is_seen_over_rest_and_in_the_metrics() {
    let place = Place::on_loopback();
    let (hub_site, api) = with_api(place.hub("").csv(), "");
    let cnc = std::fs::read_to_string(hub_site.path("configs/supervisor.toml")).unwrap();
    hub_site.write("configs/supervisor.toml", &format!("{cnc}\n{}", place.of_hub("")));
    let leaf_site = place.leaf("").job("notary", &notary("limit = 100"));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    Committed::by([&leaf_site]).wait_in(&hub_site, ROWS);
    hub.wait("it is counted", |picture| picture.link_count(leaf_site.id(), "received") >= 100);

    let status = api.get("/api/v1/nodes/self/status").fine();
    let metrics = api.get("/metrics").body;

    let link = &status["federation"]["links"][0];
    assert_eq!((&link["peer"], &link["state"]), (&leaf_site.id().into(), &"up".into()), "{status}");
    let of_link = metrics.lines().filter(|line| line.contains(&format!("peer=\"{}\"", leaf_site.id())));
    assert!(of_link.clone().count() >= 10, "{metrics}");
    assert!(of_link.into_iter().any(|line| line.contains("received") && !line.ends_with(" 0")), "{metrics}");
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
}
