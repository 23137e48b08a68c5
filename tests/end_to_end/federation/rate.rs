//! What links carry: `benches/federation.py`, for a few seconds. Nothing may be lost or wrong; how fast it is is told.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::said_within;

/// Runs a part of the bench from the project's folder.
fn bench(words: &[&str]) -> Value {
    let mut command = Command::new("python3");
    command.args(["benches/federation.py", "--json"]).args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = said_within(&mut command, Duration::from_secs(300));
    assert_eq!(said.code, 0, "{said:?}");
    println!("{}", said.out);
    serde_json::from_str(&said.out).expect("it writes JSON")
}

#[test]
fn a_link_carries_a_good_part_of_what_a_pair_of_sockets_does() {
    let measured = bench(&["rate", "2", "1"]);

    // Half is wanted, and measured where nothing else runs: here other tests do.
    for name in ["link", "link_with_keys"] {
        assert!(measured[name]["messages_per_s"].as_f64() > Some(10.0), "{measured}");
    }
    assert!(measured["link"]["ratio"].as_f64() > Some(0.2), "{measured}");
}

#[test]
fn a_hub_with_several_leaves_has_all_that_they_send() {
    let measured = bench(&["load", "5", "4", "200"]);

    assert_eq!(measured["refused"], 0, "{measured}");
    assert!(measured["messages"].as_f64() > Some(1000.0), "{measured}");
}
