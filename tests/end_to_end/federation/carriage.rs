//! How messages go: made smaller, and larger than anything on the way has room for.

use super::committed::{Committed, wait_for_rows};
use super::place::{Place, ROWS, notary, wait_up};
use crate::harness::wait_for;

#[test]
fn with_zstd_the_same_rows_take_fewer_bytes() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let job = notary("limit = 1000\npause_us = 300\nlength = 3000");
    let leaf_sites = [place.leaf("compress = \"zstd\"").job("notary", &job), place.leaf("").job("notary", &job)];
    let (hub, [mut small, mut large]) = (hub_site.start(), [leaf_sites[0].start(), leaf_sites[1].start()]);
    wait_up(&mut small, &hub_site);
    wait_up(&mut large, &hub_site);
    wait_for("all is committed", || Committed::by(&leaf_sites).total() == 2000);
    let committed = Committed::by(&leaf_sites);

    committed.wait_in(&hub_site, ROWS);
    for leaf in [&mut small, &mut large] {
        leaf.wait("all is acknowledged", |picture| picture.link_count("", "lag_messages") == 0);
    }

    let [a, b] = [&small, &large].map(|leaf| leaf.status().link_count("", "sent_bytes"));
    println!("{a} bytes instead of {b}");
    assert!(3 * a < b, "{a} bytes instead of {b}");
    assert_eq!([small.stop(), large.stop(), hub.stop()], [0, 0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn messages_larger_than_the_hubs_memory_for_a_link_arrive_once_and_in_their_order() {
    let place = Place::on_loopback();
    let hub_site = place.hub("ring_mb = 1").csv();
    // Each tenth is larger than the ring of the link, its window, and what ZeroMQ sends at once.
    let job = notary("ring_mb = 32\nlimit = 300\nlength = 100\nother_every = 10\nother_length = 3000000");
    let leaf_site = place.leaf("window_mb = 1").job("notary", &job);
    let (hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 300);
    let committed = Committed::by([&leaf_site]);

    committed.wait_in(&hub_site, ROWS);

    let last = leaf.wait("all is acknowledged", |picture| picture.link_count("", "lag_messages") == 0);
    assert_eq!([last.link_count("", "refused"), last.link_count("", "dropped")], [0, 0], "{}", last.link(""));
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn large_messages_go_through_a_small_spool_too() {
    let place = Place::on_loopback();
    let hub_site = place.hub("ring_mb = 1").csv();
    let job = notary("ring_mb = 16\nlimit = 60\nlength = 100\nother_every = 3\nother_length = 1500000");
    // Less than one of them.
    let leaf_site = place.leaf("window_mb = 1\nspool_max_gb = 0.001").job("notary", &job);
    let mut leaf = leaf_site.start();
    leaf.wait("the source is held, or ready", |_| Committed::by([&leaf_site]).total() >= 5);
    let hub = hub_site.start();
    wait_up(&mut leaf, &hub_site);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 60);
    let committed = Committed::by([&leaf_site]);

    committed.wait_in(&hub_site, ROWS);

    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_message_that_is_too_large_for_links_is_counted_and_told_and_the_others_arrive() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    // The first has more than 256 MiB.
    let job = notary("ring_mb = 700\nlimit = 50\nlength = 100\nother_every = 100\nother_length = 270000000");
    let leaf_site = place.leaf("").job("notary", &job);
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    wait_for_rows(&hub_site, ROWS, 49);
    let last = leaf.wait("nothing waits any more", |picture| {
        picture.link_count("", "lag_messages") == 0 && Committed::by([&leaf_site]).total() == 50
    });

    let at_hub = hub.status();
    let lost = [last.link_count("", "dropped"), at_hub.link_count(leaf_site.id(), "refused")];
    assert_eq!(lost.iter().sum::<u64>(), 1, "{} {}", last.link(""), at_hub.link(leaf_site.id()));
    assert!(last.has_alert("MiB") || at_hub.has_alert("MiB"), "{:?} {:?}", last.alerts(), at_hub.alerts());
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    let numbers: Vec<_> = hub_site.csv_rows(ROWS)[1..].iter().map(|row| row[1].parse::<u64>().unwrap()).collect();
    assert!(numbers.into_iter().eq(1..50));
}
