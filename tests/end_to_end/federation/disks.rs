//! Disks on which what waits for the hub is full, or damaged.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::committed::Committed;
use super::place::{Place, ROWS, notary, wait_up};
use crate::harness::{Site, SmallDisk, wait_for};

#[test]
fn a_leaf_whose_disk_is_full_holds_its_source_and_goes_on_by_itself() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("ring_mb = 2\nlimit = 12000\nlength = 1000"));
    let _disk = SmallDisk::mount_mb(leaf_site.path("state"), 8);
    let mut leaf = leaf_site.start();

    let held = leaf.wait("the source is held", |picture| picture.region("notary", "dead_time_percent") > 95.0);
    assert!(held.link_count("", "spool_bytes") > 2_000_000, "{}", held.link(""));
    leaf.wait("it is told", |picture| {
        picture.alerts().iter().any(|alert| alert.contains("space") || alert.contains("disk"))
    });
    let mut hub = hub_site.start();
    wait_up(&mut hub, &leaf_site);
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 12_000);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);

    assert_eq!(leaf.status().link_count("", "dropped"), 0, "{}", leaf.status().link(""));
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

/// The largest file in which something waits.
fn spool_file(site: &Site) -> PathBuf {
    let links = fs::read_dir(site.state_dir().join("federation")).unwrap().flatten();
    let files = links.flat_map(|link| fs::read_dir(link.path().join("spool")).into_iter().flatten().flatten());
    files.max_by_key(|file| file.metadata().unwrap().len()).expect("something waits").path()
}

#[test]
fn what_was_changed_on_the_disk_is_told_and_counted_and_all_else_arrives() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("limit = 3000\nlength = 1000"));
    let mut leaf = leaf_site.start();
    wait_for("all is committed", || Committed::by([&leaf_site]).total() == 3000);
    leaf.wait("all waits on the disk", |picture| picture.link_count("", "spool_bytes") > 4_000_000);
    leaf.kill();
    let before = Committed::by([&leaf_site]);

    let path = spool_file(&leaf_site);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let (middle, mut byte) = (file.metadata().unwrap().len() / 2, [0]);
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], middle).unwrap();
    let mut leaf = leaf_site.start();
    let mut hub = hub_site.start();
    wait_up(&mut leaf, &hub_site);
    wait_for("the second start has committed all too", || Committed::by([&leaf_site]).total() == 6000);
    hub.wait_ready(&["csv"]);
    let last = leaf.wait("nothing waits any more", |picture| {
        picture.link_count("", "lag_messages") == 0 && Committed::by([&leaf_site]).total() == 6000
    });

    println!("{} {:?}", last.link(""), last.alerts());
    assert!(
        leaf.log().contains("ERROR") && last.alerts().iter().any(|alert| alert.contains("bytes")),
        "{:?}",
        last.alerts()
    );
    assert!(
        path.with_extension("unreadable").exists(),
        "{:?}",
        fs::read_dir(path.parent().unwrap()).unwrap().collect::<Vec<_>>()
    );
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    let rows = hub_site.csv_rows(ROWS);
    let (old, new): (Vec<_>, Vec<_>) = rows[1..].iter().partition(|row| before.has(&row[0]));
    let numbers = |rows: &[&Vec<String>]| rows.iter().map(|row| row[1].parse().unwrap()).collect::<Vec<u64>>();
    assert_eq!(numbers(&new), (0..3000).collect::<Vec<_>>());
    let old = numbers(&old);
    assert!(old.is_sorted_by(|a, b| a < b), "none comes twice, none too late");
    assert!((1000..3000).contains(&old.len()), "{} of 3000", old.len());
    println!("{} of 3000 rows before the damage arrived", old.len());
}
