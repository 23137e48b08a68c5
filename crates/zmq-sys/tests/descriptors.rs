//! What the kernel sees of a context: its descriptors and their flags. Tests of one process may run at the same time:
//! none here minds the descriptors of another.

#![expect(unsafe_code, reason = "getsockopt on a descriptor that libzmq owns")]
#![expect(clippy::unwrap_used, reason = "tests, and what they are made of")]

use std::collections::BTreeMap;
use std::{fs, io};

/// The octal flag in `/proc/self/fdinfo` of a descriptor that closes on exec.
const CLOEXEC: u32 = 0o2_000_000;

#[test]
fn no_descriptor_of_a_context_survives_exec() {
    let before = open_descriptors();

    let _traffic = Traffic::over(&["tcp://127.0.0.1:*", "ipc://*"]);

    let opened: Vec<(i32, String)> =
        open_descriptors().into_iter().filter(|(fd, target)| before.get(fd) != Some(target)).collect();
    let sockets = opened.iter().filter(|(_, target)| target.starts_with("socket:")).count();
    assert!(sockets >= 6, "a listener and both ends of a connection for each transport: {opened:?}");
    let inherited: Vec<_> = opened.iter().filter(|(fd, _)| flags(*fd).is_some_and(|f| f & CLOEXEC == 0)).collect();
    assert!(inherited.is_empty(), "a child would inherit {inherited:?}");
}

#[test]
fn threads_wait_in_epoll_and_wake_each_other_by_eventfd() {
    let _traffic = Traffic::over(&["tcp://127.0.0.1:*"]);

    let open = open_descriptors();

    let count = |what: &str| open.values().filter(|target| *target == what).count();
    assert!(count("anon_inode:[eventpoll]") >= 2, "the reaper's and the I/O thread's: {open:?}");
    assert!(count("anon_inode:[eventfd]") >= 4, "theirs and the two sockets': {open:?}");
}

#[test]
fn the_keepalive_options_reach_the_kernel() {
    let traffic = Traffic::over(&["tcp://127.0.0.1:*"]);

    let sockets = open_descriptors().into_iter().filter_map(|(fd, target)| {
        let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
        is_connected_at(inode, traffic.tcp_port()).then_some(fd)
    });
    let connections: Vec<[i32; 4]> = sockets
        .map(|fd| {
            [
                option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE).unwrap(),
                option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE).unwrap(),
                option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL).unwrap(),
                option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT).unwrap(),
            ]
        })
        .collect();

    assert_eq!(connections, [[1, 77, 7, 3]; 2], "both ends");
}

/// A bound and a connected socket for each endpoint, in a context of their own, between which a message has passed.
struct Traffic {
    endpoints: Vec<String>,
    _sockets: Vec<zmq::Socket>,
    _context: zmq::Context,
}

impl Traffic {
    fn over(endpoints: &[&str]) -> Self {
        let context = zmq::Context::new();
        let socket = |kind| {
            let socket = context.socket(kind).unwrap();
            socket.set_linger(0).unwrap();
            socket.set_tcp_keepalive(1).unwrap();
            socket.set_tcp_keepalive_idle(77).unwrap();
            socket.set_tcp_keepalive_intvl(7).unwrap();
            socket.set_tcp_keepalive_cnt(3).unwrap();
            socket
        };
        let (mut bound, mut sockets) = (Vec::new(), Vec::new());
        for endpoint in endpoints {
            let (pull, push) = (socket(zmq::PULL), socket(zmq::PUSH));
            pull.bind(endpoint).unwrap();
            bound.push(pull.get_last_endpoint().unwrap().unwrap());
            push.connect(bound.last().unwrap()).unwrap();
            push.send("hello", 0).unwrap();
            assert_eq!(pull.poll(zmq::POLLIN, 10_000), Ok(1), "no message over {endpoint}");
            sockets.extend([pull, push]);
        }
        Self { endpoints: bound, _sockets: sockets, _context: context }
    }

    fn tcp_port(&self) -> u16 {
        let tcp = self.endpoints.iter().find(|endpoint| endpoint.starts_with("tcp:")).unwrap();
        tcp.rsplit(':').next().unwrap().parse().unwrap()
    }
}

/// Descriptors and what they lead to; one that is closed meanwhile is left out.
fn open_descriptors() -> BTreeMap<i32, String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter_map(|path| {
            let fd = path.file_name()?.to_str()?.parse().ok()?;
            Some((fd, fs::read_link(&path).ok()?.to_str()?.to_owned()))
        })
        .filter(|(_, target)| !target.ends_with("/fd"))
        .collect()
}

fn flags(fd: i32) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let octal = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(octal.trim(), 8).ok()
}

/// Whether the socket is an end of a connection over this port of the machine.
fn is_connected_at(inode: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>()).any(|row| {
        let established = row[3] == "01";
        established && row[9] == inode && (row[1].ends_with(&port) || row[2].ends_with(&port))
    })
}

fn option(fd: i32, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = libc::socklen_t::try_from(size_of_val(&value)).unwrap();
    // SAFETY: value and length are alive and of the size told; the kernel checks the descriptor.
    let outcome = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    if outcome == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
