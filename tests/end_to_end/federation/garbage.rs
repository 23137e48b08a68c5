//! What nobody should send, at the ports of a hub that knows no keys: dropped and counted; data taking goes on.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::committed::Committed;
use super::place::{Place, ROWS, notary, wait_up};
use crate::harness::{memory_peak_mb, wait_until};

/// Another program; it ends with the test.
#[derive(Debug)]
struct Attack(Child);

impl Attack {
    fn start(arguments: &[&str]) -> Self {
        let of_project = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(of_project("target/python/bin/python3"));
        command.arg(of_project("tests/end_to_end/peers/federation_peer.py")).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Self(child.expect("scripts/python has been run"))
    }

    /// What it says in the end.
    fn result(mut self) -> Value {
        let within = std::time::Duration::from_secs(120);
        wait_until("the attack is over", within, || match self.0.try_wait().expect("it is our child") {
            Some(status) if status.success() => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let out = self.0.stdout.take().expect("it is piped");
        serde_json::from_reader(out).expect("it writes JSON")
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn garbage_at_both_ports_is_dropped_and_counted_and_harms_nobody() {
    let place = Place::on_loopback();
    let hub_site = place.hub("ring_mb = 2\nspool_max_gb = 0.05").csv();
    let leaf_site = place.leaf("").job("notary", &notary("pause_us = 1000\nlength = 200"));
    let (mut hub, mut leaf) = (hub_site.start(), leaf_site.start());
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);
    let before = hub.wait_ready(&["csv"]).running("csv");
    let [xpub, xsub] = [place.xpub, place.xsub].map(|port| port.to_string());

    let attacks = [
        Attack::start(&["garbage", &xpub, &xsub, "8", "1"]),
        Attack::start(&["garbage", &xpub, &xsub, "8", "2"]),
        Attack::start(&["leaf", &xpub, &xsub, "fuzz", "8", "3"]),
    ];
    let results = attacks.map(Attack::result);

    let picture = hub.status();
    let peak = memory_peak_mb(hub.pid());
    println!("{results:?}; {peak} MB at the most; {}", picture.0["federation"]);
    assert!(results[2]["welcomed"].as_u64() > Some(0), "it had come in: {results:?}");
    assert!(picture.federation("bad_frames") > 100, "{}", picture.0["federation"]);
    assert!(picture.federation("strangers") > 0, "names are refused: {}", picture.0["federation"]);
    assert!(picture.link_count("fuzz", "refused") > 0, "{}", picture.link("fuzz"));
    assert!(peak < 600, "{peak} MB");
    assert!(hub.log().len() < 200_000, "the log is not flooded: {}", hub.log().len());
    assert_eq!(picture.link_state(leaf_site.id()), "up");
    assert_eq!(picture.pid("csv"), Some(before));
    let status = hub_site.cli(&["status"]);
    assert!(status.code == 0 && status.out.contains("csv"), "what was said of a link can be shown: {status:?}");
    assert_eq!(leaf_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);
    let last = leaf.wait("all is acknowledged", |picture| picture.link_count("", "lag_messages") == 0);
    assert_eq!(last.link_count("", "dropped"), 0, "{}", last.link(""));
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_hub_that_talks_nonsense_costs_a_leaf_nothing() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let leaf_site = place.leaf("").job("notary", &notary("pause_us = 1000\nlength = 200"));
    let mut leaf = leaf_site.start();
    let before = leaf.wait_ready(&["notary"]).running("notary");
    let [xpub, xsub] = [place.xpub, place.xsub].map(|port| port.to_string());

    let result = Attack::start(&["hub", &xpub, &xsub, "8", "1"]).result();
    let mut hub = hub_site.start();
    wait_up(&mut leaf, &hub_site);
    wait_up(&mut hub, &leaf_site);

    let peak = memory_peak_mb(leaf.pid());
    println!("{result:?}; {peak} MB at the most; {}", leaf.status().0["federation"]);
    assert!(result["welcomed"].as_u64() > Some(0) && result["sent"].as_u64() > Some(50), "{result:?}");
    assert_eq!(leaf.status().pid("notary"), Some(before));
    assert!(peak < 600, "{peak} MB");
    assert_eq!(leaf_site.cli(&["stop", "notary"]).code, 0);
    let committed = Committed::by([&leaf_site]);
    committed.wait_in(&hub_site, ROWS);
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}
