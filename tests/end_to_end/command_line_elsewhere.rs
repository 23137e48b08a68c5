//! The command line for supervisors elsewhere: over the REST API of a server, to the server itself and to its nodes.

use std::process::Command;

use crate::harness::{Said, Site, said, wait_for};
use crate::rest_client::{Api, TEST, tokens, with_cnc};

/// A server with tokens, and a node that reports to it.
fn sites() -> (Site, Api, Site) {
    let (server, api) = with_cnc(Site::of_enrgdaq().csv(), "", "require_token = true");
    let cnc = format!("[cnc]\nserver_port = {}", api.cnc_port);
    let node = Site::of_enrgdaq().csv().job("test", TEST).supervisor(&cnc);
    (server, api, node)
}

/// Runs the command line against the server.
fn cli(site: &Site, api: &Api, token: Option<&str>, args: &[&str]) -> Said {
    let mut command: Command = site.command(args);
    command.env("ENRGDAQ_SERVER", format!("http://localhost:{}", api.port));
    token.map(|token| command.env("ENRGDAQ_TOKEN", token));
    said(&mut command)
}

#[test]
fn all_commands_work_on_a_node_behind_a_server_as_far_as_the_token_allows() {
    let (server, api, far) = sites();
    let made = tokens(&server, &["viewer", "operator", "admin"]);
    let (viewer, operator, admin) = (made[0].as_str(), made[1].as_str(), made[2].as_str());
    let (mut server_node, mut node) = (server.start(), far.start());
    server_node.wait_ready(&["csv"]);
    let before = node.wait_ready(&["csv", "test"]);
    let id = far.id();
    let ask = |token: &str, args: &[&str]| cli(&server, &api, Some(token), &[&["--id", id], args].concat());
    wait_for("the node is known", || ask(viewer, &["status"]).code == 0);

    let status = ask(viewer, &["status"]);
    assert!(status.out.starts_with(&format!("{id}: running")) && status.out.contains("test"), "{status:?}");
    let json: serde_json::Value = serde_json::from_str(&ask(viewer, &["status", "--json"]).out).unwrap();
    assert_eq!(json["supervisor"]["pid"], node.pid());
    let own = cli(&server, &api, Some(viewer), &["status"]);
    assert!(own.out.starts_with(&format!("{}: running", server.id())), "without --id it is the server: {own:?}");
    assert!(ask(viewer, &["logs", "supervisor", "-n", "3"]).out.contains("INFO"));
    assert_eq!(ask(viewer, &["plan"]).out, "nothing has changed\n");

    let refused = ask(viewer, &["restart", "test"]);
    assert!(refused.code == 1 && refused.err.contains("needs the role operator"), "{refused:?}");
    assert_eq!(ask(operator, &["restart", "test"]).out, "test: restarted\n");
    assert_ne!(node.status().running("test"), before.running("test"));
    assert_eq!(ask(operator, &["stop", "test"]).out, "test: stopped\n");
    assert_eq!(node.status().state("test"), "stopped");
    assert_eq!(ask(operator, &["start", "test"]).code, 0);
    assert_eq!(ask(operator, &["signal", "csv", "CONT"]).out, "csv: SIGCONT sent\n");
    let none = ask(operator, &["restart", "tset"]);
    assert!(none.err.contains("did you mean `test`?"), "the node's own words: {none:?}");
    assert_eq!(ask(operator, &["reload"]).out, "nothing has changed\n");
    let answer = ask(operator, &["call", "test", "dump", "rows=2"]);
    assert!(answer.code == 0 && answer.out.lines().count() >= 2, "{answer:?}");

    server.write("more.toml", TEST);
    let refused = ask(operator, &["add", "more.toml"]);
    assert!(refused.code == 1 && refused.err.contains("needs the role admin"), "{refused:?}");
    assert_eq!(ask(admin, &["add", "more.toml"]).out, "+ more  new\n");
    node.wait_ready(&["more"]);
    assert_eq!(ask(admin, &["rm", "more"]).out, "- more  removed\n");
    server.write("program.toml", "daq_job_type = \"DAQJobExec\"\ncommand = [\"true\"]\n");
    let refused = ask(admin, &["add", "program.toml"]);
    assert!(refused.code == 1 && refused.err.contains("allow_remote_exec"), "{refused:?}");

    let audit = cli(&server, &api, Some(admin), &["audit-log", "--json"]).out;
    let lines: Vec<serde_json::Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = |who: &str, call: &str, result: &str| {
        lines.iter().any(|line| {
            let result_of = line["result"].as_str().unwrap();
            line["who"] == who && line["node"] == id && line["call"]["do"] == call && result_of.contains(result)
        })
    };
    assert!(done("operator", "restart", "ok") && done("viewer", "restart", "needs the role operator"), "{audit}");
    assert!(done("admin", "run", "allow_remote_exec"), "{audit}");
    // The node has written down who it was, too.
    assert!(far.cli(&["audit-log"]).out.contains(" operator (operator, REST "), "{:?}", far.cli(&["audit-log"]));
    assert_eq!((node.stop(), server_node.stop()), (0, 0));
}

#[test]
fn what_does_not_work_from_here_is_told_with_the_remedy() {
    let (server, api, _) = sites();
    let made = tokens(&server, &["viewer"]);
    let viewer = made[0].as_str();
    let nobody = cli(&server, &api, Some(viewer), &["status"]);
    assert!(nobody.code == 1 && nobody.err.contains("cannot use the server"), "{nobody:?}");
    let mut node = server.start();
    node.wait_ready(&["csv"]);

    let without = cli(&server, &api, None, &["status"]);
    assert!(without.code == 1 && without.err.contains("ENRGDAQ_TOKEN"), "{without:?}");
    let wrong = cli(&server, &api, Some("enrgdaq_wrong"), &["status"]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    let unknown = cli(&server, &api, Some(viewer), &["--id", "nobody", "status"]);
    assert!(unknown.code == 1 && unknown.err.contains("not found"), "{unknown:?}");
    let local = cli(&server, &api, Some(viewer), &["token", "list"]);
    assert!(local.code == 1 && local.err.contains("this machine only"), "{local:?}");
    assert_eq!(node.stop(), 0);
}
