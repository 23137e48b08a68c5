//! Several leaves: no loops, no echoes, everything once everywhere; who is slow is slow alone.

use super::committed::{Committed, stored};
use super::place::{Place, ROWS, notary, wait_state, wait_up};
use crate::harness::{Node, Signal, Site, is_suspended, send, wait_for, wait_until};

/// A notary that starts when it is told.
fn waiting(keys: &str) -> String {
    notary(keys) + "\n[supervise]\nautostart = false"
}

/// A store whose process may stand still for as long as it likes.
const PATIENT: &str = "daq_job_type = \"DAQJobStoreCSV\"\n[supervise]\nliveness_timeout_seconds = 3600";

/// Waits until the hub is linked to all leaves, and they to it.
fn wait_all_up(hub: (&Site, &mut Node<'_>), leaves: &mut [(&Site, &mut Node<'_>)]) {
    for (site, node) in leaves {
        wait_up(node, hub.0);
        wait_up(hub.1, site);
    }
}

fn start_notary(site: &Site) {
    let said = site.cli(&["start", "notary"]);
    assert_eq!(said.code, 0, "{said:?}");
}

fn stop_notary(site: &Site) {
    let said = site.cli(&["stop", "notary"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn every_node_has_the_rows_of_all_nodes_once() {
    let place = Place::on_loopback();
    let job = waiting("limit = 2000\npause_us = 300\nlength = 100");
    let hub_site = place.hub("").csv().job("notary", &job);
    let leaf_sites = [place.leaf("").csv().job("notary", &job), place.leaf("").csv().job("notary", &job)];
    let [mut hub, mut a, mut b] = [hub_site.start(), leaf_sites[0].start(), leaf_sites[1].start()];
    wait_all_up((&hub_site, &mut hub), &mut [(&leaf_sites[0], &mut a), (&leaf_sites[1], &mut b)]);
    for node in [&mut hub, &mut a, &mut b] {
        node.wait_ready(&["csv"]);
    }

    let sites = [&hub_site, &leaf_sites[0], &leaf_sites[1]];
    sites.into_iter().for_each(start_notary);
    wait_for("all is committed", || Committed::by(sites).total() == 3 * 2000);
    let committed = Committed::by(sites);
    sites.into_iter().for_each(|site| committed.wait_in(site, ROWS));

    let links = [hub.status(), a.status(), b.status()].map(|picture| picture.0["federation"].clone());
    assert_eq!([a.stop(), b.stop(), hub.stop()], [0, 0, 0]);
    sites.into_iter().for_each(|site| committed.check(site, ROWS));
    for link in links.iter().flat_map(|federation| federation["links"].as_array().unwrap()) {
        assert_eq!([&link["refused"], &link["dropped"]], [0, 0], "{link}");
    }
}

#[test]
fn a_leaf_that_receives_nothing_has_its_own_rows_only() {
    let place = Place::on_loopback();
    let job = waiting("limit = 1000\npause_us = 300\nlength = 100");
    let hub_site = place.hub("").csv();
    let leaf_sites = [place.leaf("").csv().job("notary", &job), place.leaf("receive = []").csv().job("notary", &job)];
    let [mut hub, mut a, mut b] = [hub_site.start(), leaf_sites[0].start(), leaf_sites[1].start()];
    wait_all_up((&hub_site, &mut hub), &mut [(&leaf_sites[0], &mut a), (&leaf_sites[1], &mut b)]);

    leaf_sites.iter().for_each(start_notary);
    wait_for("all is committed", || Committed::by(&leaf_sites).total() == 2000);
    let committed = Committed::by(&leaf_sites);
    [&hub_site, &leaf_sites[0]].into_iter().for_each(|site| committed.wait_in(site, ROWS));
    let of_b = Committed::by([&leaf_sites[1]]);
    of_b.wait_in(&leaf_sites[1], ROWS);

    assert_eq!(b.status().link_count("", "received"), 0, "{}", b.status().link(""));
    assert_eq!([a.stop(), b.stop(), hub.stop()], [0, 0, 0]);
    committed.check(&hub_site, ROWS);
    committed.check(&leaf_sites[0], ROWS);
    of_b.check(&leaf_sites[1], ROWS);
}

#[test]
fn a_leaf_that_forwards_one_topic_only_sends_no_other() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv().job("raw", "daq_job_type = \"DAQJobStoreRaw\"");
    let leaf_site = place.leaf("forward = [\"store.DAQJobStoreCSV\"]").job("notary", &notary("limit = 1000"));
    let flood = "daq_job_type = \"DAQJobFlood\"\nmessages = 1000\nsize = 1000\nstays = true\n\
                 [store_config.raw]\nfile_path = \"flood.bin\"\noverwrite = false";
    let leaf_site = leaf_site.job("flood", flood);
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 1000);
    let committed = Committed::by([&leaf_site]);

    committed.wait_in(&hub_site, ROWS);
    hub.wait_ready(&["raw", "csv"]);

    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
    assert!(!hub_site.path("out/flood.bin").exists());
}

/// What of the slow leaf stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Still {
    Store,
    Supervisor,
}

/// Whatever it is that stands still at leaf b, the hub has the rows of leaf a as they come; in the end leaf b has them too.
fn a_slow_leaf_is_slow_alone(still: Still) {
    let place = Place::on_loopback();
    let job = waiting("pause_us = 1000\nlength = 5000");
    let hub_site = place.hub("window_mb = 1\nring_mb = 2").csv();
    let a_site = place.leaf("receive = []").job("notary", &job);
    let b_site = place.leaf("ring_mb = 2").job("csv", PATIENT);
    let [mut hub, mut a, mut b] = [hub_site.start(), a_site.start(), b_site.start()];
    wait_all_up((&hub_site, &mut hub), &mut [(&a_site, &mut a), (&b_site, &mut b)]);
    let store = b.wait_ready(&["csv"]).running("csv");
    hub.wait_ready(&["csv"]);
    start_notary(&a_site);
    Committed::by([&a_site]).wait_in(&b_site, ROWS);

    let pid = if still == Still::Store { store } else { b.pid() };
    send(pid, Signal::STOP);
    wait_for("it is suspended", || is_suspended(pid));
    let lagging = hub.wait("far more waits for leaf b than shared memory has room for", |picture| {
        picture.link_count(b_site.id(), "lag_bytes") > 20_000_000
    });
    if still == Still::Supervisor {
        wait_state(&mut hub, &b_site, "down");
    }
    let now = Committed::by([&a_site]);
    now.wait_in(&hub_site, ROWS);
    let at_b = stored(&b_site, ROWS);
    let dead_time = a.status().region("notary", "dead_time_s");

    assert!(at_b < now.total() / 2, "leaf b has {at_b} rows of {}", now.total());
    assert!(lagging.link(b_site.id())["lag_s"].as_f64().unwrap() > 1.0, "{}", lagging.link(b_site.id()));
    assert!(dead_time < 1.0, "the source was held for {dead_time} s");
    assert_eq!(a.status().link_state(""), "up");
    send(pid, Signal::CONT);
    stop_notary(&a_site);
    let committed = Committed::by([&a_site]);
    committed.wait_in(&b_site, ROWS);
    wait_state(&mut hub, &b_site, "up");
    committed.wait_in(&hub_site, ROWS);
    assert_eq!([a.stop(), b.stop(), hub.stop()], [0, 0, 0]);
    committed.check(&b_site, ROWS);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_leaf_whose_store_stands_still_holds_up_nobody_else() {
    a_slow_leaf_is_slow_alone(Still::Store);
}

#[test]
fn a_leaf_whose_supervisor_stands_still_holds_up_nobody_else() {
    a_slow_leaf_is_slow_alone(Still::Supervisor);
}

#[test]
fn a_leaf_that_never_comes_back_is_given_up_and_counted() {
    let place = Place::on_loopback();
    let hub_site = place.hub("spool_max_gb = 0.002\nring_mb = 2").csv();
    let a_site = place.leaf("receive = []").job("notary", &waiting("pause_us = 1000\nlength = 2000\nring_mb = 2"));
    let b_site = place.leaf("").csv();
    let [mut hub, mut a, mut b] = [hub_site.start(), a_site.start(), b_site.start()];
    wait_all_up((&hub_site, &mut hub), &mut [(&a_site, &mut a), (&b_site, &mut b)]);
    b.wait_ready(&["csv"]);
    start_notary(&a_site);
    Committed::by([&a_site]).wait_in(&b_site, ROWS);

    b.kill();
    let within = std::time::Duration::from_secs(180);
    let given_up = wait_until("what waits for it is given up", within, || {
        let picture = hub.status();
        let is_so = picture.link_count(b_site.id(), "dropped") > 0;
        if is_so { Ok(picture) } else { Err(picture.link(b_site.id()).to_string()) }
    });
    stop_notary(&a_site);
    let committed = Committed::by([&a_site]);
    committed.wait_in(&hub_site, ROWS);
    println!("{} {:?}", given_up.link(b_site.id()), given_up.alerts());
    assert!(given_up.has_alert(b_site.id()), "{:?}", given_up.alerts());

    // It comes again, and has all from then on.
    let before = stored(&b_site, ROWS);
    let mut b = b_site.start();
    wait_up(&mut b, &hub_site);
    b.wait_ready(&["csv"]);
    start_notary(&a_site);
    wait_for("rows of the second start are there", || stored(&b_site, ROWS) > before + 500);
    stop_notary(&a_site);
    let all = Committed::by([&a_site]);
    all.wait_in(&hub_site, ROWS);
    let last = hub.wait("nothing waits any more", |picture| picture.link_count(b_site.id(), "lag_messages") == 0);
    let lost = last.link_count(b_site.id(), "dropped");
    let edge = last.edge(&format!("link:{}", a_site.id()), &format!("link:{}", b_site.id()));
    assert_eq!([a.stop(), b.stop(), hub.stop()], [0, 0, 0]);
    all.check(&hub_site, ROWS);
    // "Produced = durable + accounted losses": of what was published while it was to have something.
    println!("{edge:?}; {lost} given up, {} at leaf b", stored(&b_site, ROWS));
    assert_eq!(edge.produced, edge.arrived + edge.missing, "{edge:?}");
    assert_eq!(edge.arrived, stored(&b_site, ROWS) + lost, "{edge:?}");
}
