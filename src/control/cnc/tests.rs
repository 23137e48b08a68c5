//! Both ends together over real sockets: what goes through them, who is kept out, and what they survive.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::body::encode;
use super::client::{Reporting, Reports};
use super::listening::{Listening, Serving};
use super::message::Message;
use super::nodes::{NodeError, Nodes};
use super::picture::tests::status;
use crate::bus::{Keys, text_of};
use crate::config::{CncConfig, CurveConfig, Role};
use crate::control::audit::{self, AuditLog};
use crate::control::{Caller, Command, Desk, Event, Events, Inquiry, LogQuery, LoggedLine, NodeChange, Refusal, Reply};
use crate::job::LogLine;
use crate::message::SupervisorInfo;

/// Nothing here takes so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// A desk at which nobody works: every command is refused as the supervisor is stopping.
pub(super) fn idle_desk() -> Desk {
    let (inquiries, _) = mpsc::channel(1);
    let dir = tempfile::tempdir().unwrap();
    Desk::new(inquiries, "lab".into(), AuditLog::open(dir.path()).unwrap(), Events::new())
}

/// A supervisor that knows a few answers, on a thread of its own.
struct Lab {
    id: String,
    desk: Desk,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    /// Commands that are answered never: how many wait.
    stuck: std::sync::Arc<std::sync::Mutex<Vec<Inquiry>>>,
}

impl Lab {
    fn new(id: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (inquiries, mut handed_in) = mpsc::channel::<Inquiry>(64);
        let dir = tempfile::tempdir().unwrap();
        let desk = Desk::new(inquiries, id.into(), AuditLog::open(dir.path()).unwrap(), Events::new());
        let stuck = std::sync::Arc::<std::sync::Mutex<Vec<Inquiry>>>::default();
        let its_stuck = stuck.clone();
        runtime.spawn(async move {
            while let Some(inquiry) = handed_in.recv().await {
                match known_answer(&inquiry) {
                    Some(answer) => drop(inquiry.reply.send(answer)),
                    None => its_stuck.lock().unwrap().push(inquiry),
                }
            }
        });
        Self { id: id.into(), desk, dir, runtime, stuck }
    }

    fn info(&self) -> SupervisorInfo {
        SupervisorInfo { supervisor_id: self.id.clone(), supervisor_tags: vec!["north".into()] }
    }

    fn serve(&self, cnc: &CncConfig) -> Server {
        let listening = Listening::bind(cnc, Path::new("/")).unwrap();
        let address = listening.address().to_owned();
        let nodes = Nodes::new(self.info(), self.desk.clone());
        let heard = self.desk.listen();
        let serving = listening.serve(nodes.clone(), self.runtime.handle().clone()).unwrap();
        Server { nodes, address, heard, _serving: serving }
    }

    fn report(&self, cnc: &CncConfig) -> Reports {
        let reporting = Reporting::of(cnc, Path::new("/")).unwrap();
        reporting.begin(self.info(), self.desk.clone(), self.runtime.handle().clone()).unwrap()
    }

    /// Commands that wait for an answer, of somebody who is still there.
    fn waiting(&self) -> usize {
        let mut stuck = self.stuck.lock().unwrap();
        stuck.retain(|inquiry| !inquiry.reply.is_closed());
        stuck.len()
    }
}

fn known_answer(inquiry: &Inquiry) -> Option<Result<Reply, Refusal>> {
    Some(match &inquiry.command {
        Command::Inventory => Ok(Reply::Inventory { status: Box::new(status(&[("a", "T", None)])), jobs: Vec::new() }),
        Command::Logs { query, .. } => Ok(logs(query)),
        Command::Reload => Err(Refusal::NoUpdate),
        Command::Forward { operation, .. } => {
            for part in 0..3 {
                inquiry.parts.try_send(json!({"part": part, "of": operation["do"]})).unwrap();
            }
            Ok(Reply::Response { data: json!({"whole": true}) })
        }
        Command::Status => Ok(Reply::Status(Box::new(status(&[])))),
        _ => return None,
    })
}

/// Ten lines.
fn logs(query: &LogQuery) -> Reply {
    let line = |number: u64| LoggedLine {
        number,
        job: "csv".into(),
        line: LogLine {
            level: if number == 3 { "DEBUG".into() } else { "INFO".into() },
            module: "m".into(),
            message: format!("line {number}"),
            timestamp: "t".into(),
        },
    };
    let lines: Vec<_> = (1..=10).filter(|number| query.after.is_none_or(|after| *number > after)).map(line).collect();
    Reply::Logs { lines, older: 0, next: 10, forgotten: 0, file: None, begins: 0 }
}

struct Server {
    nodes: Nodes,
    address: String,
    heard: broadcast::Receiver<Event>,
    _serving: Serving,
}

impl Server {
    fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Waits for an event of a node.
    fn wait_event(&mut self, is_meant: impl Fn(&str, NodeChange, &str) -> bool) -> (String, String) {
        let until = Instant::now() + DEADLINE;
        let mut others = Vec::new();
        while Instant::now() < until {
            match self.heard.try_recv() {
                Ok(Event::Node { node, change, reason, .. }) => {
                    let reason = reason.unwrap_or_default();
                    if is_meant(&node, change, &reason) {
                        return (node, reason);
                    }
                    others.push((node, change, reason));
                }
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        panic!("it did not come; instead: {others:?}, {:?}", self.nodes.counts());
    }

    fn wait_up(&mut self, id: &str) {
        self.wait_event(|node, change, _| node == id && change == NodeChange::Up);
    }

    fn count(&self, kind: &str) -> u64 {
        self.nodes.counts()[kind]
    }
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn server_config() -> CncConfig {
    CncConfig { is_server: true, server_port: 0, ..CncConfig::default() }
}

fn client_config(port: u16) -> CncConfig {
    CncConfig { server_port: port, ..CncConfig::default() }
}

fn anna(role: Role) -> Caller {
    Caller::remote("anna", "REST", role)
}

/// A peer that says what it likes.
fn peer(server: &Server, identity: &[u8]) -> (zmq::Context, zmq::Socket) {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::DEALER).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_identity(identity).unwrap();
    socket.set_rcvtimeo(10_000).unwrap();
    socket.connect(&server.address).unwrap();
    (context, socket)
}

fn heartbeat(id: &str) -> Vec<u8> {
    let supervisor_info = SupervisorInfo { supervisor_id: id.into(), supervisor_tags: Vec::new() };
    encode(&Message::Heartbeat { req_id: None, supervisor_info }).unwrap()
}

fn ping() -> Message {
    Message::ReqPing { req_id: None }
}

#[test]
fn a_node_reports_and_answers_what_is_asked() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");

    let nodes = server.nodes.clone();
    let ask = |request| lab.runtime.block_on(nodes.request(&anna(Role::Viewer), "lab1", request));
    assert!(matches!(ask(ping()), Ok(Message::ResPing { req_id: Some(_) })));
    let Ok(Message::ResStatus { status, .. }) = ask(Message::ReqStatus { req_id: None }) else { panic!("no status") };
    assert!(status.daq_job_stats["lab1"].contains_key("T"));
    let clients = ask(Message::ReqListClients { req_id: None });
    let Ok(Message::ResListClients { clients, .. }) = clients else { panic!("{clients:?}") };
    assert_eq!(clients, BTreeMap::from([("lab1".to_owned(), Some(lab1.info()))]));

    wait_for("it says who it is", || nodes.clients()["lab1"].info == Some(lab1.info()));
    assert_eq!(nodes.clients()["lab1"].identity.as_deref(), Some("bGFiMQ=="));
    assert_eq!(nodes.clients().keys().collect::<Vec<_>>(), ["lab", "lab1"]);
    let log = || lab.runtime.block_on(nodes.logs("lab1")).unwrap();
    wait_for("its log comes", || log().len() == 9);
    assert_eq!(
        (log()[2].message.as_str(), log()[2].module.as_str(), log()[2].client_id.as_str()),
        ("line 4", "csv", "lab1")
    );
    assert_eq!(lab.runtime.block_on(nodes.logs("lab")).unwrap().len(), 9, "the server's own");
    assert_eq!(lab.runtime.block_on(nodes.logs("nobody")), None);
    assert_eq!(lab.runtime.block_on(nodes.request(&anna(Role::Admin), "nobody", ping())), Err(NodeError::Unknown));
}

#[test]
fn a_command_goes_through_with_its_parts_and_its_refusal() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");
    let nodes = server.nodes.clone();
    let give = |id: &str, role, command| {
        let (parts, mut received) = mpsc::channel(16);
        let answer = lab.runtime.block_on(nodes.command(&anna(role), id, command, parts));
        (answer, std::iter::from_fn(move || received.try_recv().ok()).collect::<Vec<Value>>())
    };

    for id in ["lab1", "lab"] {
        let forward = Command::Forward { name: "a".into(), operation: json!({"do": "count"}) };
        let (answer, parts) = give(id, Role::Operator, forward);
        assert_eq!(answer, Ok(Reply::Response { data: json!({"whole": true}) }));
        assert_eq!(parts, (0..3).map(|part| json!({"part": part, "of": "count"})).collect::<Vec<_>>());
        assert!(matches!(give(id, Role::Viewer, Command::Status).0, Ok(Reply::Status(_))));
        let refused = give(id, Role::Viewer, Command::Reload).0;
        assert!(matches!(refused, Err(NodeError::Refused(Refusal::Forbidden { .. }))), "{refused:?}");
        let refused = give(id, Role::Operator, Command::Reload).0.unwrap_err().to_string();
        assert_eq!(refused, Refusal::NoUpdate.to_string());
    }

    let written = audit::read(lab1.dir.path()).unwrap();
    let written: Vec<_> = written.iter().map(|line| (line.who.as_str(), line.role, line.call["do"].clone())).collect();
    assert_eq!(written, [("anna", Role::Operator, json!("forward")), ("anna", Role::Operator, json!("reload"))]);
    let asked = audit::read(lab.dir.path()).unwrap();
    let asked: Vec<_> = asked.iter().filter(|line| line.node == "lab1").map(|line| line.result.as_str()).collect();
    assert_eq!(asked.len(), 3);
    assert_eq!((asked[0], asked[2]), ("ok", Refusal::NoUpdate.to_string().as_str()));
}

#[test]
fn a_command_that_takes_long_is_waited_for_and_called_off_when_nobody_waits() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");

    let nodes = server.nodes.clone();
    let (parts, _received) = mpsc::channel(1);
    // Longer than the patience with a node that says nothing.
    let asked = async move {
        let caller = anna(Role::Admin);
        tokio::time::timeout(Duration::from_secs(7), nodes.command(&caller, "lab1", Command::RestartAll, parts)).await
    };
    let answer = lab.runtime.block_on(asked);

    assert!(answer.is_err(), "it is still under way: {answer:?}");
    wait_for("it is called off", || lab1.waiting() == 0);
    assert_eq!(server.nodes.exchange().pending().count(), 0);
}

#[test]
fn an_order_that_takes_long_is_answered_and_goes_on() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");

    for id in ["lab1", "lab"] {
        let request = Message::ReqStopDaqJobs { req_id: None };
        let answer = lab.runtime.block_on(server.nodes.request(&anna(Role::Admin), id, request));
        let Ok(Message::ResStopDaqJobs { success: true, message, .. }) = answer else { panic!("{answer:?}") };
        assert!(message.contains("goes on"), "{message}");
    }
    assert_eq!((lab.waiting(), lab1.waiting()), (1, 1), "they are not called off");
}

#[test]
fn beyond_so_many_at_a_time_a_node_is_busy_and_still_answers_questions() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");
    let nodes = server.nodes.clone();
    let (parts, _received) = mpsc::channel(1);
    let tasks: Vec<_> = (0..70)
        .map(|_| {
            let (nodes, parts) = (nodes.clone(), parts.clone());
            lab.runtime
                .spawn(async move { nodes.command(&anna(Role::Admin), "lab1", Command::RestartAll, parts).await })
        })
        .collect();
    wait_for("all places are taken", || lab1.waiting() == 64);

    let request = Message::ReqStopDaqJobs { req_id: None };
    let answer = lab.runtime.block_on(nodes.request(&anna(Role::Admin), "lab1", request));

    let Ok(Message::ResStopDaqJobs { success: false, message, .. }) = answer else { panic!("{answer:?}") };
    assert!(message.contains("busy"), "{message}");
    wait_for("those beyond are refused", || tasks.iter().filter(|task| task.is_finished()).count() == 6);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    wait_for("all are called off", || lab1.waiting() == 0);
}

#[test]
fn a_node_that_leaves_is_told_and_asking_it_ends_at_once() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");
    drop(reports);

    server.wait_event(|node, change, _| node == "lab1" && change == NodeChange::Down);
    let begun = Instant::now();
    let answer = lab.runtime.block_on(server.nodes.request(&anna(Role::Admin), "lab1", ping()));

    assert_eq!(answer, Err(NodeError::Silent));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");
}

#[test]
fn a_node_finds_its_server_again() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let port = server.port();
    let _reports = lab1.report(&client_config(port));
    server.wait_up("lab1");
    drop(server);

    let mut server = lab.serve(&CncConfig { server_port: port, ..server_config() });

    server.wait_up("lab1");
}

#[test]
fn a_node_cannot_answer_what_another_was_asked() {
    let lab = Lab::new("lab");
    let mut server = lab.serve(&server_config());
    let (_one, victim) = peer(&server, b"victim");
    let (_two, imposter) = peer(&server, b"imposter");
    victim.send(heartbeat("victim"), 0).unwrap();
    imposter.send(heartbeat("imposter"), 0).unwrap();
    server.wait_up("imposter");

    let nodes = server.nodes.clone();
    let asked = lab.runtime.spawn(async move { nodes.request(&anna(Role::Viewer), "victim", ping()).await });
    let request = super::body::decode(&victim.recv_msg(0).unwrap()).unwrap();
    let answer = encode(&Message::ResPing { req_id: request.req_id().map(str::to_owned) }).unwrap();
    imposter.send(&answer[..], 0).unwrap();
    wait_for("it is counted", || server.count("unexpected") == 1);
    assert!(!asked.is_finished());
    victim.send(&answer[..], 0).unwrap();

    assert!(lab.runtime.block_on(asked).unwrap().is_ok());
}

#[test]
fn a_node_may_ask_the_server_itself_what_its_role_allows() {
    let lab = Lab::new("lab");
    let mut server = lab.serve(&CncConfig { clients_may: Some(Role::Viewer), ..server_config() });
    let (_context, node) = peer(&server, b"lab1");
    node.send(heartbeat("lab1"), 0).unwrap();
    server.wait_up("lab1");
    let ask = |request: Message| {
        node.send(encode(&request.with_req_id(Some("7".into()))).unwrap(), 0).unwrap();
        super::body::decode(&node.recv_msg(0).unwrap()).unwrap()
    };

    assert!(matches!(ask(Message::ReqStatus { req_id: None }), Message::ResStatus { .. }));
    let clients = ask(Message::ReqListClients { req_id: None });
    let Message::ResListClients { clients, .. } = clients else { panic!("{clients:?}") };
    assert_eq!(clients.keys().collect::<Vec<_>>(), ["lab", "lab1"]);
    let refused = ask(Message::ReqStopDaqJobs { req_id: None });
    let Message::ResStopDaqJobs { success: false, message, req_id } = refused else { panic!("{refused:?}") };
    assert!(message.contains("needs the role operator") && req_id.as_deref() == Some("7"), "{message}");
}

/// Garbage of many kinds, and who sends it is kept out of nothing but of harm.
#[test]
fn garbage_is_counted_and_a_good_node_is_unharmed() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");
    let (_context, bad) = peer(&server, b"bad");

    let command = Message::ReqCommand {
        req_id: Some("1".into()),
        call: json!({"do": "restart_all"}),
        who: "me".into(),
        from: "here".into(),
        role: Role::Admin,
    };
    for round in 0..200_u32 {
        bad.send_multipart([&b"a"[..], b"b"], 0).unwrap();
        bad.send_multipart([&b""[..], &heartbeat("bad")], 0).unwrap();
        bad.send(&round.to_le_bytes()[..], 0).unwrap();
        bad.send(&[vec![0x91; 50_000], vec![0xc0]].concat()[..], 0).unwrap();
        bad.send(&b"\xdf\xff\xff\xff\xff"[..], 0).unwrap();
        bad.send(heartbeat("lab1"), 0).unwrap();
        bad.send(encode(&command).unwrap(), 0).unwrap();
        bad.send(encode(&Message::ResPing { req_id: Some("1".into()) }).unwrap(), 0).unwrap();
    }
    wait_for("all of it is counted", || server.count("unexpected") == 400);
    assert_eq!((server.count("frames"), server.count("name")), (400, 200));
    assert_eq!(server.count("body"), 600);
    assert_eq!(lab.waiting(), 0, "nobody gives commands that way");
    let (_context, nameless) = peer(&server, &[1, 2, 255]);
    nameless.send(heartbeat("lab1"), 0).unwrap();
    let (_context, usurper) = peer(&server, b"lab");
    usurper.send(heartbeat("lab"), 0).unwrap();
    wait_for("whoever has no name, or the server's, is counted", || server.count("name") == 202);

    assert!(lab.runtime.block_on(server.nodes.request(&anna(Role::Viewer), "lab1", ping())).is_ok());
    let clients = server.nodes.clients();
    assert!(clients["lab1"].info == Some(lab1.info()) && clients["bad"].info.is_none());
}

#[test]
fn a_node_that_does_not_read_is_given_up_and_harms_nobody() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let mut server = lab.serve(&server_config());
    let _reports = lab1.report(&client_config(server.port()));
    server.wait_up("lab1");
    let (_context, deaf) = peer(&server, b"deaf");
    deaf.set_rcvhwm(1).unwrap();
    deaf.send(heartbeat("deaf"), 0).unwrap();
    server.wait_up("deaf");

    // Each answer is a status; nobody reads one.
    for _ in 0..3000 {
        deaf.send(encode(&Message::ReqStatus { req_id: Some("x".repeat(50_000)) }).unwrap(), zmq::DONTWAIT).ok();
    }

    let begun = Instant::now();
    assert!(lab.runtime.block_on(server.nodes.request(&anna(Role::Viewer), "lab1", ping())).is_ok());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    wait_for("what it has no room for is counted", || server.count("unsent") + server.count("busy") > 0);
}

/// A server with keys, and the keys of a node.
struct Locked {
    _dir: tempfile::TempDir,
    server: CncConfig,
    node: CncConfig,
}

fn locked(id: &str) -> Locked {
    let dir = tempfile::tempdir().unwrap();
    let (server_file, node_file) = (dir.path().join("server.keys"), dir.path().join("node.keys"));
    let (server, node) = (Keys::make(&server_file).unwrap(), Keys::make(&node_file).unwrap());
    let clients = BTreeMap::from([(id.to_owned(), text_of(&node.public))]);
    let of_server = CurveConfig { key_file: server_file, server_key: None, clients };
    let of_node =
        CurveConfig { key_file: node_file, server_key: Some(text_of(&server.public)), clients: BTreeMap::new() };
    Locked {
        _dir: dir,
        server: CncConfig { curve: Some(of_server), ..server_config() },
        node: CncConfig { curve: Some(of_node), ..CncConfig::default() },
    }
}

#[test]
fn a_node_with_a_listed_key_is_in() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let keys = locked("lab1");
    let mut server = lab.serve(&keys.server);

    let _reports = lab1.report(&CncConfig { server_port: server.port(), ..keys.node });

    server.wait_up("lab1");
    assert!(lab.runtime.block_on(server.nodes.request(&anna(Role::Viewer), "lab1", ping())).is_ok());
    assert_eq!(server.nodes.counts().values().sum::<u64>(), 0, "{:?}", server.nodes.counts());
}

#[test]
fn a_node_whose_key_is_not_listed_is_out_until_it_is() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let (keys, other) = (locked("lab1"), locked("lab1"));
    let mut server = lab.serve(&other.server);
    let mut node = CncConfig { server_port: server.port(), ..keys.node };
    // It knows the server, which does not know it.
    let other_curve = other.node.curve.as_ref().unwrap();
    node.curve.as_mut().unwrap().server_key.clone_from(&other_curve.server_key);

    let _reports = lab1.report(&node);

    let (from, reason) = server.wait_event(|_, change, _| change == NodeChange::Refused);
    assert_eq!(from, "127.0.0.1");
    let own = text_of(&Keys::read(&node.curve.as_ref().unwrap().key_file).unwrap().public);
    assert!(reason.contains(&own) && reason.contains("cnc.curve.clients"), "{reason}");
    assert!(server.count("key") > 0 && server.nodes.clients().len() == 1);
    let port = server.port();
    drop(server);
    let mut curve = other.server.curve.clone().unwrap();
    curve.clients = BTreeMap::from([("lab1".to_owned(), own)]);
    let mut server = lab.serve(&CncConfig { curve: Some(curve), server_port: port, ..server_config() });
    server.wait_up("lab1");
}

#[test]
fn a_node_that_takes_another_for_its_server_is_out_and_told() {
    let (lab, lab1) = (Lab::new("lab"), Lab::new("lab1"));
    let (keys, other) = (locked("lab1"), locked("lab1"));
    let mut server = lab.serve(&keys.server);
    let mut node = CncConfig { server_port: server.port(), ..keys.node };
    node.curve.as_mut().unwrap().server_key = other.node.curve.unwrap().server_key;

    let _reports = lab1.report(&node);
    let (_context, plain) = peer(&server, b"lab1");
    plain.send(heartbeat("lab1"), zmq::DONTWAIT).ok();

    server.wait_event(|_, change, reason| change == NodeChange::Refused && reason.contains("another key"));
    assert!(server.count("handshake") > 0 && server.nodes.clients().len() == 1);
}

#[test]
fn a_node_that_takes_anothers_name_is_refused_shut_out_and_named() {
    let (lab, victim) = (Lab::new("lab"), Lab::new("victim"));
    let keys = locked("victim");
    let liar_file = keys._dir.path().join("liar.keys");
    let liar_keys = Keys::make(&liar_file).unwrap();
    let mut of_server = keys.server.clone();
    of_server.curve.as_mut().unwrap().clients.insert("liar".into(), text_of(&liar_keys.public));
    let mut server = lab.serve(&of_server);
    let port = server.port();
    let _reports = victim.report(&CncConfig { server_port: port, ..keys.node.clone() });
    server.wait_up("victim");

    // The name of another, with a key of its own.
    let mut of_liar = CncConfig { server_port: port, ..keys.node };
    of_liar.curve.as_mut().unwrap().key_file = liar_file;
    let liar = Lab { id: "victim".into(), ..Lab::new("liar") };
    let _lies = liar.report(&of_liar);

    let (node, reason) = server
        .wait_event(|_, change, reason| change == NodeChange::Refused && reason.contains("calls itself `victim`"));
    assert_eq!(node, "liar");
    assert!(reason.contains("listed for `liar`"), "{reason}");
    wait_for("it stays out", || server.count("key") > 0);
    let nodes = server.nodes.clone();
    // Told from the liar's by the time that its answer takes.
    wait_for("who has the name is heard again", || {
        lab.runtime.block_on(nodes.request(&anna(Role::Viewer), "victim", ping())).is_ok()
    });
    assert!(server.count("name") > 0);
}

#[test]
fn a_port_that_is_taken_is_told_at_once() {
    let lab = Lab::new("lab");
    let server = lab.serve(&server_config());

    let refused = Listening::bind(&CncConfig { server_port: server.port(), ..server_config() }, Path::new("/"));

    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains(&server.address) && refused.contains("cnc.server_port"), "{refused}");
}

/// What a node of another program answers, as the description of the protocol has it.
fn answer_of_others(request: &Value) -> Value {
    let count = json!({"count": 3, "last_updated": "2026-11-20T12:00:00+01:00"});
    let stats = json!({
        "message_in_stats": count, "message_out_stats": count, "message_in_queue_stats": count,
        "message_out_queue_stats": count, "restart_stats": {"count": 0, "last_updated": null},
        "latency_stats": {"count": 0, "min_ms": 0.0, "max_ms": 0.0, "avg_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0},
        "resource_stats": {"cpu_percent": 1.5, "rss_mb": 2.0}, "is_alive": true,
    });
    let info = json!({"supervisor_id": "other", "supervisor_tags": []});
    let job = json!({
        "daq_job_type": "T", "unique_id": "u", "instance_id": "i", "config": "a = 1\n", "subscribed_topics": ["t"],
        "supervisor_info": info,
    });
    let remote = json!({
        "message_in_count": 1, "message_in_bytes": 2, "message_out_count": 3, "message_out_bytes": 4, "last_active": null,
    });
    let status = json!({
        "supervisor_info": info, "daq_jobs": [job], "daq_job_stats": {"other": {"T": stats}},
        "daq_job_remote_stats": {"lab": remote}, "restart_schedules": [{"job": "T", "restart_at": "2026-11-20T12:00:00"}],
    });
    let done = json!({"success": true, "message": "done"});
    let rest = request["type"].as_str().unwrap().strip_prefix("CNCMessageReq").unwrap().to_owned();
    let mut answer = match rest.as_str() {
        "Ping" => json!({}),
        "Status" => json!({"status": status}),
        "ListClients" => json!({"clients": {"other": info, "unknown": null}}),
        "SendMessage" => json!({"success": false, "message": "no", "jobs_notified": 0}),
        _ => done,
    };
    answer["type"] = format!("CNCMessageRes{rest}").into();
    answer["req_id"] = request["req_id"].clone();
    answer
}

#[test]
fn what_a_node_of_another_program_answers_is_understood() {
    let lab = Lab::new("lab");
    let mut server = lab.serve(&server_config());
    let (_context, node) = peer(&server, b"other");
    node.send(heartbeat("other"), 0).unwrap();
    server.wait_up("other");
    let answering = std::thread::spawn(move || {
        for _ in 0..8 {
            let request: Value = rmp_serde::from_slice(&node.recv_msg(0).unwrap()).unwrap();
            node.send(rmp_serde::to_vec(&answer_of_others(&request)).unwrap(), 0).unwrap();
        }
        node
    });
    let nodes = server.nodes.clone();
    let ask = |request: Message| lab.runtime.block_on(nodes.request(&anna(Role::Admin), "other", request)).unwrap();

    let none = || None;
    let name = || "x".to_owned();
    let requests = [
        ping(),
        Message::ReqListClients { req_id: None },
        Message::ReqRestartDaq { req_id: None, update: true },
        Message::ReqStopDaqJobs { req_id: None },
        Message::ReqRunCustomDaqJob { req_id: None, config: name(), restart_on_crash: None },
        Message::ReqStopDaqJob { req_id: None, daq_job_name: none(), daq_job_unique_id: none(), remove: false },
        Message::ReqSendMessage {
            req_id: None,
            message_type: name(),
            payload: name(),
            target_daq_job_unique_id: none(),
        },
    ];
    for request in requests {
        let asked = request.name();
        assert!(ask(request).answers(asked), "{asked}");
    }
    let Message::ResStatus { status, .. } = ask(Message::ReqStatus { req_id: None }) else { panic!("no status") };
    assert!(status.daq_job_stats["other"]["T"].is_alive);
    assert_eq!(status.daq_job_remote_stats["lab"].message_out_bytes, 4);
    assert_eq!(server.nodes.counts().values().sum::<u64>(), 0, "{:?}", server.nodes.counts());

    // A command of ours it does not know: it says nothing, and whoever asked is told.
    let node = answering.join().unwrap();
    let begun = Instant::now();
    let (parts, _received) = mpsc::channel(1);
    let beats = std::thread::spawn(move || {
        for _ in 0..7 {
            node.send(heartbeat("other"), 0).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let answer = lab.runtime.block_on(nodes.command(&anna(Role::Admin), "other", Command::Status, parts));
    assert_eq!(answer, Err(NodeError::Silent));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    beats.join().unwrap();
}
