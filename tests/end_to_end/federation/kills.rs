//! kill -9 of hub and leaf, and of their jobs, at any moment.

use std::time::Duration;

use super::committed::Committed;
use super::place::{Place, ROWS, notary, wait_up};
use super::{chances, number};
use crate::harness::{Node, Signal, Site, send, wait_for};
use crate::stores::python;

/// Jobs come back soon, and are not given up.
pub(super) const OFTEN: &str = "[supervise]\nrestart_base_seconds = 0.1\nrestart_max_seconds = 0.5\nmax_restarts = 0";

/// A supervisor that can be killed, and may be away for a time.
#[derive(Debug)]
pub(super) struct Mortal<'s> {
    site: &'s Site,
    node: Option<Node<'s>>,
}

impl<'s> Mortal<'s> {
    pub(super) fn start(site: &'s Site) -> Self {
        Self { site, node: Some(site.start()) }
    }

    pub(super) fn node(&mut self) -> &mut Node<'s> {
        self.node.as_mut().expect("it runs")
    }

    /// Its jobs die with it.
    pub(super) fn kill(&mut self) {
        self.node.take().expect("it runs").kill();
    }

    pub(super) fn back(&mut self) {
        self.node = Some(self.site.start());
    }

    /// Ends it as it should be: its exit code.
    pub(super) fn end(&mut self) -> i32 {
        self.node.take().expect("it runs").stop()
    }

    /// Kills one of its jobs, if that runs just now.
    pub(super) fn kill_job(&mut self, job: &str) {
        let pid = self.node().try_status().and_then(|picture| picture.pid(job));
        pid.into_iter().for_each(|pid| send(pid, Signal::KILL));
    }
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_whoever_is_killed() {
    let kills = number("ENRGDAQ_FEDERATION_KILLS", 5);
    let mut random = chances();
    let place = Place::on_loopback();
    let hub_site = place.hub(OFTEN).csv().job("db", "daq_job_type = \"DAQJobStoreSQLite\"");
    let both = notary("pause_us = 300\nlength = 300") + "\n[store_config.sqlite]\ntable_name = \"rows\"";
    let leaf_site = place.leaf(OFTEN).job("notary", &both);
    let (mut hub, mut leaf) = (Mortal::start(&hub_site), Mortal::start(&leaf_site));
    wait_up(leaf.node(), &hub_site);

    for kill in 0..kills {
        let before = Committed::by([&leaf_site]).total();
        wait_for("more is committed", || Committed::by([&leaf_site]).total() > before + 500);
        // Nothing is waited for: the moment is to be any.
        std::thread::sleep(Duration::from_millis(random.u64(0..1500)));
        let jobs = random.u8(..);
        if jobs & 1 != 0 {
            leaf.kill_job("notary");
        }
        if jobs & 2 != 0 {
            hub.kill_job("csv");
        }
        if jobs & 4 != 0 {
            hub.kill_job("db");
        }
        // Of five in a row each node dies twice at least, and once both do.
        let who = if kills < 10 { [1, 2, 3, 2, 1][usize::try_from(kill % 5).expect("small")] } else { random.u8(1..4) };
        let away = Duration::from_millis(random.u64(0..2000));
        match who {
            1 => {
                hub.kill();
                std::thread::sleep(away);
                hub.back();
            }
            2 => {
                leaf.kill();
                std::thread::sleep(away);
                leaf.back();
            }
            _ => {
                hub.kill();
                leaf.kill();
                std::thread::sleep(away);
                leaf.back();
                hub.back();
            }
        }
    }

    wait_up(leaf.node(), &hub_site);
    wait_up(hub.node(), &leaf_site);
    leaf.node().wait_ready(&["notary"]);
    assert_eq!(leaf_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);
    hub.node().wait("the database has them too", |picture| {
        picture.edge(&format!("link:{}", leaf_site.id()), "db").waiting == 0
    });
    let at_hub = hub.node().status();
    println!("{}", at_hub.0["federation"]);
    assert_eq!(at_hub.federation("bad_frames"), 0, "a leaf sends nothing bad: {}", at_hub.0["federation"]);
    assert_eq!([leaf.end(), hub.end()], [0, 0]);
    committed.check(&hub_site, ROWS);
    let of_csv: Vec<_> = hub_site.csv_rows(ROWS)[1..].iter().map(|row| format!("{} {}", row[0], row[1])).collect();
    let script = "import sqlite3\nfor row in sqlite3.connect('out/data.db').execute('SELECT instance, n FROM rows ORDER BY rowid'):\n    print(*row)";
    assert!(python(&hub_site, script).lines().eq(of_csv.iter()), "the database has other rows than the file");
    println!("{} rows, all there once", committed.total());
}
