//! `enrgdaq bench`: what it measures, and that it finds every kind of fault.

use serde_json::Value;

use crate::harness::{Said, Site};

/// Two seconds of measuring, as JSON, with its exit status.
fn bench(args: &str) -> (Vec<Value>, Said) {
    let site = Site::of_enrgdaq();
    let line = format!("bench --duration 2 --json {args}");
    let said = site.cli(&line.split_whitespace().collect::<Vec<_>>());
    assert!(site.processes().is_empty(), "nothing is left behind");
    let reports = said.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said:?}")));
    (reports.collect(), said)
}

/// Wrong words, and messages lost, swapped, repeated.
fn faults(report: &Value) -> [u64; 4] {
    ["wrong", "lost", "swapped", "repeated"].map(|key| report[key].as_u64().expect("a count"))
}

fn assert_flawless(args: &str) {
    let (reports, said) = bench(args);

    assert_eq!((said.code, reports.len()), (0, 1), "{args}: {said:?}");
    let report = &reports[0];
    assert_eq!(faults(report), [0; 4], "{args}: {report}");
    assert!(report["received"].as_u64() > Some(1000) && report["sent"] == report["received"], "{args}: {report}");
    for key in ["payload_bytes", "messages_per_s", "verified_mb_per_s", "memcpy_mb_per_s", "ratio", "rss_mb"] {
        assert!(report[key].as_f64() > Some(0.0), "{args}: {key} of {report}");
    }
    let us = ["p50", "p95", "p99", "max"].map(|key| report["latency_us"][key].as_f64().expect("a time"));
    assert!(us[0] > 0.0 && us.is_sorted() && us[3] < 60e6, "{args}: {report}");
}

#[test]
fn nothing_is_lost_and_every_word_is_right() {
    assert_flawless("--payload-size 1000");
}

#[test]
fn neither_over_the_bus_nor_from_several_sources() {
    assert_flawless("--bytes 1001 --no-shm --clients 3");
}

#[test]
fn records_are_verified_one_by_one() {
    assert_flawless("--content records");
}

#[test]
fn a_planted_fault_is_found_once_and_no_other() {
    for (plant, content, expected) in [
        ("wrong", "table", [1, 0, 0, 0]),
        ("wrong", "records", [1, 0, 0, 0]),
        ("lost", "raw", [0, 1, 0, 0]),
        ("lost", "records", [0, 1, 0, 0]),
        ("swapped", "table", [0, 0, 1, 0]),
    ] {
        let (reports, said) = bench(&format!("--payload-size 50 --plant {plant} --content {content}"));

        assert_eq!(said.code, 0, "{plant} {content}: {said:?}");
        assert_eq!(faults(&reports[0]), expected, "{plant} {content}: {said:?}");
    }
}

#[test]
fn a_store_that_verifies_nothing_is_measured_too() {
    let (reports, said) = bench("--store csv --payload-size 100 --rate 500");

    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(faults(&reports[0]), [0; 4], "{said:?}");
    assert!(reports[0]["verified_mb_per_s"].is_null() && reports[0]["mb_per_s"].as_f64() > Some(0.0), "{said:?}");
}

#[test]
fn a_rate_is_kept() {
    let (reports, said) = bench("--bytes 1024 --rate 200");

    assert_eq!(said.code, 0, "{said:?}");
    let rate = reports[0]["messages_per_s"].as_f64().expect("a rate");
    assert!((150.0..250.0).contains(&rate), "{said:?}");
}
