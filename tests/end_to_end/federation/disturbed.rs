//! A line that is cut, slow, lossy, reset, or held: the leaf goes on, and the hub has all once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::chances;
use super::committed::Committed;
use super::number;
use super::place::{Place, ROWS, XPUB, XSUB, notary, wait_state, wait_up};
use super::relay::Relay;
use crate::harness::{Lan, Node, Signal, Site, is_suspended, send, wait_for};

/// Ends the source, waits until the hub has all, ends both nodes, and looks.
fn settle(leaf: (&Site, Node<'_>), hub: (&Site, Node<'_>)) {
    assert_eq!(leaf.0.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([leaf.0]);
    committed.wait_in(hub.0, ROWS);
    assert_eq!([leaf.1.stop(), hub.1.stop()], [0, 0]);
    committed.check(hub.0, ROWS);
    println!("{} rows, all there once", committed.total());
}

/// Waits until a leaf has committed so many rows more.
fn wait_more(site: &Site, rows: u64) {
    let before = Committed::by([site]).total();
    wait_for("more is committed", || Committed::by([site]).total() >= before + rows);
}

#[test]
fn a_cable_that_is_pulled_and_put_in_again_loses_nothing() {
    let seconds = number("ENRGDAQ_FEDERATION_SECONDS", 12);
    let lan = Lan::of(2);
    let place = Place::in_lan(&lan);
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").on(lan.host(1)).job("notary", &notary("pause_us = 500\nlength = 200"));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);
    Committed::by([&leaf_site]).wait_in(&hub_site, ROWS);

    lan.unplug(lan.host(1));
    let pulled = Instant::now();
    let at_leaf = wait_state(&mut leaf, &hub_site, "down");
    let at_hub = wait_state(&mut hub, &leaf_site, "down");
    println!("both have noticed after {:?}", pulled.elapsed());
    let before = Committed::by([&leaf_site]).total();
    // Nothing is waited for: the cable is to be out for so long.
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(pulled.elapsed()));
    let meanwhile = Committed::by([&leaf_site]).total() - before;
    let lagging = leaf.status();
    lan.plug_in(lan.host(1));
    wait_up(&mut leaf, &hub_site);
    let back = wait_up(&mut hub, &leaf_site);

    assert!(meanwhile > 100, "data taking went on: {meanwhile} rows");
    assert!(lagging.link_count("", "lag_messages") >= meanwhile, "{}", lagging.link(""));
    assert!(lagging.link("")["lag_s"].as_f64().unwrap() > 1.0, "{}", lagging.link(""));
    assert!(at_leaf.alerts().iter().any(|alert| alert.contains(hub_site.id())), "{:?}", at_leaf.alerts());
    assert!(at_hub.alerts().iter().any(|alert| alert.contains(leaf_site.id())), "{:?}", at_hub.alerts());
    assert!(back.alerts().len() > at_hub.alerts().len(), "also that it is back: {:?}", back.alerts());
    settle((&leaf_site, leaf), (&hub_site, hub));
}

/// Files, sockets and the like that a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

#[test]
fn a_line_that_is_long_and_lossy_and_breaks_twenty_times_loses_nothing() {
    const RESETS: usize = 20;
    let mut random = chances();
    let lan = Lan::of(2);
    let place = Place::in_lan(&lan);
    let relay = |port: u16| {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        Relay::start(lan.host(0), target, Duration::from_millis(100))
    };
    let relays = [relay(XPUB), relay(XSUB)];
    let hub_site = place.hub("").csv();
    let leaf_site = place
        .at(relays[0].port(), relays[1].port())
        .leaf("")
        .on(lan.host(1))
        .job("notary", &notary("pause_us = 500\nlength = 500"));
    lan.lose(lan.host(1), 2.0);
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    let up = wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    let open = [hub.pid(), leaf.pid()].map(descriptors);
    let (mut broken, mut resets) = (0, 0);
    while resets < RESETS {
        // Nothing is waited for: the moment is to be any.
        std::thread::sleep(Duration::from_millis(random.u64(50..1200)));
        let both_or_one = random.usize(1..4);
        let here: u64 =
            relays.iter().enumerate().filter(|(n, _)| both_or_one & (n + 1) != 0).map(|(_, r)| r.reset_all()).sum();
        broken += here;
        resets += usize::from(here > 0);
    }
    wait_more(&leaf_site, 100);

    let open_now = [hub.pid(), leaf.pid()].map(descriptors);
    println!("descriptors before and after: {open:?}, {open_now:?}");
    assert!(open.iter().zip(&open_now).all(|(before, after)| *after < before + 20), "{open:?}, {open_now:?}");
    println!("{broken} connections broken, {} packets lost, up: {}", lan.lost(), up.link(""));
    assert!(lan.lost() > 0);
    let round_trip = leaf.wait("a round trip was measured", |picture| picture.link("")["round_trip_ms"].is_f64());
    assert!(round_trip.link("")["round_trip_ms"].as_f64().unwrap() > 190.0, "{}", round_trip.link(""));
    assert!(round_trip.link("")["clock_offset_ms"].as_f64().unwrap().abs() < 5000.0, "{}", round_trip.link(""));
    settle((&leaf_site, leaf), (&hub_site, hub));
}

#[test]
fn a_line_that_holds_everything_back_is_down_and_loses_nothing() {
    let lan = Lan::of(1);
    let place = Place::in_lan(&lan);
    let relay = |port: u16| Relay::start(lan.host(0), SocketAddr::from(([127, 0, 0, 1], port)), Duration::ZERO);
    let relays = [relay(XPUB), relay(XSUB)];
    let hub_site = place.hub("").csv();
    let leaf_site = place.at(relays[0].port(), relays[1].port()).leaf("").on(lan.host(0));
    let leaf_site = leaf_site.job("notary", &notary("pause_us = 500\nlength = 100"));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    Committed::by([&leaf_site]).wait_in(&hub_site, ROWS);

    relays.iter().for_each(Relay::pause);
    wait_state(&mut leaf, &hub_site, "down");
    wait_state(&mut hub, &leaf_site, "down");
    relays.iter().for_each(Relay::resume);
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    settle((&leaf_site, leaf), (&hub_site, hub));
}

#[test]
fn a_hub_that_is_suspended_is_down_for_its_leaf_and_comes_back() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("pause_us = 500\nlength = 100"));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    send(hub.pid(), Signal::STOP);
    wait_for("it is suspended", || is_suspended(hub.pid()));
    wait_state(&mut leaf, &hub_site, "down");
    wait_more(&leaf_site, 500);
    send(hub.pid(), Signal::CONT);
    wait_up(&mut leaf, &hub_site);

    settle((&leaf_site, leaf), (&hub_site, hub));
}

/// A leaf whose line carries a megabyte a second, with this notary.
fn over_a_narrow_line(keys: &str, until: impl Fn(&Site) -> bool) {
    let lan = Lan::of(1);
    let place = Place::in_lan(&lan);
    let relay = |port: u16| Relay::narrow(lan.host(0), SocketAddr::from(([127, 0, 0, 1], port)), 1_000_000);
    let relays = [relay(XPUB), relay(XSUB)];
    let hub_site = place.hub("").csv();
    let leaf_site = place.at(relays[0].port(), relays[1].port()).leaf("").on(lan.host(0));
    let leaf_site = leaf_site.job("notary", &notary(keys));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    wait_for("enough is committed", || until(&leaf_site));
    assert_eq!(leaf_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);

    let link = leaf.status().link("").clone();
    println!("{} connections; {link}", relays[0].accepted() + relays[1].accepted());
    assert!(!leaf.log().contains("is silent") && !hub.log().contains("is silent"), "{}\n{}", leaf.log(), hub.log());
    assert_eq!(relays.each_ref().map(Relay::accepted), [1, 1], "the connections stay: {link}");
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_line_that_is_narrower_than_the_data_is_used_and_kept() {
    // Twice what the line carries, for ten seconds.
    over_a_narrow_line("pause_us = 1000\nlength = 1000", |leaf| Committed::by([leaf]).total() > 9000);
}

#[test]
fn a_message_that_is_under_way_for_long_arrives() {
    over_a_narrow_line("ring_mb = 32\nlimit = 20\nlength = 10\nother_every = 10\nother_length = 10000000", |leaf| {
        Committed::by([leaf]).total() == 20
    });
}
