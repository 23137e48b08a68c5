//! Redis: what came is there, as its own client and Python read it, whoever dies and whatever hangs.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Signal, Site, is_suspended, said, send, wait_for};
use crate::stores::{OFTEN, kill_under_load, messages_for_kills, python};

pub(crate) const PASSWORD: &str = "pass-4a5b6c";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server with throw-away data in the site's folder, on loopback.
#[derive(Debug)]
pub(crate) struct RedisServer {
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl RedisServer {
    pub(crate) fn start(site: &Site) -> Self {
        let dir = site.path("redis");
        std::fs::create_dir_all(&dir).unwrap();
        let port = free_port();
        let server = Self { child: Self::run(&dir, port), dir, port };
        server.wait();
        server
    }

    /// Each write is on the disk before it is answered.
    fn run(dir: &PathBuf, port: u16) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", PASSWORD])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    fn wait(&self) {
        wait_for("the server answers", || said(&mut self.client(&["PING"])).out.trim() == "PONG");
    }

    /// kill -9, and once more.
    fn start_again(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::run(&self.dir, self.port);
        self.wait();
    }

    fn client(&self, command: &[&str]) -> Command {
        let mut client = Command::new("redis-cli");
        client.args(["-p", &self.port.to_string(), "-a", PASSWORD, "--no-auth-warning"]).args(command);
        client
    }

    fn ask(&self, command: &[&str]) -> String {
        said(&mut self.client(command)).out.trim().to_owned()
    }

    /// The numbers of a list.
    fn numbers(&self, key: &str) -> Vec<u64> {
        self.ask(&["LRANGE", key, "0", "-1"]).lines().map(|line| line.parse().expect("it is a number")).collect()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The file of a store that writes there.
    pub(crate) fn store(&self) -> String {
        let head = "daq_job_type = \"DAQJobStoreRedis\"\nhost = \"127.0.0.1\"";
        format!("{head}\nport = {}\npassword = \"{PASSWORD}\"", self.port)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn rows(rows: u64, rest: &str) -> String {
    format!("daq_job_type = \"DAQJobRows\"\nrows = {rows}\n{rest}\n[store_config.redis]\nkey = \"rows\"")
}

fn letters(letters: &Value) -> String {
    format!("daq_job_type = \"DAQJobLetters\"\nletters = '''{letters}'''")
}

/// Runs it until as many messages have arrived as are sent, and ends it.
fn deliver(site: &Site, count: u64, refused: u64) -> Vec<String> {
    let mut node = site.start();
    let picture = node.wait("all letters arrived", |picture| {
        let told = picture.job("redis")["stats"]["message_in_refused"].as_u64().unwrap_or_default();
        picture.edge("letters", "redis").arrived == count && told == refused
    });
    assert!(!picture.0.to_string().contains(PASSWORD) && !node.log().contains(PASSWORD));
    let alerts = picture.alerts().iter().map(|&alert| alert.to_owned()).collect();
    assert_eq!(node.stop(), 0);
    alerts
}

#[test]
fn what_a_server_does_not_take_is_told_and_what_expires_does_so_in_days() {
    let site = Site::new();
    let server = RedisServer::start(&site);
    server.ask(&["SET", "taken.n", "a text"]);
    let to = |key: &str| json!({"redis": {"key": key}});
    let all = json!([
        {"store": {"redis": {"key": "day", "key_expiration_days": 3}}, "columns": [["n", {"int": [1]}]]},
        {"store": {"redis": {"key": "raw", "key_expiration_days": 3}}, "raw": "bytes"},
        {"store": to("taken"), "columns": [["n", {"int": [1]}], ["other", {"int": [2]}]]},
        {"store": {"redis": {"key": "series", "use_timeseries": true}},
            "columns": [["timestamp", {"int": [1]}], ["n", {"int": [1]}]]},
        {"store": to(&"k".repeat(10_000)), "columns": [["n", {"int": [1]}]]},
    ]);
    let site = site.job("redis", &server.store()).job("letters", &letters(&all));

    let alerts = deliver(&site, 5, 3);

    for part in ["wrong kind of value", "no time series", "1024 are the most"] {
        assert!(alerts.iter().any(|alert| alert.contains(part)), "{part}: {alerts:?}");
    }
    assert_eq!(server.ask(&["GET", "taken.n"]), "a text");
    assert_eq!(server.ask(&["LRANGE", "taken.other", "0", "-1"]), "2", "it stays");
    for keys in ["day.n:*", "raw"] {
        let left: i64 = server.ask(&["TTL", &server.ask(&["KEYS", keys])]).parse().unwrap();
        assert!((2 * 86_400..=3 * 86_400).contains(&left), "{keys}: {left}");
    }
}

#[test]
fn of_a_redis_store_that_is_killed_under_load_every_row_is_there_once() {
    let site = Site::new().supervisor(OFTEN);
    let server = RedisServer::start(&site);
    let all = messages_for_kills();
    let site = site.job("redis", &server.store()).job("rows", &rows(all, "padding = 10"));
    let mut node = site.start();
    kill_under_load(&mut node, "redis", "rows", all);
    assert_eq!(node.stop(), 0);

    assert!(server.numbers("rows.n").into_iter().eq(0..all), "{}", server.ask(&["LLEN", "rows.n"]));
    assert_eq!(server.ask(&["LLEN", "rows.padding"]), all.to_string());
}

#[test]
fn a_server_that_sleeps_and_one_that_dies_lose_nothing_and_hold_up_no_source() {
    const MESSAGES: u64 = 30_000;
    let site = Site::new();
    let mut server = RedisServer::start(&site);
    let text = format!("ring_mb = 2\n{}", rows(MESSAGES, "pause_us = 500\npadding = 1000"));
    let site = site.job("redis", &server.store()).job("rows", &text);
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("rows", "redis").arrived > 500);
    send(server.child.id(), Signal::STOP);
    wait_for("it sleeps", || is_suspended(server.child.id()));

    let sheltered =
        node.wait("more than the ring holds is in the spool", |picture| picture.figure("redis", "spool_bytes") > 6e6);

    assert!(sheltered.has_alert("cannot write, and keeps what comes"), "{:?}", sheltered.alerts());
    assert!(sheltered.region("rows", "dead_time_percent") < 1.0, "{}", sheltered.job("rows"));
    send(server.child.id(), Signal::CONT);
    server.start_again();
    node.wait("the spool is empty", |picture| {
        picture.edge("rows", "redis").arrived == MESSAGES && picture.figure("redis", "spool_bytes") == 0.0
    });
    assert_eq!(node.stop(), 0);
    assert!(server.numbers("rows.n").into_iter().eq(0..MESSAGES), "{}", server.ask(&["LLEN", "rows.n"]));
}

#[test]
fn a_server_without_memory_is_waited_for() {
    const MESSAGES: u64 = 3000;
    let site = Site::new();
    let server = RedisServer::start(&site);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let site = site.job("redis", &server.store()).job("rows", &rows(MESSAGES, "pause_us = 100"));
    let mut node = site.start();

    node.wait("it is told", |picture| picture.has_alert("cannot write, and keeps what comes"));

    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    node.wait("all is written", |picture| picture.figure("redis", "rows") == MESSAGES as f64);
    assert_eq!(node.stop(), 0);
    assert!(server.numbers("rows.n").into_iter().eq(0..MESSAGES));
}

/// A server that knows time series: Python's `fakeredis`, in an environment of its own.
#[derive(Debug)]
struct SeriesServer {
    port: u16,
    child: Child,
}

impl SeriesServer {
    fn start(site: &Site) -> Self {
        let environment = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python");
        let program = format!("{environment}/bin/python3");
        assert!(PathBuf::from(&program).exists(), "scripts/test makes {environment}, with fakeredis");
        let port = free_port();
        let script = format!(
            "from fakeredis import TcpFakeServer\n\
             TcpFakeServer(('127.0.0.1', {port}), server_type='redis').serve_forever()"
        );
        let child = Command::new(program)
            .args(["-c", &script])
            .current_dir(site.path(""))
            .stdin(Stdio::null())
            .spawn()
            .expect("it can be run");
        let server = Self { port, child };
        wait_for("it answers", || server.ask(&["PING"]) == "PONG");
        server
    }

    fn ask(&self, command: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        said(client.args(["-p", &self.port.to_string()]).args(command)).out.trim().to_owned()
    }
}

impl Drop for SeriesServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn time_series_have_labels_retention_and_each_value() {
    let site = Site::new();
    let server = SeriesServer::start(&site);
    let store = json!({"redis": {"key": "k", "use_timeseries": true, "key_expiration_days": 2}});
    let time = now_ms(&site);
    let at = |n: i64| time + n;
    let all = json!([
        {"store": store, "tag": "lab", "columns": [
            ["timestamp", {"int": [at(0), at(1), at(2)]}], ["u", {"float": ["1.5", "NaN", "-2"]}], ["on", {"bool": [true, false, true]}],
        ]},
        {"store": store, "tag": "lab", "columns": [["timestamp", {"int": [at(3)]}], ["u", {"float": ["3"]}]]},
        {"store": store, "columns": [["u", {"float": ["3"]}]]},
        {"store": store, "columns": [["timestamp", {"int": [at(3)]}], ["text", ["x"]]]},
    ]);
    let head = "daq_job_type = \"DAQJobStoreRedis\"\nhost = \"127.0.0.1\"";
    let site = site.job("redis", &format!("{head}\nport = {}", server.port)).job("letters", &letters(&all));

    let alerts = deliver(&site, 4, 2);

    assert!(alerts.iter().any(|alert| alert.contains("in a column `timestamp`")), "{alerts:?}");
    let read = server.ask(&["TS.RANGE", "k.lab.u", "-", "+"]);
    assert_eq!(read, format!("{}\n1.5\n{}\n-2\n{}\n3", at(0), at(2), at(3)));
    assert_eq!(server.ask(&["TS.RANGE", "k.lab.on", "-", "+"]), format!("{}\n1\n{}\n0\n{}\n1", at(0), at(1), at(2)));
    let info = server.ask(&["TS.INFO", "k.lab.u"]);
    let after = |name: &str| info.lines().skip_while(|line| *line != name).nth(1).unwrap_or_default().to_owned();
    assert_eq!(after("retentionTime"), (2 * 86_400_000).to_string(), "{info}");
    assert!(info.contains("key\nk\n") && info.contains("tag\nlab"), "{info}");
}

/// Now, in milliseconds: older values than the retention are not kept.
fn now_ms(site: &Site) -> i64 {
    python(site, "import time\nprint(int(time.time() * 1000))").parse().unwrap()
}
