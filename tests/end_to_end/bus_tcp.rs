//! The bus over TCP: for those with the keys, and for nobody else.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::{Edge, Site};

const TCP: &str = "[bus]\ntransport = \"tcp\"";

/// The addresses on which a process listens, as `/proc/net/tcp` has them: `0100007F:A3F1`.
fn listening(pid: u32) -> Vec<(String, u16)> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let sockets: BTreeSet<_> = links
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
            Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect();
    ["tcp", "tcp6"]
        .into_iter()
        .flat_map(|table| {
            fs::read_to_string(format!("/proc/net/{table}"))
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_listening = fields.get(3) == Some(&"0A") && sockets.contains(*fields.get(9)?);
            let (address, port) = fields.get(1)?.split_once(':')?;
            is_listening.then(|| (address.to_owned(), u16::from_str_radix(port, 16).unwrap()))
        })
        .collect()
}

#[test]
fn data_arrives_over_tcp() {
    let site = Site::new().supervisor(TCP).recorder().flood(50_000, "");
    let mut node = site.start();

    let whole = Edge { produced: 50_000, arrived: 50_000, missing: 0, ..Edge::default() };
    node.wait("all arrived", |picture| picture.edge("flood", "recorder") == whole);

    assert_eq!(node.stop(), 0);
    assert!(site.records().into_iter().eq(0..50_000));
}

#[test]
fn it_listens_on_loopback_only() {
    let site = Site::new().supervisor(TCP).recorder();
    let mut node = site.start();
    node.wait_ready(&["recorder"]);

    let found = listening(node.pid());

    assert_eq!(found.len(), 4, "two planes, two sides: {found:?}");
    assert!(found.iter().all(|(address, _)| address == "0100007F"), "{found:?}");
}

#[test]
fn without_tcp_it_listens_on_no_port() {
    let site = Site::new().recorder();
    let mut node = site.start();
    node.wait_ready(&["recorder"]);

    assert_eq!(listening(node.pid()), []);
}

#[test]
fn a_stranger_without_keys_gets_nothing_and_harms_nothing() {
    let site = Site::new().supervisor(TCP).recorder().flood(20_000, "pause_us = 100").csv().rows(1_000_000, 1000);
    let mut node = site.start();
    node.wait("data", |picture| picture.edge("flood", "recorder").arrived > 100);
    let ports: Vec<_> = listening(node.pid()).into_iter().map(|(_, port)| port).collect();

    let garbage: Vec<_> =
        ports.iter().flat_map(|&port| [raw(port, b"GET / HTTP/1.1\r\n\r\n"), raw(port, &[0xff; 4096])]).collect();
    let context = zmq::Context::new();
    let strangers: Vec<_> =
        ports.iter().flat_map(|&port| [stranger(&context, port, false), stranger(&context, port, true)]).collect();
    for socket in &strangers {
        // A stop for every job, and a message for every store, if only somebody would take them.
        for topic in [format!("supervisor.{}.daq_job.broadcast", site.id()), "store.DAQJobRecorder".into()] {
            socket.send_multipart([topic.as_bytes(), b"\x80", b"12345678"], zmq::DONTWAIT).ok();
        }
    }

    let whole = Edge { produced: 20_000, arrived: 20_000, missing: 0, ..Edge::default() };
    let last = node.wait("all arrived", |picture| picture.edge("flood", "recorder") == whole);
    for socket in &strangers {
        assert_eq!(socket.recv_bytes(zmq::DONTWAIT), Err(zmq::Error::EAGAIN), "a stranger hears nothing");
    }
    for job in ["recorder", "flood", "csv", "rows"] {
        assert_eq!((last.state(job), last.restarts(job)), ("ready", 0));
        assert_eq!(last.job(job)["stats"]["frames_refused"], 0);
    }
    drop(garbage);
    assert_eq!(node.stop(), 0);
    assert!(site.records().into_iter().eq(0..20_000));
}

/// A connection that says this; what comes back is no ZeroMQ data, at most a greeting.
fn raw(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(bytes).ok();
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).unwrap_or(0);
    assert!(count <= 64, "more than the greeting of ZMTP: {:?}", &answer[..count]);
    stream
}

/// A ZeroMQ socket that subscribes to all; without CURVE, or with keys of its own.
fn stranger(context: &zmq::Context, port: u16, has_keys: bool) -> zmq::Socket {
    let socket = context.socket(zmq::XSUB).unwrap();
    socket.set_linger(0).unwrap();
    if has_keys {
        let (server, own) = (zmq::CurveKeyPair::new().unwrap(), zmq::CurveKeyPair::new().unwrap());
        socket.set_curve_serverkey(&server.public_key).unwrap();
        socket.set_curve_publickey(&own.public_key).unwrap();
        socket.set_curve_secretkey(&own.secret_key).unwrap();
    }
    socket.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
    socket.send(&b"\x01"[..], zmq::DONTWAIT).ok();
    socket
}
