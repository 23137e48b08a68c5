//! Payloads in shared memory: who dies loses nothing, who is slow harms no stranger, and what is left is delivered later.

use std::time::{Duration, Instant};

use crate::harness::{
    DEADLINE, Edge, LogReader, Node, Picture, Signal, Site, is_suspended, send, wait_for, wait_until,
};

/// Jobs that are stopped by a test are not to be restarted for their silence.
const PATIENT: &str = "[supervise]\nliveness_timeout_seconds = 3600";

const FLOOD: &str = "daq_job_type = \"DAQJobFlood\"\nmessages = 100000000\nsize = 1000\nstays = true";
const RECORDER: &str = "daq_job_type = \"DAQJobRecorder\"";
const STORED: &str = "[store_config.recorder]";

fn suspend(node: &mut Node<'_>, job: &str) -> u32 {
    let pid = node.status().running(job);
    send(pid, Signal::STOP);
    wait_for("it is suspended", || is_suspended(pid));
    pid
}

/// Waits until a writer has no room; gives how much it produced.
fn wait_until_held(node: &Node<'_>, writer: &str, reader: &str) -> u64 {
    let (mut held, mut since) = (0, Instant::now());
    wait_until("the writer waits", DEADLINE, || {
        let produced = node.status().edge(writer, reader).produced;
        if produced != held {
            (held, since) = (produced, Instant::now());
        }
        if held > 0 && since.elapsed() > Duration::from_secs(1) { Ok(held) } else { Err(format!("{produced} so far")) }
    })
}

/// Kills everything while messages wait for the recorder; gives how many.
fn leave_waiting(site: &Site) -> u64 {
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 1000);
    suspend(&mut node, "recorder");
    wait_until_held(&node, "flood", "recorder");
    let waiting = node.status().edge("flood", "recorder").waiting;
    node.kill();
    site.processes().iter().for_each(|process| send(process.pid, Signal::KILL));
    site.wait_until_empty();
    waiting
}

/// Messages a second from a writer to a reader, over so many.
fn rate(node: &mut Node<'_>, writer: &str, reader: &str, messages: u32) -> f64 {
    let (before, begin) = (node.status().edge(writer, reader).arrived, Instant::now());
    let arrived = |picture: &Picture| picture.edge(writer, reader).arrived;
    let then = node.wait("they arrive", |picture| arrived(picture) >= before + u64::from(messages));
    u32::try_from(arrived(&then) - before).map_or(f64::INFINITY, f64::from) / begin.elapsed().as_secs_f64()
}

#[test]
fn a_store_that_is_killed_gets_what_it_had_not_acknowledged_and_nothing_is_missing() {
    const MESSAGES: u64 = 60_000;
    let site = Site::new().recorder().flood(MESSAGES, "pause_us = 20");
    let mut node = site.start();
    node.wait_ready(&["recorder", "flood"]);
    let mut kills: u64 = 0;
    while kills < 5 {
        let arrived = node.status().edge("flood", "recorder").arrived;
        let picture = node.wait("some more arrived", |picture| {
            let edge = picture.edge("flood", "recorder");
            edge.arrived > arrived + 500 || edge.arrived == MESSAGES
        });
        let pid = picture.running("recorder");
        send(pid, Signal::KILL);
        kills += 1;
        node.wait_back("recorder", pid);
    }

    let whole = Edge { produced: MESSAGES, arrived: MESSAGES, ..Edge::default() };
    node.wait("all arrived", |picture| picture.edge("flood", "recorder") == whole);

    assert_eq!(node.stop(), 0);
    let mut records = site.records();
    let all = records.len() as u64;
    records.sort_unstable();
    records.dedup();
    assert!(records.iter().copied().eq(0..MESSAGES), "{} different ones were recorded", records.len());
    assert!(all <= MESSAGES + kills, "a message came twice that a dying store had not acknowledged: {all}");
}

#[test]
fn a_source_that_is_killed_loses_nothing_that_it_had_committed() {
    let site = Site::new().job("recorder", &format!("{RECORDER}\npath = \"record\"\nwith_origin = true"));
    std::fs::create_dir(site.path("proof")).unwrap();
    let site = site.job("flood", &format!("{FLOOD}\nproof = \"proof\"\n{STORED}"));
    let mut node = site.start();
    node.wait_ready(&["recorder", "flood"]);
    for _ in 0..5 {
        let arrived = node.status().edge("flood", "recorder").arrived;
        let picture = node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > arrived + 2000);
        let pid = picture.running("flood");
        send(pid, Signal::KILL);
        node.wait_back("flood", pid);
    }

    assert_eq!(node.stop(), 0);

    site.check_balance();
}

#[test]
fn a_supervisor_that_is_killed_leaves_what_was_committed_to_the_next_one() {
    let site = Site::new().job("recorder", &format!("{RECORDER}\npath = \"record\"\nwith_origin = true"));
    std::fs::create_dir(site.path("proof")).unwrap();
    let site = site.job("flood", &format!("{FLOOD}\nproof = \"proof\"\n{STORED}"));
    for _ in 0..5 {
        let mut node = site.start();
        node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 2000);
        node.kill();
    }

    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 2000);
    assert_eq!(node.stop(), 0);

    site.check_balance();
    assert_eq!(site.segments(), Vec::<std::path::PathBuf>::new(), "what is empty is removed");
}

#[test]
fn two_stuck_stores_stop_only_the_sources_that_feed_them() {
    let second = format!("{RECORDER}\npath = \"second\"");
    let site = Site::new().supervisor(PATIENT).recorder().job("second", &second);
    let flood = format!("{FLOOD}\n{STORED}");
    let site = site.job("flood", &flood).job("flood2", &flood).csv().rows(100_000_000, 200);
    let mut node = site.start();
    node.wait("all run", |picture| {
        let arrived = |from, to| picture.edge(from, to).arrived;
        arrived("flood", "recorder").min(arrived("flood2", "second")) > 1000 && arrived("rows", "csv") > 100
    });
    let before = rate(&mut node, "rows", "csv", 8000);

    let stuck = [suspend(&mut node, "recorder"), suspend(&mut node, "second")];
    wait_until_held(&node, "flood", "recorder");
    wait_until_held(&node, "flood2", "second");
    let during = rate(&mut node, "rows", "csv", 8000);

    // Who waits for the other stands still; what is less than half is no noise of the machine.
    assert!(during >= 0.5 * before, "{before:.0} messages a second before, {during:.0} beside stuck stores");
    let picture = node.wait("their sources show dead time", |picture| {
        ["flood", "flood2"].iter().all(|source| picture.region(source, "dead_time_percent") > 50.0)
    });
    assert!(picture.region("rows", "dead_time_percent") < 50.0);
    let waiting = |from, to| picture.edge(from, to).waiting;
    assert!(waiting("flood", "recorder") > 0 && waiting("flood2", "recorder") > 0, "{}", picture.brief());
    stuck.into_iter().for_each(|pid| send(pid, Signal::CONT));
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_stopped_reader_that_takes_the_latest_slows_nobody() {
    let lossy = format!("{RECORDER}\npath = \"lossy\"\ndelivery = \"latest\"");
    let site =
        Site::new().supervisor(PATIENT).recorder().job("lossy", &lossy).job("flood", &format!("{FLOOD}\n{STORED}"));
    let mut node = site.start();
    node.wait("both read", |picture| {
        picture.edge("flood", "recorder").arrived > 1000 && picture.edge("flood", "lossy").arrived > 10
    });
    let before = rate(&mut node, "flood", "recorder", 500_000);

    let pid = suspend(&mut node, "lossy");
    let during = rate(&mut node, "flood", "recorder", 500_000);

    // Who waits for the other stands still; what is less than half is no noise of the machine.
    assert!(during >= 0.5 * before, "{before:.0} messages a second before, {during:.0} beside a stopped reader");
    let picture = node.wait("it skips", |picture| picture.edge("flood", "lossy").skipped > 1000);
    assert_eq!(picture.edge("flood", "recorder").missing, 0);
    send(pid, Signal::CONT);
    assert_eq!(node.stop(), 0);
    assert!(site.records().iter().zip(0..).all(|(&number, expected)| number == expected));
}

#[test]
fn a_chain_with_a_stuck_store_stops_in_time_and_the_next_start_delivers_everything() {
    let relay = format!("daq_job_type = \"DAQJobRelay\"\ndelivery = \"lossless\"\n{STORED}");
    let site = Site::new().supervisor(PATIENT).recorder().job("relay", &relay);
    let site = site.job("flood", &format!("{FLOOD}\n[store_config.relay]"));
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("relay", "recorder").arrived > 1000);
    suspend(&mut node, "recorder");
    wait_until_held(&node, "flood", "relay");
    let last = node.status();
    let (produced, relayed) = (last.edge("flood", "relay").produced, last.edge("relay", "recorder").produced);
    assert!(relayed > 0 && last.edge("relay", "recorder").waiting > 0);

    let pid = last.running("recorder");
    assert_ne!(node.stop(), 0, "something was left");
    wait_for("the stuck store is gone", || site.processes().iter().all(|process| process.pid != pid));
    assert!(!site.segments().is_empty());
    site.write("configs/flood.toml", &format!("{}\n[store_config.relay]", FLOOD.replace("100000000", "0")));
    let mut node = site.start();
    node.wait("all that waited has arrived", |picture| {
        let waiting = |from, to| picture.edge(from, to).waiting;
        picture.state("flood") == "ready" && waiting("flood", "relay") == 0 && waiting("relay", "recorder") == 0
    });

    assert_eq!(node.stop(), 0);
    let mut records = site.records();
    records.sort_unstable();
    records.dedup();
    assert!(records.len() as u64 >= produced, "{produced} were committed, {} arrived", records.len());
    assert!(records.iter().zip(0..).all(|(&number, expected)| number == expected), "none is missing");
    assert!(site.segments().is_empty());
}

#[test]
fn a_store_without_shared_memory_gets_everything_all_the_same() {
    let outside = format!("{RECORDER}\npath = \"outside\"\nuse_shm_when_possible = false");
    let site = Site::new().recorder().job("outside", &outside).flood(20_000, "");
    let mut node = site.start();

    let whole = Edge { produced: 20_000, arrived: 20_000, ..Edge::default() };
    node.wait("both have all", |picture| {
        picture.edge("flood", "recorder") == whole && picture.edge("flood", "outside") == whole
    });

    assert_eq!(node.stop(), 0);
    assert!(site.records().into_iter().eq(0..20_000));
    assert_eq!(std::fs::metadata(site.path("outside")).unwrap().len(), 8 * 20_000);
}

#[test]
fn a_source_without_shared_memory_and_one_with_payloads_too_large_use_the_bus() {
    let flood = |rest: &str| format!("daq_job_type = \"DAQJobFlood\"\nmessages = 50\n{rest}\nstays = true\n{STORED}");
    let site = Site::new().recorder().job("large", &flood("size = 6000000"));
    let site = site.job("outside", &flood("size = 100\nuse_shm_when_possible = false"));
    let mut node = site.start();

    let whole = Edge { produced: 50, arrived: 50, ..Edge::default() };
    node.wait("all arrived", |picture| {
        picture.edge("large", "recorder") == whole && picture.edge("outside", "recorder") == whole
    });

    assert!(node.log().contains("over the bus"), "it says so");
    assert_eq!(node.stop(), 0);
    assert!(site.records().iter().all(|&number| number < 50), "and every byte is right");
}

#[test]
fn a_subscriber_on_the_bus_gets_what_rides_the_ring() {
    let site = Site::new().recorder().flood(1_000_000, "pause_us = 2000");
    let mut node = site.start();
    node.wait_ready(&["recorder", "flood"]);
    let context = zmq::Context::new();
    let tap = context.socket(zmq::SUB).unwrap();
    tap.set_rcvtimeo(30_000).unwrap();
    tap.connect(&format!("ipc://{}", site.socket("data-out.ipc").display())).unwrap();
    tap.set_subscribe(b"store.DAQJobRecorder").unwrap();

    for _ in 0..20 {
        let frames = tap.recv_multipart(0).expect("something comes");
        assert_eq!(frames.len(), 3);
        assert_eq!((frames[0].as_slice(), frames[2].len()), (&b"store.DAQJobRecorder"[..], 100));
    }
    drop(tap);
    let seen = node.status().edge("flood", "recorder");
    node.wait("the store is served on", |picture| picture.edge("flood", "recorder").arrived > seen.arrived + 100);
    assert_eq!(node.stop(), 0);
    assert!(site.records().iter().zip(0..).all(|(&number, expected)| number == expected));
}

#[test]
fn a_program_outside_that_does_not_read_holds_up_nobody_and_not_the_end() {
    let outside = format!("{FLOOD}\nuse_shm_when_possible = false\n{STORED}");
    let site = Site::new().recorder().job("outside", &outside).job("flood", &format!("{FLOOD}\n{STORED}"));
    let mut node = site.start();
    node.wait_ready(&["recorder", "outside", "flood"]);
    let context = zmq::Context::new();
    let idle = context.socket(zmq::SUB).unwrap();
    idle.set_rcvhwm(1).unwrap();
    idle.connect(&format!("ipc://{}", site.socket("data-out.ipc").display())).unwrap();
    idle.set_subscribe(b"store").unwrap();

    let picture = node.wait("it has no room", |picture| picture.0["supervisor"]["outside_full"].as_u64() > Some(0));
    let seen = |picture: &Picture, from| picture.edge(from, "recorder").arrived;
    let (outside, flood) = (seen(&picture, "outside"), seen(&picture, "flood"));
    node.wait("both go on", |picture| {
        seen(picture, "outside") > outside + 10_000 && seen(picture, "flood") > flood + 10_000
    });

    assert_eq!(node.stop(), 0);
}

#[test]
fn what_waits_for_a_store_that_is_no_longer_configured_is_lost_with_an_alert() {
    let site = Site::new().supervisor(PATIENT).recorder().job("flood", &format!("{FLOOD}\n{STORED}"));
    leave_waiting(&site);
    std::fs::remove_file(site.path("configs/recorder.toml")).unwrap();

    let mut node = site.start();
    node.wait("it is told", |picture| picture.has_alert("messages of flood that waited for"));

    assert_eq!(node.stop(), 1);
}

#[test]
fn what_a_former_start_left_can_be_thrown_away_and_is_counted() {
    let site = Site::new().supervisor(PATIENT).recorder().job("flood", &format!("{FLOOD}\n{STORED}"));
    assert!(leave_waiting(&site) > 1000);
    let recorded = site.recorded();

    site.write("configs/flood.toml", &format!("{}\n{STORED}", FLOOD.replace("100000000", "0")));
    let mut node = site.start_by(&["--config", "configs", "--discard-ring"], LogReader::Test);
    node.wait_ready(&["recorder", "flood"]);

    assert!(node.log().contains("flood") && node.log().contains("recorder"), "{}", node.log());
    assert_eq!(node.stop(), 0);
    assert!(site.recorded() <= recorded + 1);
}

#[test]
fn shared_memory_that_somebody_removes_is_told_and_makes_the_end_unclean() {
    let site = Site::new().recorder().flood(100_000_000, "pause_us = 1000");
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 10);

    site.segments().iter().for_each(|segment| std::fs::remove_file(segment).unwrap());

    node.wait("it is told", |picture| picture.has_alert("was removed or damaged by somebody"));
    assert_eq!(node.stop(), 1);
}

#[test]
fn damaged_shared_memory_is_refused_and_left_as_it_is_until_it_is_discarded() {
    let site = Site::new().supervisor(PATIENT).recorder().job("flood", &format!("{FLOOD}\n{STORED}"));
    leave_waiting(&site);
    let control = site.segments().into_iter().find(|segment| segment.to_string_lossy().ends_with("_c")).unwrap();
    let size = std::fs::metadata(&control).unwrap().len();
    std::fs::write(&control, vec![0; usize::try_from(size).unwrap()]).unwrap();

    let said = site.cli(&["--config", "configs"]);

    assert_eq!(said.code, 1);
    assert!(said.err.contains("--discard-ring"), "{}", said.err);
    assert_eq!(site.segments().len(), 2, "nothing is thrown away unasked");
    let mut node = site.start_by(&["--config", "configs", "--discard-ring"], LogReader::Test);
    node.wait("it takes data", |picture| picture.edge("flood", "recorder").arrived > 1000);
    assert_eq!(node.stop(), 0);
}

#[test]
fn too_little_shared_memory_is_a_clear_error() {
    let site = Site::new().supervisor_with("ring_buffer_size_mb = 100000", "").recorder().flood(10, "");

    let said = site.cli(&["--config", "configs"]);

    assert_ne!(said.code, 0);
    assert!(said.err.contains("/dev/shm has no room") && said.err.contains("ring_buffer_size_mb"), "{}", said.err);
    assert!(site.segments().is_empty());
}
