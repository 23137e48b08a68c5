//! With keys who is listed is in, under its own name, and nobody else.

use std::fs;

use super::committed::{Committed, stored};
use super::place::{Place, ROWS, notary, wait_up};
use crate::cnc::{keygen, keygen_again};
use crate::harness::{Node, Picture, SMALL_RING, Site, wait_for};

const CURVE: &str = "[federation.curve]\nkey_file = \"node.keys\"";

/// A hub that lists these leaves, each with a key, and all of them with their keys; the hub's key too.
fn with_keys(place: &Place, leaves: Vec<Site>) -> (Site, Vec<Site>, String) {
    let hub = place.hub("").csv();
    let hub_key = keygen(&hub);
    let list: Vec<_> = leaves.iter().map(|site| (site.id(), keygen(site))).collect();
    let hub = hub.supervisor(&of_hub(place, &list));
    let leaves = leaves.into_iter().map(|leaf| leaf.supervisor(&of_leaf(place, &hub_key))).collect();
    (hub, leaves, hub_key)
}

/// `[federation]` of a hub that lists these.
pub(super) fn of_hub(place: &Place, list: &[(&str, String)]) -> String {
    let lines: String = list.iter().map(|(id, key)| format!("{id:?} = \"{key}\"\n")).collect();
    place.of_hub(&format!("{CURVE}\n[federation.curve.clients]\n{lines}"))
}

/// `[federation]` of a leaf that knows its hub's key.
pub(super) fn of_leaf(place: &Place, hub_key: &str) -> String {
    place.of_leaf(&format!("{CURVE}\nserver_key = \"{hub_key}\""))
}

fn a_leaf() -> Site {
    Site::new().job("notary", &notary("limit = 500\npause_us = 300"))
}

/// Waits until the hub has turned somebody away once more, and tells it with this.
fn wait_turned_away(hub: &mut Node<'_>, before: u64, part: &str) -> Picture {
    hub.wait(&format!("a stranger is counted and told: {part}"), |picture| {
        picture.federation("strangers") > before && picture.has_alert(part)
    })
}

#[test]
fn a_listed_leaf_is_in_and_strangers_are_turned_away_counted_and_told() {
    let place = Place::on_loopback();
    let (hub_site, leaf_sites, hub_key) = with_keys(&place, vec![a_leaf()]);
    let mut hub = hub_site.start();
    let mut leaf = leaf_sites[0].start();
    let up = wait_up(&mut leaf, &hub_site);
    let at_hub = wait_up(&mut hub, &leaf_sites[0]);
    assert_eq!(up.link("")["is_encrypted"], true);
    assert_eq!(at_hub.link(leaf_sites[0].id())["is_encrypted"], true);
    assert_eq!(at_hub.federation("strangers"), 0);

    // Without a key.
    let plain_site = a_leaf().supervisor(&place.of_leaf(""));
    let plain = plain_site.start();
    let picture = wait_turned_away(&mut hub, 0, "has no key, or takes this hub for another");
    // With a key that is not listed.
    let other_site = a_leaf();
    let other_key = keygen(&other_site);
    let other_site = other_site.supervisor(&of_leaf(&place, &hub_key));
    let mut other = other_site.start();
    let picture = wait_turned_away(&mut hub, picture.federation("strangers"), &other_key);
    // With a listed key, and another key of the hub.
    let before = picture.federation("strangers");
    let wrong_site = a_leaf();
    let wrong_hub_key = keygen(&wrong_site);
    let wrong_site = wrong_site.supervisor(&of_leaf(&place, &wrong_hub_key));
    let wrong = wrong_site.start();
    hub.wait("it is counted too", |picture| picture.federation("strangers") > before);
    for site in [&plain_site, &other_site, &wrong_site] {
        wait_for("what it has committed waits there", || Committed::by([site]).total() == 500);
    }
    assert_ne!(other.wait("it answers", |_| true).link_state(""), "up");

    let committed = Committed::by([&leaf_sites[0]]);
    committed.wait_in(&hub_site, ROWS);
    let last = hub.status();
    assert_eq!(last.link_state(leaf_sites[0].id()), "up");
    assert_eq!(last.0["federation"]["links"].as_array().unwrap().len(), 1, "{}", last.0["federation"]);
    [plain, other, wrong].into_iter().for_each(Node::kill);
    assert_eq!([leaf.stop(), hub.stop()], [0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_leaf_cannot_speak_in_the_name_of_another() {
    let place = Place::on_loopback();
    let (hub_site, mut leaf_sites, hub_key) = with_keys(&place, vec![a_leaf(), a_leaf()]);
    let (b_site, a_site) = (leaf_sites.pop().unwrap(), leaf_sites.pop().unwrap());
    let thief_site = Site::new().with_id(a_site.id()).supervisor(&of_leaf(&place, &hub_key));
    fs::copy(b_site.path("configs/node.keys"), thief_site.path("configs/node.keys")).unwrap();
    let thief_site = thief_site.job("notary", &notary("limit = 500\npause_us = 300"));
    let mut hub = hub_site.start();

    // Two of one name cannot be on one machine: the other one comes later.
    let mut thief = thief_site.start();
    let picture = wait_turned_away(&mut hub, 0, a_site.id());
    wait_for("what it has committed waits there", || Committed::by([&thief_site]).total() == 500);
    wait_for("it is told", || thief.log().contains("speaks under the name"));
    assert!(picture.has_alert(b_site.id()), "whose key it is, is told: {:?}", picture.alerts());
    assert_ne!(thief.wait("it answers", |_| true).link_state(""), "up");
    thief.kill();
    drop(thief_site);

    let (mut a, mut b) = (a_site.start(), b_site.start());
    wait_up(&mut a, &hub_site);
    wait_up(&mut b, &hub_site);
    wait_for("all is committed", || Committed::by([&a_site, &b_site]).total() == 1000);
    let committed = Committed::by([&a_site, &b_site]);
    committed.wait_in(&hub_site, ROWS);
    assert_eq!([a.stop(), b.stop(), hub.stop()], [0, 0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn a_leaf_comes_in_when_it_is_listed_and_stays_out_when_it_is_not_any_more() {
    let place = Place::on_loopback();
    let (hub_site, leaf_sites, hub_key) = with_keys(&place, vec![a_leaf()]);
    let late_site = a_leaf();
    let late_key = keygen(&late_site);
    let late_site = late_site.supervisor(&of_leaf(&place, &hub_key));
    let first_key = {
        let text = fs::read_to_string(hub_site.path("configs/supervisor.toml")).unwrap();
        let line = text.lines().find(|line| line.contains(leaf_sites[0].id())).expect("it is listed").to_owned();
        line.split('"').nth(3).expect("it has a key").to_owned()
    };
    let mut hub = hub_site.start();
    let (mut first, mut late) = (leaf_sites[0].start(), late_site.start());
    wait_up(&mut first, &hub_site);
    wait_turned_away(&mut hub, 0, &late_key);
    Committed::by(&leaf_sites).wait_in(&hub_site, ROWS);

    assert_eq!(hub.stop(), 0);
    let hub_site = hub_site.supervisor(&of_hub(&place, &[(late_site.id(), late_key)]));
    let mut hub = hub_site.start();
    wait_up(&mut late, &hub_site);
    wait_turned_away(&mut hub, 0, &first_key);

    let committed = Committed::by(leaf_sites.iter().chain([&late_site]));
    committed.wait_in(&hub_site, ROWS);
    assert_ne!(first.wait("it answers", |_| true).link_state(""), "up");
    assert_eq!([first.stop(), late.stop(), hub.stop()], [0, 0, 0]);
    committed.check(&hub_site, ROWS);
}

#[test]
fn leaves_are_listed_taken_off_and_given_new_keys_while_the_hub_runs() {
    let place = Place::on_loopback();
    let hub_site = place.hub("").csv();
    let hub_key = keygen(&hub_site);
    let [(stays_site, stays_key), (goes_site, goes_key), (comes_site, comes_key)] = [(); 3].map(|()| {
        let site = Site::new().job("notary", &notary("limit = 2000\npause_us = 3000"));
        let key = keygen(&site);
        (site.supervisor(&of_leaf(&place, &hub_key)), key)
    });
    let (stays, goes) = ((stays_site.id(), stays_key), (goes_site.id(), goes_key.clone()));
    let hub_site = hub_site.supervisor(&of_hub(&place, &[stays.clone(), goes.clone()]));
    let mut hub = hub_site.start();
    let [stays_node, mut goes_node, mut comes_node] = [&stays_site, &goes_site, &comes_site].map(Site::start);
    wait_up(&mut hub, &stays_site);
    wait_up(&mut hub, &goes_site);
    wait_turned_away(&mut hub, 0, &comes_key);
    let reload = |list: &[(&str, String)], expected: &str| {
        hub_site.write_supervisor(SMALL_RING, &of_hub(&place, list));
        for command in ["plan", "reload"] {
            let said = hub_site.cli(&[command]);
            assert!(said.code == 0 && said.out.contains(expected), "{said:?}");
        }
        assert_eq!(hub_site.cli(&["plan"]).out, "nothing has changed\n");
    };

    let comes = (comes_site.id(), comes_key);
    reload(&[stays.clone(), goes.clone(), comes], &format!("{} is let in\n", comes_site.id()));
    wait_up(&mut comes_node, &hub_site);

    let comes_key = keygen_again(&comes_site);
    let comes = (comes_site.id(), comes_key);
    reload(&[stays.clone(), goes.clone(), comes.clone()], &format!("{} is let in with its new key", comes_site.id()));
    hub.wait("its old key does not count", |picture| picture.link_state(comes_site.id()) == "down");
    assert_eq!(comes_node.stop(), 0);
    let mut comes_node = comes_site.start();
    wait_up(&mut comes_node, &hub_site);

    reload(&[stays.clone(), comes.clone()], &format!("{} is let in no more", goes_site.id()));
    goes_node.wait("it is told", |picture| picture.has_alert("its key is not in `[federation.curve.clients]`"));
    let picture = wait_turned_away(&mut hub, 0, &goes_key);
    assert!(picture.has_alert(&format!("{} is not in", goes_site.id())), "{:?}", picture.alerts());
    assert_eq!(picture.link_state(goes_site.id()), "no such link");

    reload(&[stays, goes, comes], &format!("{} is let in\n", goes_site.id()));
    wait_up(&mut goes_node, &hub_site);
    wait_up(&mut hub, &goes_site);

    wait_for("all is committed", || Committed::by([&stays_site, &goes_site]).total() == 4000);
    let committed = Committed::by([&stays_site, &goes_site, &comes_site]);
    committed.wait_in(&hub_site, ROWS);
    assert!(!stays_node.log().contains("not connected"), "the others are not disturbed");
    assert_eq!([stays_node.stop(), goes_node.stop(), comes_node.stop(), hub.stop()], [0; 4]);
    Committed::by([&stays_site, &goes_site, &comes_site]).check(&hub_site, ROWS);
}

/// Bytes that wait on a hub's disk for its leaves.
fn spooled(hub: &Site) -> u64 {
    let leaves = fs::read_dir(hub.state_dir().join("federation/leaves")).into_iter().flatten().flatten();
    let files = leaves.flat_map(|leaf| fs::read_dir(leaf.path().join("spool")).into_iter().flatten().flatten());
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}

#[test]
fn what_waits_for_a_leaf_that_is_taken_off_the_list_is_given_up() {
    let place = Place::on_loopback();
    let source = Site::new().job("notary", &notary("pause_us = 1000\nlength = 2000"));
    let (hub_site, leaf_sites, _) = with_keys(&place, vec![source, Site::new().csv()]);
    let [source_site, store_site] = &leaf_sites[..] else { unreachable!("there are two") };
    let listed = fs::read_to_string(hub_site.path("configs/supervisor.toml")).unwrap();
    let others = listed.lines().filter(|line| !line.contains(store_site.id()));
    let unlisted: String = others.map(|line| format!("{line}\n")).collect();
    let [mut hub, source, store] = [&hub_site, source_site, store_site].map(Site::start);
    wait_for("the store has rows", || stored(store_site, ROWS) > 0);
    store.kill();
    wait_for("messages wait for it on the disk", || spooled(&hub_site) > 1_000_000);

    hub_site.write("configs/supervisor.toml", &unlisted);
    assert_eq!(hub_site.cli(&["reload"]).code, 0);

    let picture = hub.wait("it is told", |picture| picture.has_alert("that waited for it are lost"));
    let told = format!("{} is not in `[federation.curve.clients]` any more", store_site.id());
    assert!(picture.has_alert(&told) && !picture.has_alert(": 0 messages"), "{:?}", picture.alerts());
    wait_for("it is gone from the disk", || spooled(&hub_site) < 100_000);
    let before = stored(&hub_site, ROWS);
    wait_for("the others go on", || stored(&hub_site, ROWS) > before + 1000);
    assert_eq!(hub.stop(), 0);
    let mut hub = hub_site.start();
    let before = stored(&hub_site, ROWS);
    wait_for("a restart changes nothing of it", || stored(&hub_site, ROWS) > before + 1000);
    assert_eq!(hub.wait("it answers", |_| true).link_state(store_site.id()), "no such link");

    // Back on the list it has what comes from then on.
    hub_site.write("configs/supervisor.toml", &listed);
    assert_eq!(hub_site.cli(&["reload"]).code, 0);
    let before = stored(store_site, ROWS);
    let mut store = store_site.start();
    wait_up(&mut store, &hub_site);
    wait_for("it has rows again", || stored(store_site, ROWS) > before + 500);
    assert_eq!([source.stop(), store.stop(), hub.stop()], [0; 3]);
    Committed::by([source_site]).check(&hub_site, ROWS);
}

#[test]
fn beyond_loopback_there_must_be_keys_or_the_word_insecure_which_is_warned_of() {
    let place = Place::on_loopback();
    let open = |rest: &str| Site::new().csv().supervisor(&place.of_hub(rest).replace("127.0.0.1", "0.0.0.0"));
    let site = open("");

    for arguments in [&["check"][..], &["--config", "configs"]] {
        let said = site.cli(arguments);
        assert_eq!(said.code, 1, "{said:?}");
        let text = said.out + &said.err;
        assert!(text.contains("supervisor.toml:") && text.contains("federation"), "{text}");
        assert!(text.contains("insecure = true") && text.contains("federation.curve"), "{text}");
    }
    let leaf_site = Site::new().supervisor(
        "[federation]\nremote_server_xpub_url = \"tcp://192.0.2.1:16382\"\nremote_server_xsub_url = \"tcp://192.0.2.1:16383\"",
    );
    let said = leaf_site.cli(&["check"]);
    assert_eq!(said.code, 1, "{said:?}");

    let site = open("insecure = true");
    for _ in 0..2 {
        let mut node = site.start();
        node.wait_ready(&["csv"]);
        wait_for("it is warned of at every start", || {
            node.log().contains("WARNING") && node.log().contains("insecure = true")
        });
        assert_eq!(node.stop(), 0);
    }
}
