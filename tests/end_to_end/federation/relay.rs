//! A line between a leaf and its hub that can be long, be held, and break.
//!
//! ```text
//! leaf ──▶ Relay ── a thread that reads ──▶ (due, bytes) … ──▶ a thread that writes when they are due ──▶ hub
//!               ◀── the same for the other direction ─────────────────────────────────────────────────────
//! ```
//!
//! What is under way keeps its order, and the delay costs no throughput; a line may be narrow too.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::harness::{Host, wait_for};

/// Bytes that are read at once, and how many such pieces are under way at the most; on a narrow line.
const PIECE: usize = 64 << 10;
const PIECES: usize = 2048;
const PIECES_OF_NARROW: usize = 8;

/// How soon a thread notices that its connection is to break.
const TICK: Duration = Duration::from_millis(10);

/// The relay; its threads and connections end with it.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    line: Arc<Line>,
}

/// What all its threads look at.
#[derive(Debug)]
struct Line {
    delay: Duration,
    /// Bytes a second in each direction.
    width: Option<u32>,
    /// Connections of an older age break.
    age: AtomicU64,
    is_held: AtomicBool,
    is_over: AtomicBool,
    connections: AtomicU64,
    accepted: AtomicU64,
    broken: AtomicU64,
}

/// Both ends of a connection.
#[derive(Debug, Clone)]
struct Pair {
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    age: u64,
}

type Piece = (Instant, Vec<u8>);

impl Relay {
    /// On this host, to that address, with a delay in each direction.
    pub(crate) fn start(host: &Host, target: SocketAddr, delay: Duration) -> Self {
        Self::with_width(host, target, delay, None)
    }

    /// The same, for so many bytes a second in each direction.
    pub(crate) fn narrow(host: &Host, target: SocketAddr, width: u32) -> Self {
        Self::with_width(host, target, Duration::ZERO, Some(width))
    }

    fn with_width(host: &Host, target: SocketAddr, delay: Duration, width: Option<u32>) -> Self {
        host.inside(|| {
            let listener = TcpListener::bind("0.0.0.0:0").expect("a port is free");
            let port = listener.local_addr().expect("it is bound").port();
            let (zero, flag) = (AtomicU64::default, AtomicBool::default);
            let line = Line {
                delay,
                width,
                age: zero(),
                is_held: flag(),
                is_over: flag(),
                connections: zero(),
                accepted: zero(),
                broken: zero(),
            };
            let line = Arc::new(line);
            let its = line.clone();
            // It is inside too, and so is what it starts.
            std::thread::spawn(move || accept(&listener, target, &its));
            Self { port, line }
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections, as a router does that has forgotten them: what is under way is gone, both ends get RST.
    /// How many there were.
    pub(crate) fn reset_all(&self) -> u64 {
        let before = self.line.broken.load(Ordering::Relaxed);
        let there = self.connections();
        self.line.age.fetch_add(1, Ordering::Relaxed);
        wait_for("the connections have broken", || {
            self.line.broken.load(Ordering::Relaxed) >= before + there || self.connections() == 0
        });
        self.line.broken.load(Ordering::Relaxed) - before
    }

    /// Connections that were made so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.line.accepted.load(Ordering::Relaxed)
    }

    /// Connections that stand.
    pub(crate) fn connections(&self) -> u64 {
        self.line.connections.load(Ordering::Relaxed)
    }

    /// Holds what is under way, and reads no more; connections stay.
    pub(crate) fn pause(&self) {
        self.line.is_held.store(true, Ordering::Relaxed);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.line.is_held.store(false, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::Relaxed);
        self.line.age.fetch_add(1, Ordering::Relaxed);
    }
}

impl Line {
    fn is_whole(&self, pair: &Pair) -> bool {
        self.age.load(Ordering::Relaxed) == pair.age
    }

    fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, line: &Arc<Line>) {
    listener.set_nonblocking(true).expect("a listener can be asked");
    while !line.is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((from, _)) => connect(from, target, line),
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

fn connect(from: TcpStream, target: SocketAddr, line: &Arc<Line>) {
    let age = line.age.load(Ordering::Relaxed);
    let Ok(to) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
        set_socket_linger(&from, Some(Duration::ZERO)).ok();
        return;
    };
    for end in [&from, &to] {
        end.set_nonblocking(false).expect("a socket has modes");
        end.set_nodelay(true).expect("it is TCP");
        end.set_read_timeout(Some(TICK)).expect("it is not zero");
        end.set_write_timeout(Some(TICK)).expect("it is not zero");
    }
    let there = Pair { from: Arc::new(from), to: Arc::new(to), age };
    let back = Pair { from: there.to.clone(), to: there.from.clone(), age };
    line.connections.fetch_add(1, Ordering::Relaxed);
    line.accepted.fetch_add(1, Ordering::Relaxed);
    let line = line.clone();
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            for pair in [&there, &back] {
                let (sender, receiver) = sync_channel(if line.width.is_some() { PIECES_OF_NARROW } else { PIECES });
                let line = &line;
                scope.spawn(move || read(pair, line, &sender));
                scope.spawn(move || write(pair, line, &receiver));
            }
        });
        if !line.is_whole(&there) {
            [&there.from, &there.to].iter().for_each(|end| {
                set_socket_linger(end, Some(Duration::ZERO)).ok();
            });
            line.broken.fetch_add(1, Ordering::Relaxed);
        }
        // Their last owner closes them.
        drop((there, back));
        line.connections.fetch_sub(1, Ordering::Relaxed);
    });
}

fn read(pair: &Pair, line: &Line, out: &SyncSender<Piece>) {
    let mut buffer = vec![0; PIECE];
    while line.is_whole(pair) {
        if line.is_held() {
            std::thread::sleep(TICK);
            continue;
        }
        let mut piece = match (&*pair.from).read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => (Instant::now() + line.delay, buffer[..count].to_vec()),
            Err(error) if is_early(&error) => continue,
            Err(_) => return,
        };
        while let Err(TrySendError::Full(back)) = out.try_send(piece) {
            if !line.is_whole(pair) {
                return;
            }
            piece = back;
            std::thread::sleep(TICK);
        }
    }
}

fn write(pair: &Pair, line: &Line, pieces: &Receiver<Piece>) {
    let mut is_free_at = Instant::now();
    while line.is_whole(pair) {
        let (mut due, bytes) = match pieces.recv_timeout(TICK) {
            Ok(piece) => piece,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(width) = line.width {
            due = due.max(is_free_at);
            is_free_at =
                due.max(Instant::now()) + Duration::from_secs(1) * u32::try_from(bytes.len()).expect("a piece") / width;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() && line.is_whole(pair) {
            let wait = due.saturating_duration_since(Instant::now());
            if line.is_held() || !wait.is_zero() {
                std::thread::sleep(if line.is_held() { TICK } else { wait.min(TICK) });
                continue;
            }
            match (&*pair.to).write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if is_early(&error) => {}
                Err(_) => {
                    // The other direction is to end too.
                    pair.from.shutdown(Shutdown::Both).ok();
                    return;
                }
            }
        }
    }
    if line.is_whole(pair) {
        pair.to.shutdown(Shutdown::Write).ok();
    }
}

fn is_early(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[test]
fn a_relay_delays_and_breaks_and_keeps_the_order() {
    let lan = crate::harness::Lan::of(1);
    let host = lan.host(0);
    let server = host.inside(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let relay = Relay::start(host, server.local_addr().unwrap(), Duration::from_millis(50));
    let near = host.inside(|| TcpStream::connect(("127.0.0.1", relay.port()))).unwrap();
    let mut far = server.accept().unwrap().0;
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();

    let begun = Instant::now();
    let mut received = vec![0; sent.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| (&near).write_all(&sent).unwrap());
        far.read_exact(&mut received).unwrap();
    });
    let first = begun.elapsed();
    far.write_all(b"back").unwrap();
    (&near).read_exact(&mut received[..4]).unwrap();

    assert!(first >= Duration::from_millis(50) && begun.elapsed() >= Duration::from_millis(100));
    assert_eq!((&received[..4], received[4..] == sent[4..]), (&b"back"[..], true));
    assert_eq!(relay.reset_all(), 1);
    assert_eq!((&near).read(&mut received).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(far.read(&mut received).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
