//! CNC: another program, written from the description of the protocol alone, plays each end against ours; strangers stay
//! out; whatever is sent, data taking goes on.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Node, Picture, Signal, Site, is_suspended, memory_peak_mb, send, wait_for, wait_until};
use crate::rest_client::with_api;

/// A source that ticks once a second, for a store.
const TEST: &str =
    "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n[store_config.csv]\nfile_path = \"t.csv\"";

/// The same, as it is sent.
const GUEST: &str = "daq_job_unique_id = \"guest\"\ndaq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n\
                     [store_config.csv]\nfile_path = \"guest.csv\"";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A site with a source and a store, and this `[cnc]`.
fn site(cnc: &str) -> Site {
    Site::of_enrgdaq().supervisor(&format!("[cnc]\n{cnc}")).csv().job("test", TEST)
}

fn server_site(port: u16, rest: &str) -> Site {
    site(&format!("is_server = true\nserver_port = {port}\n{rest}"))
}

fn client_site(port: u16, rest: &str) -> Site {
    site(&format!("server_port = {port}\n{rest}"))
}

/// The other program; it ends with the test.
#[derive(Debug)]
struct Peer {
    child: Child,
    requests: ChildStdin,
    heard: Arc<Mutex<Vec<Value>>>,
    /// Whom it asks, if it is a server.
    to: Option<String>,
    asked: u32,
}

impl Peer {
    fn start(arguments: &[&str]) -> Self {
        let of_project = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(of_project("target/python/bin/python3"))
            .arg(of_project("tests/end_to_end/peers/cnc_peer.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/python has been run");
        let heard = Arc::<Mutex<Vec<Value>>>::default();
        let (out, its_heard) = (child.stdout.take().unwrap(), heard.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                its_heard.lock().unwrap().push(serde_json::from_str(&line).expect("it writes JSON"));
            }
        });
        let requests = child.stdin.take().unwrap();
        Self { child, requests, heard, to: None, asked: 0 }
    }

    /// A node that reports to our server.
    fn client(port: u16, id: &str, keys: &[&str]) -> Self {
        Self::start(&[&["client", &port.to_string(), id], keys].concat())
    }

    /// A server to which our node reports.
    fn server(port: u16, of: &str) -> Self {
        let mut peer = Self::start(&["server", &port.to_string()]);
        peer.to = Some(of.to_owned());
        peer.wait("it listens", |message| message["type"] == "listening");
        peer
    }

    fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits for a message of this kind, old or new.
    fn wait(&self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, DEADLINE, || {
            let heard = self.heard();
            heard.iter().find(|message| is_meant(message)).cloned().ok_or_else(|| {
                let tail: Vec<_> = heard.iter().rev().take(3).collect();
                format!("{tail:?}")
            })
        })
    }

    /// Sends a request of this type with these fields: its id.
    fn send(&mut self, kind: &str, fields: &Value) -> String {
        self.asked += 1;
        let id = format!("question {}", self.asked);
        let mut request = fields.clone();
        request["type"] = format!("CNCMessageReq{kind}").into();
        request["req_id"] = id.clone().into();
        if let Some(to) = &self.to {
            request["to"] = to.clone().into();
        }
        writeln!(self.requests, "{request}").expect("the peer reads");
        id
    }

    /// Asks, and waits for the answer.
    fn ask(&mut self, kind: &str, fields: Value) -> Value {
        let id = self.send(kind, &fields);
        let answer = self.wait(&format!("an answer to {kind}"), |message| message["req_id"] == id.as_str());
        assert_eq!(answer["type"], format!("CNCMessageRes{kind}"), "{answer}");
        answer
    }

    /// Asks again until somebody answers: a request to nobody is lost.
    fn ask_until_answered(&mut self, kind: &str) {
        wait_until("an answer", DEADLINE, || {
            let id = self.send(kind, &json!({}));
            let until = Instant::now() + Duration::from_secs(1);
            while Instant::now() < until {
                if self.heard().iter().any(|message| message["req_id"] == id.as_str()) {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Err("silence".into())
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no map: {value}")).keys().map(String::as_str).collect()
}

fn text(answer: &Value, is_success: bool) -> &str {
    assert_eq!(answer["success"], is_success, "{answer}");
    answer["message"].as_str().expect("it says why")
}

/// What tools made for ENRGDAQ ask, answered by a node of ours, whichever end it is.
fn ask_everything(peer: &mut Peer, site: &Site, node: &mut Node<'_>) {
    peer.ask("Ping", json!({}));
    let clients = peer.ask("ListClients", json!({}));
    let info = json!({"supervisor_id": site.id(), "supervisor_tags": []});
    assert_eq!(clients["clients"][site.id()], info);
    check_status(&peer.ask("Status", json!({}))["status"], site, &info);

    let ran = peer.ask("RunCustomDAQJob", json!({"config": GUEST, "restart_on_crash": true}));
    text(&ran, true);
    let pid = node.wait_ready(&["guest"]).running("guest");
    let status = peer.ask("Status", json!({}));
    let jobs = status["status"]["daq_jobs"].as_array().unwrap().iter();
    let guest = jobs.clone().find(|job| job["unique_id"] == "guest").expect("it belongs to this supervisor");
    assert_eq!(guest["supervisor_info"], info);
    wait_for("its rows arrive", || site.csv_rows("out/guest.csv").len() > 1);
    send(pid, Signal::KILL);
    node.wait_back("guest", pid);

    let wrong =
        peer.ask("RunCustomDAQJob", json!({"config": "daq_job_type = \"DAQJobTset\"", "restart_on_crash": null}));
    assert!(text(&wrong, false).contains("DAQJobTest"), "{wrong}");
    let program = "daq_job_type = \"DAQJobExec\"\ncommand = [\"true\"]";
    let program = peer.ask("RunCustomDAQJob", json!({"config": program, "restart_on_crash": true}));
    assert!(text(&program, false).contains("allow_remote_exec"), "{program}");

    let two = peer.ask("StopDAQJob", json!({"daq_job_name": "DAQJobTest", "remove": false}));
    assert!(text(&two, false).contains("guest"), "{two}");
    let stopped = peer.ask("StopDAQJob", json!({"daq_job_name": null, "daq_job_unique_id": "guest", "remove": false}));
    text(&stopped, true);
    assert_eq!(node.status().state("guest"), "stopped");
    text(&peer.ask("StopDAQJob", json!({"daq_job_unique_id": "guest", "remove": true})), true);
    node.wait("it is gone", |picture| picture.job("guest").is_null());
    let none = peer.ask("StopDAQJob", json!({"daq_job_unique_id": "guest", "remove": true}));
    assert!(text(&none, false).contains("guest"), "{none}");
    assert!(text(&peer.ask("StopDAQJob", json!({})), false).contains("daq_job_name"));
    text(&peer.ask("StopDAQJob", json!({"daq_job_name": "DAQJobTest", "remove": false})), true);
    assert_eq!(node.status().state("test"), "stopped");
    assert_eq!(site.cli(&["start", "test"]).code, 0);

    let before = node.wait_ready(&["csv", "test"]);
    text(&peer.ask("StopDAQJobs", json!({})), true);
    let after = node.wait("all jobs are others", |picture| {
        ["csv", "test"].iter().all(|job| picture.state(job) == "ready" && picture.pid(job) != before.pid(job))
    });

    let update = peer.ask("RestartDAQ", json!({"update": true}));
    assert!(text(&update, false).contains("update_command"), "{update}");
    text(&peer.ask("RestartDAQ", json!({"update": false})), true);
    let instance = |picture: &Picture| picture.job("csv")["instance_id"].clone();
    wait_until("the program has started anew", DEADLINE, || match node.try_status() {
        Some(picture) if picture.state("test") == "ready" && instance(&picture) != instance(&after) => Ok(()),
        other => Err(other.map_or_else(|| "no answer".into(), |picture| picture.brief())),
    });
    peer.ask_until_answered("Ping");
}

fn check_status(status: &Value, site: &Site, info: &Value) {
    let parts = ["daq_job_remote_stats", "daq_job_stats", "daq_jobs", "restart_schedules", "supervisor_info"];
    assert_eq!(keys(status), parts);
    assert_eq!(status["supervisor_info"], *info);
    let csv = &status["daq_jobs"][0];
    let of_job = ["config", "daq_job_type", "instance_id", "subscribed_topics", "supervisor_info", "unique_id"];
    assert_eq!(keys(csv), of_job);
    assert_eq!(csv["daq_job_type"], "DAQJobStoreCSV");
    assert!(csv["config"].as_str().unwrap().contains("daq_job_type = \"DAQJobStoreCSV\""));
    assert!(!csv["subscribed_topics"].as_array().unwrap().is_empty());
    let stats = &status["daq_job_stats"][site.id()];
    assert_eq!(keys(stats), ["DAQJobStoreCSV", "DAQJobTest"]);
    for part in
        ["message_in_stats", "message_out_stats", "message_in_queue_stats", "message_out_queue_stats", "restart_stats"]
    {
        assert_eq!(keys(&stats["DAQJobTest"][part]), ["count", "last_updated"]);
    }
    assert_eq!(
        keys(&stats["DAQJobTest"]["latency_stats"]),
        ["avg_ms", "count", "max_ms", "min_ms", "p95_ms", "p99_ms"]
    );
    assert_eq!(keys(&stats["DAQJobTest"]["resource_stats"]), ["cpu_percent", "rss_mb"]);
    assert!(stats["DAQJobTest"]["is_alive"].is_boolean());
    assert_eq!(status["restart_schedules"], json!([]));
}

#[test]
fn a_node_of_others_asks_our_server_everything() {
    let port = free_port();
    let site = server_site(port, "");
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let mut peer = Peer::client(port, "python_node", &[]);

    ask_everything(&mut peer, &site, &mut node);

    let python = json!({"supervisor_id": "python_node", "supervisor_tags": ["python"]});
    wait_until("the server knows both", DEADLINE, || {
        let clients = peer.ask("ListClients", json!({}));
        let is_so = keys(&clients["clients"]).len() == 2 && clients["clients"]["python_node"] == python;
        if is_so { Ok(()) } else { Err(clients.to_string()) }
    });
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_server_of_others_asks_our_node_everything() {
    let port = free_port();
    let site = client_site(port, "");
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let mut peer = Peer::server(port, site.id());
    let beat = peer.wait("a heartbeat", |message| message["type"] == "CNCMessageHeartbeat");
    assert_eq!(beat["from"], site.id());
    assert_eq!(beat["supervisor_info"], json!({"supervisor_id": site.id(), "supervisor_tags": []}));

    ask_everything(&mut peer, &site, &mut node);

    let said = |module: &'static str, part: &'static str| {
        peer.wait(part, move |message| {
            let is_log = message["type"] == "CNCMessageLog" && message["module"] == module;
            is_log && message["message"].as_str().is_some_and(|text| text.contains(part))
        })
    };
    let line = said("supervisor", "takes data: 2 of 2 jobs are ready");
    assert_eq!(line["client_id"], site.id());
    assert_eq!(line["level"], "INFO");
    let fields = ["client_id", "from", "level", "message", "module", "req_id", "timestamp", "type"];
    assert_eq!(keys(&line), fields);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_node_of_others_answers_all_that_is_asked_of_it_over_rest() {
    let (site, api) = with_api(Site::of_enrgdaq().csv(), "");
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    let peer = Peer::client(api.cnc_port, "python", &[]);
    wait_until("the node is known", DEADLINE, || {
        let clients = api.get("/clients").fine();
        if clients["python"]["info"].is_object() { Ok(()) } else { Err(clients.to_string()) }
    });
    let post = |what: &str, body: Value| api.post(&format!("/clients/python/{what}"), &body.to_string()).fine();

    let clients = api.get("/clients").fine();
    assert_eq!(clients["python"]["info"], json!({"supervisor_id": "python", "supervisor_tags": ["python"]}));
    assert_eq!(clients["python"]["identity"], "cHl0aG9u");
    assert_eq!(api.post("/clients/python/ping", "").fine()["type"], "CNCMessageResPing");
    let status = api.get("/clients/python/status").fine();
    assert_eq!(status["daq_jobs"][0]["daq_job_type"], "DAQJobPython");
    assert_eq!(status["daq_job_stats"]["python"]["DAQJobPython"]["message_in_stats"]["count"], 3);
    assert_eq!(status["daq_job_remote_stats"]["elsewhere"]["message_out_bytes"], 4);
    assert_eq!(status["restart_schedules"][0]["job"], "DAQJobPython");
    let did = json!({"success": true, "message": "python did it"});
    let says = |answer: &Value| json!({"success": answer["success"], "message": answer["message"]});
    assert_eq!(says(&post("restart_daq", json!({"update": true}))), did);
    assert_eq!(says(&api.post("/clients/python/stop_daqjobs", "").fine()), did);
    assert_eq!(says(&post("run_custom_daqjob", json!({"config": "a = 1", "restart_on_crash": false}))), did);
    let stop = json!({"daq_job_name": "DAQJobPython", "daq_job_unique_id": "python-1", "remove": true});
    assert_eq!(says(&post("stop_daqjob", stop)), json!({"success": false, "message": "python did not"}));
    let message = json!({"message_type": "M", "payload": "{}", "target_daq_job_unique_id": "python-1"});
    assert_eq!(post("send_message", message)["jobs_notified"], 2);
    let logs = api.get("/clients/python/logs").fine();
    assert_eq!(logs["logs"][0]["message"], "python is here");

    // What it was asked is what stands in the description of the protocol.
    let asked = |kind: &str| peer.wait(kind, |message| message["type"] == format!("CNCMessageReq{kind}"));
    assert_eq!(asked("RestartDAQ")["update"], true);
    asked("StopDAQJobs");
    let run = asked("RunCustomDAQJob");
    assert_eq!((&run["config"], &run["restart_on_crash"]), (&json!("a = 1"), &json!(false)));
    let stop = asked("StopDAQJob");
    assert_eq!((&stop["daq_job_name"], &stop["daq_job_unique_id"]), (&json!("DAQJobPython"), &json!("python-1")));
    assert_eq!(stop["remove"], true);
    let send = asked("SendMessage");
    assert_eq!((&send["message_type"], &send["payload"]), (&json!("M"), &json!("{}")));
    assert_eq!(send["target_daq_job_unique_id"], "python-1");

    // What only ours know others leave unanswered.
    let command = api.post("/api/v1/nodes/python/command", "{\"do\":\"plan\"}");
    assert_eq!(command.status, 504, "{command:?}");
    drop(peer);
    let silent = api.post("/clients/python/ping", "");
    assert_eq!((silent.status, &silent.json()["detail"]), (504, &json!("Timeout waiting for client response.")));
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_message_for_jobs_reaches_those_that_take_it() {
    let port = free_port();
    let site = client_site(port, "");
    let mut node = site.start();
    let pid = node.wait_ready(&["csv", "test"]).running("test");
    let mut peer = Peer::server(port, site.id());
    peer.ask_until_answered("Ping");
    let mut message = |kind: &str, payload: &str, target: Option<&str>| {
        let fields = json!({"message_type": kind, "payload": payload, "target_daq_job_unique_id": target});
        peer.ask("SendMessage", fields)
    };

    let unknown = message("DAQJobMessageExplode", "{}", None);
    assert!(text(&unknown, false).contains("Unknown message type"), "{unknown}");
    assert_eq!(unknown["jobs_notified"], 0);
    let nobody = message("DAQJobMessageStop", "{\"reason\": \"enough\"}", Some("no such job"));
    assert!(text(&nobody, false).contains("No jobs accepted"), "{nobody}");
    text(&message("DAQJobMessageStop", "{\"reason\": 7}", None), false);
    let status = node.status();
    let id = status.job("test")["unique_id"].as_str().unwrap();
    let stopped = message("DAQJobMessageStop", "{\"reason\": \"enough\"}", Some(id));
    text(&stopped, true);
    assert_eq!(stopped["jobs_notified"], 1);

    node.wait("it has ended", |picture| picture.pid("test") != Some(pid));
    assert_eq!(node.status().state("csv"), "ready");
}

#[test]
fn a_server_that_is_killed_hears_of_its_nodes_again() {
    let port = free_port();
    let site = server_site(port, "");
    let reporter = client_site(port, "");
    let node = site.start();
    let mut reporting = reporter.start();
    let mut peer = Peer::client(port, "python_node", &[]);
    let up = format!("CNC: node {} is up", reporter.id());
    wait_for("it reports", || node.log().contains(&up));
    peer.ask_until_answered("Status");

    node.kill();
    wait_for("the node has noticed", || reporting.log().contains("is gone; trying again"));
    reporting.wait_ready(&["csv", "test"]);
    let node = site.start();

    wait_for("it reports again", || node.log().contains(&up));
    peer.ask_until_answered("Status");
    assert_eq!((reporting.stop(), node.stop()), (0, 0));
}

#[test]
fn a_server_of_others_that_is_killed_hears_of_our_node_again_and_of_what_it_missed() {
    let port = free_port();
    let site = client_site(port, "");
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let first = Peer::server(port, site.id());
    first.wait("a heartbeat", |message| message["type"] == "CNCMessageHeartbeat");
    drop(first);
    wait_for("the node has noticed", || node.log().contains("is gone; trying again"));
    assert_eq!(site.cli(&["restart", "csv"]).code, 0);

    let mut second = Peer::server(port, site.id());

    second.wait("what happened meanwhile", |message| {
        message["type"] == "CNCMessageLog"
            && message["message"].as_str().is_some_and(|text| text.contains("[csv] stopped"))
    });
    second.ask_until_answered("Status");
}

#[test]
fn a_node_that_is_suspended_is_down_and_comes_back() {
    let port = free_port();
    let site = server_site(port, "");
    let reporter = client_site(port, "");
    let node = site.start();
    let reporting = reporter.start();
    let (up, down) = (format!("node {} is up", reporter.id()), format!("node {} is no longer heard of", reporter.id()));
    wait_for("it reports", || node.log().contains(&up));

    send(reporting.pid(), Signal::STOP);
    wait_for("it is suspended", || is_suspended(reporting.pid()));
    wait_for("that is noticed", || node.log().contains(&down));
    // Longer than what keeps the connection.
    wait_for("its connection has ended", || !has_connection(port));
    send(reporting.pid(), Signal::CONT);

    wait_for("it is back", || node.log().matches(&up).count() == 2);
    assert_eq!((reporting.stop(), node.stop()), (0, 0));
}

/// Whether a connection to a port of this machine stands.
fn has_connection(port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&local)).any(|row| row[3] == ESTABLISHED)
}

#[test]
fn a_port_that_is_taken_is_an_error_before_any_job_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let site = server_site(port, "");

    let said = site.cli(&["--config", "configs"]);

    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("cannot listen at tcp://127.0.0.1:{port}")), "{}", said.err);
    assert!(said.err.contains("cnc.server_port") && !said.err.contains("[csv]"), "{}", said.err);
}

/// Makes the keys of a node with the command line: the public one.
pub(crate) fn keygen(site: &Site) -> String {
    let said = site.cli(&["keygen", "configs/node.keys"]);
    assert_eq!(said.code, 0, "{said:?}");
    let line = said.out.lines().find_map(|line| line.strip_prefix("public key: ")).expect("it prints the public key");
    line.to_owned()
}

fn with_cnc(site: Site, cnc: &str) -> Site {
    site.supervisor(&format!("[cnc]\n{cnc}"))
}

/// A server that lists the key of one node, and both.
fn with_keys() -> (Site, Site, u16, String) {
    let port = free_port();
    let (server, node) = (server_site(port, ""), client_site(port, ""));
    let (server_key, node_key) = (keygen(&server), keygen(&node));
    let curve = "[cnc.curve]\nkey_file = \"node.keys\"";
    let list = format!("[cnc.curve.clients]\n{:?} = \"{node_key}\"", node.id());
    let server = with_cnc(server, &format!("is_server = true\nserver_port = {port}\n{curve}\n{list}"));
    let node = with_cnc(node, &format!("server_port = {port}\n{curve}\nserver_key = \"{server_key}\""));
    (server, node, port, server_key)
}

#[test]
fn with_keys_who_is_listed_is_in_and_nobody_else() {
    let (server_site, node_site, port, server_key) = with_keys();
    let server = server_site.start();
    let listed = node_site.start();
    let up = format!("CNC: node {} is up", node_site.id());
    wait_for("the listed one is in", || server.log().contains(&up));
    assert!(server.log().contains("for nodes with a listed key"), "{}", server.log());

    // A key that is not listed.
    let stranger_site = client_site(port, "");
    let stranger_key = keygen(&stranger_site);
    let curve = format!("[cnc.curve]\nkey_file = \"node.keys\"\nserver_key = \"{server_key}\"");
    let stranger_site = with_cnc(stranger_site, &format!("server_port = {port}\n{curve}"));
    let stranger = stranger_site.start();
    let refused = format!("its key {stranger_key} is not in `[cnc.curve.clients]`");
    wait_for("it is refused", || server.log().contains(&refused));
    wait_for("and told", || stranger.log().contains("does not know this node's key"));

    // No keys at all.
    let mut plain = Peer::client(port, node_site.id(), &[]);
    plain.send("Status", &json!({}));
    wait_for("that is told", || server.log().contains("it spoke no CNC, not in time, or with another key"));

    assert!(plain.heard().is_empty());
    assert_eq!(server.log().matches("is up").count(), 1, "{}", server.log());
    assert_eq!((stranger.stop(), listed.stop(), server.stop()), (0, 0, 0));
}

#[test]
fn a_node_with_keys_speaks_to_no_other_server_and_comes_in_when_it_is_listed_later() {
    let (server_site, node_site, port, _) = with_keys();
    let own_key = keygen_again(&node_site);
    // It is listed with its old key.
    let server = server_site.start();
    let node = node_site.start();
    wait_for("it is refused", || server.log().contains(&own_key));
    assert_eq!(server.stop(), 0);

    let list = format!("[cnc.curve.clients]\n{:?} = \"{own_key}\"", node_site.id());
    let curve = format!("[cnc.curve]\nkey_file = \"node.keys\"\n{list}");
    let server_site = with_cnc(server_site, &format!("is_server = true\nserver_port = {port}\n{curve}"));
    let server = server_site.start();
    wait_for("it is in", || server.log().contains(&format!("node {} is up", node_site.id())));
    assert_eq!(server.stop(), 0);

    // Another server at the same place, which lists it: it is not the one whose key the node knows.
    std::fs::remove_file(server_site.path("configs/node.keys")).unwrap();
    keygen(&server_site);
    let server = server_site.start();
    wait_for("that is told here", || server.log().contains("with another key of this server"));
    wait_for("and there", || node.log().contains("its keys are others than"));
    assert!(!server.log().contains("is up"), "{}", server.log());
}

pub(crate) fn keygen_again(site: &Site) -> String {
    let said = site.cli(&["keygen", "configs/node.keys"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("is there already"), "{}", said.err);
    std::fs::remove_file(site.path("configs/node.keys")).unwrap();
    keygen(site)
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    let (server_site, ..) = with_keys();
    let file = server_site.path("configs/node.keys");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();

    let said = server_site.cli(&["--config", "configs"]);

    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("chmod 600") && said.err.contains("644"), "{}", said.err);
}

#[test]
fn beyond_loopback_there_must_be_keys_or_the_word_insecure_which_is_warned_of() {
    let port = free_port();
    let site = server_site(port, "server_bind = \"0.0.0.0\"");
    let said = site.cli(&["--config", "configs"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("cnc.curve") && said.err.contains("insecure = true"), "{}", said.err);

    let site = server_site(port, "server_bind = \"0.0.0.0\"\ninsecure = true");
    let node = site.start();
    let mut peer = Peer::client(port, "python_node", &[]);

    peer.ask_until_answered("Status");
    let refused = peer.ask("StopDAQJobs", json!({}));
    assert!(text(&refused, false).contains("needs the role operator"), "{refused}");
    assert!(node.log().contains("is open to everybody who reaches it"), "{}", node.log());
    assert_eq!(node.stop(), 0);
}

#[test]
fn two_hundred_nodes_are_served() {
    let port = free_port();
    let site = server_site(port, "");
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let _crowd = Peer::start(&["crowd", &port.to_string(), "200"]);
    let mut peer = Peer::client(port, "python_node", &[]);

    wait_until("all have come", DEADLINE, || {
        let clients = peer.ask("ListClients", json!({}));
        let count = keys(&clients["clients"]).len();
        if count == 202 { Ok(()) } else { Err(format!("{count}")) }
    });

    assert!(!node.log().contains("no longer heard of"), "{}", node.log());
    peer.ask("Status", json!({}));
    assert_eq!(node.stop(), 0);
}

#[test]
fn garbage_bombs_and_storms_harm_nobody_and_take_no_memory() {
    let port = free_port();
    let site = server_site(port, "");
    let mut node = site.start();
    let before = node.wait_ready(&["csv", "test"]);
    let mut good = Peer::client(port, "good", &[]);
    good.ask_until_answered("Ping");
    let port = port.to_string();
    let attacks = [
        Peer::start(&["garbage", &port, "8", "1"]),
        Peer::start(&["garbage", &port, "8", "2"]),
        Peer::start(&["storm", &port, "8"]),
    ];

    let is_over = || attacks.iter().all(|attack| attack.heard().iter().any(|message| message["type"] == "done"));
    let mut slowest = Duration::ZERO;
    while !is_over() {
        let begun = Instant::now();
        good.ask("Ping", json!({}));
        good.ask("Status", json!({}));
        slowest = slowest.max(begun.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }

    println!("the slowest pair of answers took {slowest:?}; {} MB at the most", memory_peak_mb(node.pid()));
    assert!(memory_peak_mb(node.pid()) < 600, "{} MB", memory_peak_mb(node.pid()));
    assert!(node.log().contains("CNC: body") && node.log().contains("CNC: frames"), "{}", node.log());
    let after = node.status();
    assert_eq!((after.pid("csv"), after.pid("test")), (before.pid("csv"), before.pid("test")));
    assert!(node.log().len() < 100_000, "the log is not flooded: {}", node.log().len());
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_node_whose_server_never_reads_goes_on_and_ends_as_it_should() {
    let port = free_port();
    // It takes connections, and says nothing.
    let deaf = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let site = client_site(port, "");
    let mut node = site.start();

    node.wait_ready(&["csv", "test"]);
    wait_for("rows arrive", || site.csv_rows("out/t.csv").len() > 2);

    assert_eq!(node.stop(), 0);
    drop(deaf);
}
