//! A full disk holds data up, and loses none.

use serde_json::json;

use crate::conformance::{Backend, Bench, Csv, CsvZstd, FullDisk, Raw, Sqlite};
use crate::harness::{Node, Picture, Signal, Site, SmallDisk, send};
use crate::sql::MariaDb;

const ROWS: u64 = 20_000;

/// A store on a disk that is all but full, and a source of more than that.
struct Full<B> {
    bench: Bench<B>,
    // After the server of the bench, which has files there.
    disk: SmallDisk,
}

impl<B: Backend> Full<B> {
    fn new() -> Self {
        let FullDisk { dir, size_mb, room_kb, .. } = B::FULL_DISK;
        let site = Site::new();
        let disk = SmallDisk::mount_mb(site.path(dir), size_mb);
        let bench = Bench::new(site);
        disk.fill(room_kb);
        let full = Self { bench, disk };
        full.set_rows(ROWS);
        full
    }

    fn set_rows(&self, rows: u64) {
        let job = json!({
            "daq_job_type": "DAQJobRows", "rows": rows, "pause_us": 100, "padding": B::FULL_DISK.padding,
            "store_config": B::store_config("rows", false),
        });
        self.bench.site.write("configs/rows.toml", &toml::to_string(&job).expect("it is a table"));
    }

    /// Starts it, and waits until the disk is full.
    fn start(&self) -> (Node<'_>, Picture) {
        let mut node = self.bench.site.start();
        let picture = node.wait("it is told", |picture| picture.has_alert("cannot write, and keeps what comes"));
        (node, picture)
    }

    /// Waits until all rows are written, ends it, and asserts that each is there once, in order.
    fn finish(&self, mut node: Node<'_>) {
        node.wait("all is written", |picture| {
            picture.edge("rows", "store").arrived == ROWS && picture.figure("store", "spool_bytes") == 0.0
        });
        assert_eq!(node.stop(), 0);
        self.bench.ask(1, &["counted", &ROWS.to_string()], &[]);
    }
}

/// The source goes on; when there is room again the store does, without help.
fn the_source_goes_on_and_afterwards_every_row_is_there_once<B: Backend>() {
    let full = Full::<B>::new();
    let (mut node, picture) = full.start();

    let produced = picture.edge("rows", "store").produced;
    let held = node.wait("the source goes on", |picture| picture.edge("rows", "store").produced > produced + 500);
    assert_eq!((held.state("rows"), held.state("store")), ("ready", "ready"), "{}", held.brief());
    assert_eq!((held.restarts("rows"), held.restarts("store")), (0, 0));
    full.disk.free();

    node.wait("its end is told", |picture| picture.has_alert("writes again"));
    full.finish(node);
}

fn a_store_that_is_killed_gets_its_rows_again_and_leaves_no_torn_one<B: Backend>() {
    let full = Full::<B>::new();
    let (mut node, picture) = full.start();

    let pid = picture.running("store");
    send(pid, Signal::KILL);
    node.wait_back("store", pid);
    full.disk.free();

    full.finish(node);
}

/// Both for a backend.
macro_rules! outlives_a_full_disk {
    ($($name:ident: $backend:ty;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn the_source_goes_on_and_afterwards_every_row_is_there_once() {
                super::the_source_goes_on_and_afterwards_every_row_is_there_once::<$backend>();
            }

            #[test]
            fn a_store_that_is_killed_gets_its_rows_again_and_leaves_no_torn_one() {
                super::a_store_that_is_killed_gets_its_rows_again_and_leaves_no_torn_one::<$backend>();
            }
        }
    )*};
}

outlives_a_full_disk! {
    csv: Csv;
    csv_zstd: CsvZstd;
    raw: Raw;
    sqlite: Sqlite;
    mysql: MariaDb;
}

#[test]
fn a_full_disk_is_told_once_and_not_each_second() {
    let full = Full::<Csv>::new();
    let (mut node, first) = full.start();
    let up = first.0["supervisor"]["uptime_s"].as_f64().unwrap();

    let later = node.wait("5 s later", |picture| picture.0["supervisor"]["uptime_s"].as_f64().unwrap() > up + 5.0);

    assert!(later.alerts().len() <= 2, "{:?}", later.alerts());
}

#[test]
fn ctrl_c_while_the_disk_is_full_ends_in_time_and_the_next_start_writes_the_rows() {
    let full = Full::<Csv>::new();
    let (mut node, _) = full.start();

    node.interrupt();
    let code = node.wait_exit();

    assert_eq!(code, 1, "rows were left, so the end is not clean");
    let log = node.log();
    assert!(
        log.contains("not all could be written before the end") && log.contains("wait in the spool for the next start"),
        "{log}"
    );
    full.bench.site.wait_until_empty();
    full.disk.free();
    full.set_rows(0);
    let mut node = full.bench.site.start();
    node.wait("they are written", |picture| {
        let edge = picture.edge("rows", "store");
        picture.state("rows") == "ready" && edge.waiting == 0 && picture.figure("store", "spool_bytes") == 0.0
    });
    assert_eq!(node.stop(), 0);
    let rows = full.bench.site.csv_rows("out/rows.csv");
    let numbers: Vec<_> = rows[1..].iter().map(|row| row[0].parse::<u64>().expect("a whole row")).collect();
    assert!(numbers.len() > 100 && numbers.iter().copied().eq(0..numbers.len() as u64), "once: {:?}", numbers.last());
}
