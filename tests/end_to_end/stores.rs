//! Stores: every committed row is there once, whoever dies and whatever hangs, as other programs read the files.

use std::process::Command;

use crate::harness::{FrozenDisk, Node, Signal, Site, said, send};

/// How often a store is killed; each time this many messages more come.
fn kills() -> u64 {
    std::env::var("ENRGDAQ_STORE_KILLS").map_or(5, |kills| kills.parse().expect("a number"))
}

/// How many that are in all.
pub(crate) fn messages_for_kills() -> u64 {
    kills() * 20_000
}

/// For a job that is killed as often as one likes: it comes back soon, and is not given up.
pub(crate) const OFTEN: &str = "[supervise]\nrestart_base_seconds = 0.2\nrestart_max_seconds = 0.5\nmax_restarts = 0";

/// Kills a job again and again while rows come.
pub(crate) fn kill_under_load(node: &mut Node<'_>, job: &str, writer: &str, messages: u64) {
    node.wait_ready(&[job, writer]);
    for _ in 0..kills() {
        let arrived = node.status().edge(writer, job).arrived;
        let picture = node.wait("some more arrived", |picture| {
            let edge = picture.edge(writer, job);
            edge.arrived > arrived + 1000 || edge.arrived == messages
        });
        let pid = picture.running(job);
        send(pid, Signal::KILL);
        node.wait_back(job, pid);
    }
    // As many as come within a deadline depend on the kills.
    for some in (0..messages).step_by(20_000) {
        node.wait("some more arrived", |picture| picture.edge(writer, job).arrived >= some);
    }
    node.wait("all arrived", |picture| {
        let edge = picture.edge(writer, job);
        edge.produced == messages && edge.waiting == 0 && edge.arrived + edge.missing >= messages
    });
}

/// What a Python script prints, run in the site's folder.
pub(crate) fn python(site: &Site, script: &str) -> String {
    let read = said(Command::new("python3").args(["-c", script]).current_dir(site.path("")));
    assert_eq!(read.code, 0, "{read:?}");
    read.out.trim().to_owned()
}

#[test]
fn of_a_csv_store_that_is_killed_under_load_every_row_is_there_once() {
    let all = messages_for_kills();
    for (name, more) in [("a.csv", ""), ("a.csv.zst", "use_zstd = true")] {
        let rows = format!("daq_job_type = \"DAQJobRows\"\nrows = {all}\npadding = 10\npause_us = 20");
        let site = Site::new()
            .supervisor(OFTEN)
            .csv()
            .job("rows", &format!("{rows}\n[store_config.csv]\nfile_path = \"a.csv\"\n{more}"));
        let mut node = site.start();
        kill_under_load(&mut node, "csv", "rows", all);
        assert_eq!(node.stop(), 0);

        let open = match more {
            "" => format!("open('out/{name}', newline='')"),
            _ => format!(
                "io.StringIO(subprocess.run(['zstd', '-dc', 'out/{name}'], stdout=-1, check=True).stdout.decode())"
            ),
        };
        let script = format!(
            "import csv, io, subprocess\nrows = list(csv.reader({open}))\n\
             print(rows[0], [int(row[0]) for row in rows[1:]] == list(range({all})), {{row[1] for row in rows[1:]}})"
        );
        assert_eq!(python(&site, &script), "['n', 'padding'] True {'xxxxxxxxxx'}", "{name}");
    }
}

#[test]
fn of_a_raw_store_that_is_killed_under_load_every_byte_is_there_once() {
    let all = messages_for_kills();
    let flood = format!("daq_job_type = \"DAQJobFlood\"\nmessages = {all}\nsize = 500\nstays = true\npause_us = 20");
    let site = Site::new().supervisor(OFTEN).job("raw", "daq_job_type = \"DAQJobStoreRaw\"").job(
        "flood",
        &format!("{flood}\n[store_config.raw]\nfile_path = \"a.bin\"\noverwrite = false\nlengths = true"),
    );
    let mut node = site.start();
    kill_under_load(&mut node, "raw", "flood", all);
    assert_eq!(node.stop(), 0);

    let script = "import struct\nbytes = open('out/a.bin', 'rb').read()\nat, numbers = 0, []\n\
                  while at < len(bytes):\n    length, number = struct.unpack_from('<IQ', bytes, at)\n    \
                  assert length == 500\n    numbers.append(number)\n    at += 4 + length\n\
                  print(numbers == list(range(len(numbers))), len(numbers), at == len(bytes))";
    assert_eq!(python(&site, script), format!("True {all} True"));
}

#[test]
fn a_disk_that_hangs_holds_up_no_source_while_the_spool_has_room() {
    let text = "daq_job_type = \"DAQJobRows\"\nrows = 10_000_000\npause_us = 500\npadding = 1000";
    let site = Site::new()
        .supervisor("[supervise]\nliveness_timeout_seconds = 3600")
        .job("csv", "daq_job_type = \"DAQJobStoreCSV\"\nout_dir = \"slow/out\"")
        .job("rows", &format!("ring_mb = 2\n{text}\n[store_config.csv]\nfile_path = \"a.csv\""));
    let disk = FrozenDisk::mount(&site.path("image"), site.path("slow"));
    disk.thaw();
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("rows", "csv").arrived > 500);
    disk.freeze();

    let sheltered =
        node.wait("more than the ring holds is in the spool", |picture| picture.figure("csv", "spool_bytes") > 6e6);

    assert!(sheltered.has_alert("cannot write, and keeps what comes"), "{:?}", sheltered.alerts());
    assert!(sheltered.region("rows", "dead_time_percent") < 1.0, "{}", sheltered.job("rows"));
    disk.thaw();
    node.wait("the spool is left, though rows still come", |picture| {
        picture.figure("csv", "spool_bytes") == 0.0 && picture.has_alert("writes again")
    });
    assert_eq!(site.cli(&["stop", "rows"]).code, 0);
    let last = node.wait("all arrived", |picture| {
        let edge = picture.edge("rows", "csv");
        edge.waiting == 0 && edge.arrived == edge.produced && picture.figure("csv", "spool_bytes") == 0.0
    });
    assert_eq!(node.stop(), 0);
    let rows = site.csv_rows("slow/out/a.csv");
    let numbers: Vec<u64> = rows[1..].iter().map(|row| row[0].parse().expect("a whole row")).collect();
    assert!(numbers.iter().copied().eq(0..last.edge("rows", "csv").produced), "{} rows", numbers.len());
}

#[test]
fn a_small_region_is_emptied_though_others_chatter_all_the_time() {
    const MESSAGES: u64 = 50_000;
    let rows = |count: u64, more: &str, file: &str| {
        format!(
            "daq_job_type = \"DAQJobRows\"\nrows = {count}\npadding = 200\n{more}\n[store_config.csv]\nfile_path = \"{file}\""
        )
    };
    let site = Site::new()
        .job("csv", "daq_job_type = \"DAQJobStoreCSV\"\nflush_interval_seconds = 3600")
        .job("chatter", &rows(10_000_000, "pause_us = 1000", "chatter.csv"))
        .job("rows", &rows(MESSAGES, "ring_mb = 2", "rows.csv"));
    let mut node = site.start();

    node.wait("all arrived", |picture| {
        let edge = picture.edge("rows", "csv");
        edge.arrived == MESSAGES && edge.waiting == 0
    });

    assert_eq!(node.stop(), 0);
    assert_eq!(site.csv_rows("out/rows.csv").len() as u64, MESSAGES + 1);
}

#[test]
fn what_can_be_stored_nowhere_is_refused_counted_and_told() {
    let long = format!("{}.csv", "x".repeat(10_000));
    let letter = |path: &str| serde_json::json!({"store": {"csv": {"file_path": path}}, "columns": [["a", ["1"]]]});
    let letters = serde_json::json!(["../x.csv", "/etc/x.csv", "link/x.csv", &long, "good.csv"].map(letter));
    let site = crate::csv_files::site_with_letters(&letters);
    std::fs::create_dir(site.path("out")).unwrap();
    std::os::unix::fs::symlink("/tmp", site.path("out/link")).unwrap();
    let mut node = site.start();

    let picture = node.wait("all are told", |picture| picture.job("csv")["stats"]["message_in_refused"] == 4);

    for part in ["must be relative", "leads out of the folder", "has at most"] {
        assert!(picture.has_alert(part), "{part}: {:?}", picture.alerts());
    }
    assert_eq!(node.stop(), 0);
    assert_eq!(site.csv_rows("out/good.csv").len(), 2);
    assert!(!std::path::Path::new("/tmp/x.csv").exists() && !site.path("x.csv").exists());
}
