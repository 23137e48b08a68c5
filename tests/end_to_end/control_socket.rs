//! The control socket: whatever comes in, operators are answered.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use crate::harness::{Node, Site, wait_for};

fn assert_answers(site: &Site, node: &Node<'_>) {
    let said = site.cli(&["status", "--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(node.status().state("csv") == "ready");
}

#[test]
fn garbage_ends_its_own_connection_and_nothing_else() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    for garbage in [&b"\x00\xff\xfe\n"[..], b"[]\n", b"{\"id\":2,\"do\":\"status\"\n", b"GET / HTTP/1.1\r\n\r\n", b"\n"]
    {
        let mut stream = site.connect().unwrap();
        stream.write_all(garbage).unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        assert!(read.is_ok() && answer.is_empty(), "{garbage:?} was answered: {answer} {read:?}");
    }

    assert_answers(&site, &node);
}

#[test]
fn a_call_that_is_wrong_is_answered_and_the_connection_goes_on() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let unknown = site.ask("{\"id\":4,\"do\":\"explode\"}").unwrap();
    let nameless = site.ask("{\"do\":\"status\"}\n{\"id\":6}\n{\"id\":8,\"do\":\"stop\"}").unwrap();

    assert!(unknown.contains("\"id\":4") && unknown.contains("status, start, stop, restart, logs"), "{unknown}");
    assert!(nameless.contains("\"id\":8") && nameless.contains("Missing 'name' parameter"), "{nameless}");
    assert_answers(&site, &node);
}

#[test]
fn a_line_of_a_megabyte_is_not_kept() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    let line = format!("{{\"id\":2,\"do\":\"{}\"}}\n", "x".repeat(1_000_000));

    let mut stream = site.connect().unwrap();
    // It may hang up before it has heard all.
    stream.write_all(line.as_bytes()).ok();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok();

    assert!(answer.is_empty(), "{answer}");
    assert_answers(&site, &node);
}

#[test]
fn clients_that_say_nothing_lock_nobody_out() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    // Beyond those that it takes they wait in the backlog; a connection that is refused is fine too.
    let mut silent: Vec<_> = (0..200).map_while(|_| site.connect().ok()).collect();
    silent.iter_mut().step_by(2).for_each(|stream| drop(stream.write_all(b"{\"id\":2,\"do\":")));

    assert_answers(&site, &node);
    drop(silent);
    wait_for("their places are free again", || site.cli(&["status"]).code == 0);
}

#[test]
fn a_client_that_never_reads_holds_up_itself_alone() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let deaf: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = site.connect().unwrap();
            stream.set_nonblocking(true).unwrap();
            // Until it takes no more calls.
            while stream.write(b"{\"id\":2,\"do\":\"status\"}\n").is_ok_and(|count| count > 0) {}
            stream
        })
        .collect();

    assert_answers(&site, &node);
    assert_eq!(site.cli(&["restart", "csv"]).code, 0);
    drop(deaf);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_a_command_harms_nobody() {
    let site = Site::new().csv();
    let mut node = site.start();
    let pid = node.wait_ready(&["csv"]).running("csv");

    let mut stream = site.connect().unwrap();
    stream.write_all(b"{\"id\":2,\"do\":\"restart\",\"name\":\"csv\"}\n{\"id\":4,\"do\":\"sta").unwrap();
    drop(stream);

    node.wait_back("csv", pid);
    assert_answers(&site, &node);
}

#[test]
fn the_runtime_directory_is_for_its_user_alone() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let dirs: Vec<_> = std::fs::read_dir(site.runtime_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();

    assert_eq!(dirs.len(), 1, "{dirs:?}");
    assert_eq!(dirs[0].metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_runtime_directory_that_others_can_enter_is_refused() {
    let site = Site::new().csv();
    std::fs::set_permissions(site.runtime_dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let said = site.cli(&["--config", "configs"]);

    assert_eq!(said.code, 1);
    assert!(said.err.contains("is open to other users") && said.err.contains("ENRGDAQ_RUNTIME_DIR"), "{said:?}");
}
