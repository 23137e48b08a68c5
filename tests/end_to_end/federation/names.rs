//! What nodes are called, and where they meet.

use super::committed::{Committed, all_is_stored_once};
use super::place::{Place, ROWS, notary, wait_up};
use crate::harness::{Site, wait_for};

#[test]
fn a_node_may_have_any_name() {
    let place = Place::on_loopback();
    let of_process = std::process::id();
    let hub_site = Site::new().with_id(&format!("hub.α {of_process}%")).supervisor(&place.of_hub("")).csv();
    let names = [format!("leaf 1.{of_process}/../x"), format!("leaf 1.{of_process}")];
    let leaf = |name: &String| Site::new().with_id(name).supervisor(&place.of_leaf("")).csv();
    let leaf_sites: Vec<_> =
        names.iter().map(|name| leaf(name).job("notary", &notary("limit = 500\npause_us = 300"))).collect();
    let mut hub = hub_site.start();
    let mut leaves: Vec<_> = leaf_sites.iter().map(Site::start).collect();

    for (leaf, site) in leaves.iter_mut().zip(&leaf_sites) {
        let picture = wait_up(leaf, &hub_site);
        assert_eq!(picture.link("")["peer"], hub_site.id());
        wait_up(&mut hub, site);
    }

    all_is_stored_once((&hub_site, hub), leaves, &leaf_sites, 1000);
}

#[test]
fn of_two_nodes_with_one_name_the_first_stays_and_the_other_is_told() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let job = notary("pause_us = 1000");
    let first_site = place.leaf("").job("notary", &job);
    // As on another machine: with shared memory of its own.
    let second_site = Site::new().with_id(first_site.id()).supervisor(&place.of_leaf("")).job("notary", &job);
    let second_site = second_site.in_namespace("mount -t tmpfs tmpfs /dev/shm && exec \"$@\"");
    let (mut hub, mut first) = (hub_site.start(), first_site.start());
    wait_up(&mut first, &hub_site);
    wait_up(&mut hub, &first_site);

    let mut second = second_site.start();
    hub.wait("it is turned away, and told", |picture| {
        picture.federation("strangers") > 0 && picture.has_alert("another node of that name")
    });
    wait_for("it is told there", || second.log().contains("another node of that name"));

    assert_ne!(second.wait("it answers", |_| true).link_state(""), "up");
    assert_eq!(first.status().link_state(""), "up");
    assert_eq!(first_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([&first_site]);
    committed.wait_in(&hub_site, ROWS);
    second.kill();
    assert_eq!([first.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn the_hubs_own_name_is_refused() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = Site::new().with_id(hub_site.id()).supervisor(&place.of_leaf(""));
    let leaf_site = leaf_site.in_namespace("mount -t tmpfs tmpfs /dev/shm && exec \"$@\"");
    let mut hub = hub_site.start();
    hub.wait_ready(&["csv"]);

    let leaf = leaf_site.start();

    hub.wait("it is turned away, and told", |picture| {
        picture.federation("strangers") > 0 && picture.has_alert("of the hub itself")
    });
    wait_for("it is told there", || leaf.log().contains("of the hub itself"));
    leaf.kill();
}

#[test]
fn on_one_machine_a_file_may_be_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("ipc://{}/{name}", dir.path().display());
    let urls = |of: &str| format!("{of}_xpub_url = \"{}\"\n{of}_xsub_url = \"{}\"", url("xpub"), url("xsub"));
    let hub_site = Site::new().supervisor(&format!("[federation]\nis_server = true\n{}", urls("server"))).csv();
    let leaf_site = Site::new().supervisor(&format!("[federation]\n{}", urls("remote_server")));
    let leaf_site = leaf_site.job("notary", &notary("limit = 500\npause_us = 300"));
    let (hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 500);
    let committed = Committed::by([&leaf_site]);

    committed.wait_in(&hub_site, ROWS);

    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}
