//! What notaries have committed, by their own word, and whether a store has it: each row once, in its order, and no wrong byte.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::place::ROWS;
use crate::harness::{DEADLINE, Node, Site, wait_for};

/// Counts by the starts of the notaries.
#[derive(Debug, Clone)]
pub(crate) struct Committed(BTreeMap<String, u64>);

impl Committed {
    /// What the notaries of these nodes say now.
    pub(crate) fn by<'s>(sites: impl IntoIterator<Item = &'s Site>) -> Self {
        let proofs =
            sites.into_iter().flat_map(|site| fs::read_dir(site.path("proof")).into_iter().flatten().flatten());
        let read = |file: fs::DirEntry| {
            let count = fs::read(file.path()).expect("a proof can be read");
            let count = count.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
            (file.file_name().to_string_lossy().into_owned(), count)
        };
        Self(proofs.map(read).collect())
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether this start of a notary is among them.
    pub(crate) fn has(&self, instance: &str) -> bool {
        self.0.contains_key(instance)
    }

    /// Waits until a store has so many rows. Fails when for long no more come.
    pub(crate) fn wait_in(&self, site: &Site, file: &str) {
        wait_for_rows(site, file, self.total());
    }

    /// Compares with the rows of a store, after all has ended.
    pub(crate) fn check(&self, site: &Site, file: &str) {
        let rows = site.csv_rows(file);
        assert_eq!(rows[0], ["instance", "n", "text"], "{file}");
        let mut seen: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for row in &rows[1..] {
            let [instance, n, text] = &row[..] else { panic!("a row of other cells: {row:?}") };
            let right = format!("{n}.");
            assert!(
                text.bytes().zip(right.bytes().cycle()).all(|(byte, right)| byte == right),
                "a wrong byte: {row:?}"
            );
            seen.entry(instance).or_default().push(n.parse().expect("it is a number"));
        }
        for (instance, &committed) in &self.0 {
            let numbers = seen.remove(&**instance).unwrap_or_default();
            let stored = numbers.len() as u64;
            assert!(numbers.iter().copied().eq(0..stored), "of {instance}: {}", faults(&numbers));
            // What was committed when its source died had perhaps not been written down yet.
            let may_be = committed..=committed + 1;
            assert!(may_be.contains(&stored), "of {instance}: {committed} committed, {stored} stored");
        }
        assert!(seen.is_empty(), "rows from nowhere: {:?}", seen.keys());
    }
}

/// Waits until these leaves have committed so many messages and the hub has stored them; ends all, and compares.
pub(crate) fn all_is_stored_once(hub: (&Site, Node<'_>), leaves: Vec<Node<'_>>, leaf_sites: &[Site], total: u64) {
    let (hub_site, hub) = hub;
    wait_for("all is committed", || Committed::by(leaf_sites).total() == total);
    let committed = Committed::by(leaf_sites);
    committed.wait_in(hub_site, ROWS);

    leaves.into_iter().for_each(|leaf| assert_eq!(leaf.stop(), 0));
    assert_eq!(hub.stop(), 0);
    committed.check(hub_site, ROWS);
}

/// Waits until a store has so many rows. Fails when for long no more come.
pub(crate) fn wait_for_rows(site: &Site, file: &str, rows: u64) {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let now = stored(site, file);
        if now >= rows {
            return;
        }
        if now != before {
            (before, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < DEADLINE, "{file} has {now} of {rows} rows, and no more come");
        // A file is long, and is counted anew each time.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Rows in a file by now.
pub(crate) fn stored(site: &Site, file: &str) -> u64 {
    let text = fs::read(site.path(file)).unwrap_or_default();
    (text.iter().filter(|&&byte| byte == b'\n').count() as u64).saturating_sub(1)
}

/// What is wrong with numbers that should rise by one from 0 on.
fn faults(numbers: &[u64]) -> String {
    let (mut lost, mut again, mut expected) = (Vec::new(), Vec::new(), 0);
    for &n in numbers {
        if n > expected {
            lost.push(expected..n);
        } else if n < expected {
            again.push(n);
        }
        expected = expected.max(n + 1);
    }
    lost.retain(|range| !range.clone().all(|n| again.contains(&n)));
    let first: Vec<_> = again.iter().take(5).collect();
    format!("{} numbers; missing {lost:?}; {} late or again, the first {first:?}", numbers.len(), again.len())
}

#[test]
fn the_comparison_finds_every_fault() {
    let site = Site::new();
    std::fs::create_dir(site.path("proof")).unwrap();
    std::fs::write(site.path("proof/a"), 3_u64.to_le_bytes()).unwrap();
    let committed = Committed::by([&site]);
    let is_right = |rows: &str| {
        site.write("rows.csv", &format!("instance,n,text\n{rows}"));
        let check = || committed.check(&site, "rows.csv");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok()
    };

    assert!(is_right("a,0,0.0\na,1,1.\na,2,2.2\n") && is_right("a,0,\na,1,\na,2,\na,3,3\n"));
    for wrong in [
        "a,0,\na,1,\n",
        "a,0,\na,2,\n",
        "a,0,\na,1,\na,1,\na,2,\n",
        "a,0,\na,2,\na,1,\n",
        "a,0,\na,1,\na,2,\na,3,\na,4,\n",
        "a,0,\na,1,2.\na,2,\n",
        "a,0,\na,1,\na,2,\nb,0,\n",
        "",
    ] {
        assert!(!is_right(wrong), "{wrong}");
    }
}
