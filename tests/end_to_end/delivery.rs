//! Messages on their way: all of them, in order, and what is missing is counted.

use std::time::{Duration, Instant};

use crate::harness::{Edge, Signal, Site, send, wait_until};

#[test]
fn two_hundred_thousand_messages_arrive_in_order() {
    let site = Site::new().recorder().flood(200_000, "");
    let mut node = site.start();

    let picture = node.wait("all arrived", |picture| picture.edge("flood", "recorder").arrived >= 200_000);

    assert_eq!(
        picture.edge("flood", "recorder"),
        Edge { produced: 200_000, arrived: 200_000, missing: 0, ..Edge::default() }
    );
    assert_eq!(node.stop(), 0);
    let records = site.records();
    assert_eq!(records.len(), 200_000);
    assert!(records.iter().zip(0..).all(|(&number, expected)| number == expected), "their order is that of sending");
}

#[test]
fn messages_that_are_under_way_when_ctrl_c_comes_still_arrive() {
    let site = Site::new().recorder().flood(10_000_000, "");
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 10_000);

    let mut last = node.status();
    node.interrupt();
    while let Some(picture) = node.try_status() {
        last = picture;
    }

    assert_eq!(node.wait_exit(), 0, "nothing was left under way");
    let (records, edge) = (site.records(), last.edge("flood", "recorder"));
    assert!(records.iter().zip(0..).all(|(&number, expected)| number == expected), "no gap, no repetition");
    assert_eq!(edge.produced, records.len() as u64, "{edge:?}");
}

#[test]
fn of_a_store_that_is_killed_half_way_status_says_what_the_bus_has_lost() {
    const MESSAGES: u64 = 30_000;
    let site = Site::new().recorder().flood(MESSAGES, "pause_us = 20\nuse_shm_when_possible = false");
    let mut node = site.start();
    node.wait("a good part arrived", |picture| picture.edge("flood", "recorder").arrived > MESSAGES / 6);
    let pid = node.status().running("recorder");

    send(pid, Signal::KILL);

    node.wait_back("recorder", pid);
    let mut before = Edge::default();
    let mut since = Instant::now();
    let edge = wait_until("nothing moves any more", Duration::from_secs(90), || {
        let edge = node.status().edge("flood", "recorder");
        if edge != before {
            (before, since) = (edge, Instant::now());
        }
        let is_still = edge.produced == MESSAGES && since.elapsed() > Duration::from_secs(1);
        if is_still { Ok(edge) } else { Err(format!("{edge:?}")) }
    });
    assert_eq!(edge.missing, edge.produced - edge.arrived);
    assert!(edge.missing > 0, "a store that was away for half a second misses some: {edge:?}");
    let recorded = site.recorded();
    assert!(recorded.abs_diff(edge.arrived) <= 2, "{recorded} were recorded, and {edge:?}");
    let records = site.records();
    assert!(records.is_sorted_by(|a, b| a < b), "none came twice");
    assert_eq!(records.last(), Some(&(MESSAGES - 1)), "after its return nothing more is missing");
}

#[test]
fn a_store_that_does_not_read_makes_its_source_wait_and_nobody_else() {
    const MESSAGES: u64 = 100_000;
    let patient = "[supervise]\nliveness_timeout_seconds = 3600";
    let site = Site::new().supervisor(patient).recorder().flood(MESSAGES, "").csv().rows(1_000_000, 10_000);
    let mut node = site.start();
    let picture = node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 1000);
    send(picture.running("recorder"), Signal::STOP);

    let mut held = 0;
    let mut since = Instant::now();
    wait_until("the source waits", Duration::from_secs(60), || {
        let produced = node.status().edge("flood", "recorder").produced;
        if produced != held {
            (held, since) = (produced, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(1) { Ok(()) } else { Err(format!("{produced} so far")) }
    });
    assert!(held < MESSAGES, "the test needs more messages to fill the bus");
    let stopped = site.cli(&["stop", "rows"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (0, "rows: stopped\n"), "{stopped:?}");
    assert_eq!(node.status().state("recorder"), "ready");

    send(picture.running("recorder"), Signal::CONT);
    let whole = Edge { produced: MESSAGES, arrived: MESSAGES, missing: 0, ..Edge::default() };
    node.wait("all arrived", |picture| picture.edge("flood", "recorder") == whole);
    assert_eq!(node.stop(), 0);
    assert!(site.records().into_iter().eq(0..MESSAGES), "each once and in order");
}
