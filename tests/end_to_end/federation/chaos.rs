//! Everything at once: nodes and jobs are killed and suspended, cables pulled, connections reset, packets lost, keys taken off
//! the hub's list; in the end each of three stores has every row of both leaves once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::committed::Committed;
use super::keys::{of_hub, of_leaf};
use super::kills::{Mortal, OFTEN};
use super::place::{Place, ROWS, XPUB, XSUB, notary, wait_up};
use super::relay::Relay;
use super::{chances, number};
use crate::cnc::keygen;
use crate::harness::{Lan, SMALL_RING, Signal, Site, send};

/// The configuration of a hub that lists these.
fn listing(place: &Place, list: &[(String, String)]) -> String {
    let list: Vec<_> = list.iter().map(|(id, key)| (id.as_str(), key.clone())).collect();
    format!("{}\n{OFTEN}", of_hub(place, &list))
}

#[test]
fn whatever_happens_every_store_has_every_row_once() {
    let until = Instant::now() + Duration::from_secs(number("ENRGDAQ_FEDERATION_SECONDS", 20));
    let mut random = chances();
    let lan = Lan::of(3);
    let place = Place::in_lan(&lan);
    let relay = |port: u16| {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        Relay::start(lan.host(0), target, Duration::from_millis(20))
    };
    let relays = [relay(XPUB), relay(XSUB)];
    let place_of_a = place.at(relays[0].port(), relays[1].port());
    let small = "compress = \"zstd\"\nring_mb = 2\nwindow_mb = 1";
    let [hub_site, a_site, b_site] =
        [place.hub(""), place_of_a.leaf("").on(lan.host(1)), place.leaf("").on(lan.host(2))].map(Site::csv);
    let [hub_key, a_key, b_key] = [&hub_site, &a_site, &b_site].map(keygen);
    let list = [(a_site.id().to_owned(), a_key), (b_site.id().to_owned(), b_key)];
    let hub_site = hub_site.supervisor(&listing(&place, &list));
    let of_a = of_leaf(&place_of_a, &hub_key).replace("[federation]", &format!("[federation]\n{small}"));
    let a_site = a_site.supervisor(&format!("{of_a}\n{OFTEN}"));
    let b_site = b_site.supervisor(&format!("{}\n{OFTEN}", of_leaf(&place, &hub_key)));
    lan.lose(lan.host(2), 1.0);
    let sites = [&hub_site, &a_site, &b_site];
    let mut nodes = sites.map(Mortal::start);
    for (leaf, site) in [(1, &a_site), (2, &b_site)] {
        wait_up(nodes[leaf].node(), &hub_site);
        wait_up(nodes[0].node(), site);
        nodes[leaf].node().wait_ready(&["csv"]);
    }
    nodes[0].node().wait_ready(&["csv"]);
    for leaf in [&a_site, &b_site] {
        leaf.write(
            "configs/notary.toml",
            &notary("pause_us = 1000\nlength = 200\nother_every = 50\nother_length = 100000"),
        );
        assert_eq!(leaf.cli(&["reload"]).code, 0);
    }

    while Instant::now() < until {
        // Nothing is waited for: the moment is to be any.
        std::thread::sleep(Duration::from_millis(random.u64(20..1500)));
        let who = random.usize(..3);
        let away = Duration::from_millis(random.u64(0..3000));
        match random.u8(0..10) {
            0 => {
                nodes[who].kill();
                std::thread::sleep(away);
                nodes[who].back();
            }
            1 => {
                let code = nodes[who].end();
                println!("node {who} ended with {code}");
                std::thread::sleep(away);
                nodes[who].back();
            }
            2 => {
                let pid = nodes[who].node().pid();
                send(pid, Signal::STOP);
                std::thread::sleep(away);
                send(pid, Signal::CONT);
            }
            3 | 4 => nodes[who].kill_job("csv"),
            5 => nodes[who].kill_job("notary"),
            6 => {
                lan.unplug(lan.host(who));
                std::thread::sleep(3 * away);
                lan.plug_in(lan.host(who));
            }
            7 => {
                relays.iter().for_each(Relay::pause);
                std::thread::sleep(2 * away);
                relays.iter().for_each(Relay::resume);
            }
            8 => {
                // A leaf has another key at the hub, and then its own again.
                let mut others = list.clone();
                others[who % 2].1.clone_from(&hub_key);
                for list in [&others, &list] {
                    hub_site.write_supervisor(SMALL_RING, &listing(&place, list));
                    assert_eq!(hub_site.cli(&["reload"]).code, 0);
                    std::thread::sleep(away);
                }
            }
            _ => {
                let ends = random.usize(1..4);
                relays.iter().enumerate().filter(|(n, _)| ends & (n + 1) != 0).for_each(|(_, relay)| {
                    relay.reset_all();
                });
            }
        }
    }

    for leaf in [1, 2] {
        wait_up(nodes[leaf].node(), &hub_site);
        nodes[leaf].node().wait_ready(&["csv", "notary"]);
        assert_eq!(sites[leaf].cli(&["stop", "notary"]).code, 0);
    }
    let committed = Committed::by(sites);
    sites.into_iter().for_each(|site| committed.wait_in(site, ROWS));
    let federation = nodes[0].node().status().0["federation"].clone();
    println!("{} packets lost; {federation}", lan.lost());
    let [mut hub, mut a, mut b] = nodes;
    assert_eq!([a.end(), b.end(), hub.end()], [0, 0, 0]);
    sites.into_iter().for_each(|site| committed.check(site, ROWS));
    println!("{} rows, all there once, three times", committed.total());
}
