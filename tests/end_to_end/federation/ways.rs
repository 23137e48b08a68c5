//! Messages on other ways than from ring to ring: over the bus, to stores that are no readers of the ring, to several
//! stores at once; and nodes that have forgotten everything.

use std::fs;

use super::committed::{Committed, all_is_stored_once, wait_for_rows};
use super::place::{Place, ROWS, notary, wait_up};
use crate::harness::{Node, Site, wait_for};
use crate::stores::python;

const BY_BUS: &str = "use_shm_when_possible = false";

/// Starts a source that was not there before, once all is linked.
fn begin(leaf: &Site, job: &str) {
    leaf.write("configs/notary.toml", job);
    assert_eq!(leaf.cli(&["reload"]).code, 0);
}

#[test]
fn what_goes_over_the_bus_here_and_there_arrives_once() {
    let place = Place::on_loopback();
    let store = format!("daq_job_type = \"DAQJobStoreCSV\"\n{BY_BUS}");
    let sites: Vec<_> =
        [&store[..], "daq_job_type = \"DAQJobStoreCSV\""].map(|csv| place.hub("").job("csv", csv)).into();
    for hub_site in sites {
        let mut hub = hub_site.start();
        hub.wait_ready(&["csv"]);
        let leaf_sites = [place.leaf(""), place.leaf("")];
        let mut leaves = leaf_sites.each_ref().map(|site| site.start());
        for (leaf, site) in leaves.iter_mut().zip(&leaf_sites) {
            wait_up(leaf, &hub_site);
            wait_up(&mut hub, site);
        }
        begin(&leaf_sites[0], &notary("limit = 1000\npause_us = 500\nlength = 100"));
        begin(&leaf_sites[1], &notary(&format!("{BY_BUS}\nlimit = 1000\npause_us = 500\nlength = 100")));

        all_is_stored_once((&hub_site, hub), leaves.into(), &leaf_sites, 2000);
    }
}

#[test]
fn a_message_for_several_stores_crosses_once_and_is_in_each() {
    let place = Place::on_loopback();
    let raw = "daq_job_type = \"DAQJobStoreRaw\"";
    let hub_site = place.hub("").csv().job("db", "daq_job_type = \"DAQJobStoreSQLite\"").job("raw", raw);
    let job = notary("limit = 1000\npause_us = 300\nlength = 100") + "\n[store_config.sqlite]\ntable_name = \"rows\"";
    let leaf_site = place.leaf("").job("notary", &job);
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 1000);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);
    let writer = format!("link:{}", leaf_site.id());
    let picture = hub.wait("the database has all", |picture| {
        picture.edge(&writer, "db").arrived == 1000 && picture.edge(&writer, "db").waiting == 0
    });

    assert_eq!(picture.edge(&writer, "csv").produced, 1000, "{}", picture.brief());
    // Besides the rows only what the leaf says of itself.
    assert!((1000..1010).contains(&picture.link_count(leaf_site.id(), "received")), "{}", picture.link(leaf_site.id()));
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
    let count = "import sqlite3\nprint(*sqlite3.connect('out/data.db').execute('SELECT count(*), count(DISTINCT n) FROM rows').fetchone())";
    assert_eq!(python(&hub_site, count), "1000 1000");
}

/// Removes what a node that does not run keeps, but not what its stores have written.
fn forget(site: &Site) {
    fs::remove_dir_all(site.path("state")).unwrap();
    site.segments().iter().for_each(|segment| fs::remove_file(segment).unwrap());
}

#[test]
fn a_hub_that_has_forgotten_everything_goes_on_with_what_is_new() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("pause_us = 500\nlength = 100"));
    let (hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for_rows(&hub_site, ROWS, 500);
    assert_eq!(hub.stop(), 0);
    forget(&hub_site);

    let hub = hub_site.start();
    wait_up(&mut leaf, &hub_site);
    let rows = Committed::by([&leaf_site]).total();
    wait_for_rows(&hub_site, ROWS, rows);

    end(leaf, hub, &leaf_site, &hub_site);
}

#[test]
fn a_leaf_that_has_forgotten_everything_goes_on_with_what_is_new() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("pause_us = 500\nlength = 100"));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_for_rows(&hub_site, ROWS, 500);
    assert_eq!(leaf.stop(), 0);
    forget(&leaf_site);

    let mut leaf = leaf_site.start();
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    end(leaf, hub, &leaf_site, &hub_site);
}

fn end(leaf: Node<'_>, hub: Node<'_>, leaf_site: &Site, hub_site: &Site) {
    assert_eq!(leaf_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([leaf_site]);
    committed.wait_in(hub_site, ROWS);
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(hub_site, ROWS);
}
