//! The client: one thread with a DEALER, which reports to the server and hands in what that asks.
//!
//! Invariants: a server that is away makes nothing pile up and holds up nothing; when it is back it hears of this node
//! within seconds, whatever kept them apart; each request is a task of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::body::{MAX_BYTES, encode};
use super::exchange::PATIENCE;
use super::log_lines::Follower;
use super::message::Message;
use super::outbox::{Letters, outbox};
use super::places::Places;
use super::workshop::Workshop;
use crate::bus::{Happening, Keys, Monitor, PublicKey, read_key};
use crate::config::{CncConfig, Verbosity};
use crate::control::Desk;
use crate::control::network::NetworkError;
use crate::message::SupervisorInfo;
use crate::os::Wake;
use crate::telemetry::{CncInsecure, CncServer};

/// How often it says that it is there.
const BEAT: Duration = Duration::from_secs(1);

/// Messages that wait for the server, and from it, in libzmq.
const HIGH_WATER_OUT: i32 = 1000;
const HIGH_WATER_IN: i32 = 64;

/// In milliseconds: how soon it connects again, at first and at most; how often a silent server is probed, and when it is
/// dead; how long a handshake may take.
const RECONNECT_MS: i32 = 200;
const RECONNECT_MAX_MS: i32 = 3000;
const PROBE_MS: i32 = 2000;
const PROBE_TIMEOUT_MS: i32 = 6000;
const HANDSHAKE_MS: i32 = 5000;

/// libzmq gives up for good when a handshake has failed: then we begin anew, after so long; and in any case after that.
const AFTER_REFUSAL: Duration = Duration::from_secs(3);
const AFTER_SILENCE: Duration = Duration::from_secs(30);

/// How long the end of the supervisor waits for the thread, which may be looking for the name of a host.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What warnings of the same kind keep apart.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// To whom a client reports, and with which keys.
pub(crate) struct Reporting {
    address: String,
    is_v6: bool,
    keys: Option<(Keys, PublicKey)>,
    is_insecure: bool,
    verbosity: Verbosity,
}

impl std::fmt::Debug for Reporting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporting").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Reporting {
    /// As the configuration says; no connection is made yet.
    ///
    /// # Errors
    /// [`NetworkError`]: no usable keys.
    pub(crate) fn of(cnc: &CncConfig, config_dir: &Path) -> Result<Self, NetworkError> {
        let keys = cnc.curve.as_ref().map(|curve| -> Result<_, NetworkError> {
            let server = read_key(curve.server_key.as_deref().unwrap_or_default())?;
            Ok((Keys::read(&config_dir.join(&curve.key_file))?, server))
        });
        let plain = cnc.server_host.trim_matches(['[', ']']);
        let is_v6 = plain.contains(':');
        let host = match plain {
            // The server listens there by default; the name may stand for ::1 as well.
            "localhost" => "127.0.0.1".into(),
            plain if is_v6 => format!("[{plain}]"),
            plain => plain.to_owned(),
        };
        let keys = keys.transpose()?;
        let is_insecure = keys.is_none() && !cnc.is_host_local();
        let address = format!("tcp://{host}:{}", cnc.server_port);
        Ok(Self { address, is_v6, keys, is_insecure, verbosity: cnc.verbosity })
    }

    /// Reports until it is dropped.
    ///
    /// # Errors
    /// The system's: no thread, no descriptor.
    pub(crate) fn begin(self, own: SupervisorInfo, desk: Desk, runtime: Handle) -> std::io::Result<Reports> {
        if self.is_insecure {
            CncInsecure::Client { address: &self.address }.emit();
        }
        let (answers, letters) = outbox()?;
        let (lines_in, lines) = outbox::<Vec<u8>>()?;
        let is_connected = Arc::<AtomicBool>::default();
        let follower = Follower {
            desk: desk.clone(),
            id: own.supervisor_id.clone(),
            verbosity: self.verbosity,
            out: lines_in,
            is_connected: is_connected.clone(),
        };
        runtime.spawn(follower.follow());
        let stop = Wake::new()?;
        let beat = Message::Heartbeat { req_id: None, supervisor_info: own.clone() };
        let beat = encode(&beat).map_err(|error| std::io::Error::other(error.to_string()))?;
        let workshop = Workshop {
            desk,
            own,
            address: self.address.clone(),
            answers,
            places: Places::default(),
            under_way: Arc::default(),
            drops: Arc::default(),
            runtime,
        };
        let client = Client { reporting: self, workshop, letters, lines, beat, is_connected, stop: stop.clone() };
        let (ended, end) = sync_channel(1);
        thread::Builder::new().name("cnc-client".into()).spawn(move || {
            client.work();
            ended.send(()).ok();
        })?;
        Ok(Reports { stop, end })
    }
}

/// A client at work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reports {
    stop: Wake,
    end: Receiver<()>,
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.stop.ring();
        if let Err(RecvTimeoutError::Timeout) = self.end.recv_timeout(END_WITHIN) {
            tracing::debug!("the thread of CNC looks for a host and ends later");
        }
    }
}

/// A connection, or the attempt.
struct Line {
    // In the order in which they end.
    socket: zmq::Socket,
    monitor: Monitor,
    _context: zmq::Context,
    /// Both sides speak.
    is_up: bool,
    /// When to give it up and begin anew, as long as it is not up.
    give_up: Instant,
}

impl Line {
    fn open(reporting: &Reporting, id: &str) -> Result<Self, zmq::Error> {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER)?;
        socket.set_linger(0)?;
        socket.set_identity(id.as_bytes())?;
        socket.set_maxmsgsize(i64::try_from(MAX_BYTES).expect("it is small"))?;
        socket.set_sndhwm(HIGH_WATER_OUT)?;
        socket.set_rcvhwm(HIGH_WATER_IN)?;
        // Without a connection nothing is taken, so that nothing piles up.
        socket.set_immediate(true)?;
        socket.set_reconnect_ivl(RECONNECT_MS)?;
        socket.set_reconnect_ivl_max(RECONNECT_MAX_MS)?;
        socket.set_handshake_ivl(HANDSHAKE_MS)?;
        socket.set_heartbeat_ivl(PROBE_MS)?;
        socket.set_heartbeat_timeout(PROBE_TIMEOUT_MS)?;
        socket.set_tcp_keepalive(1)?;
        socket.set_ipv6(reporting.is_v6)?;
        if let Some((keys, server)) = &reporting.keys {
            keys.apply_client(&socket, server)?;
        }
        let monitor = Monitor::of(&context, &socket, "cnc-monitor")?;
        socket.connect(&reporting.address)?;
        Ok(Self { socket, monitor, _context: context, is_up: false, give_up: Instant::now() + AFTER_SILENCE })
    }
}

/// The thread.
struct Client {
    reporting: Reporting,
    workshop: Workshop,
    letters: Letters<(Instant, Vec<u8>)>,
    lines: Letters<Vec<u8>>,
    beat: Vec<u8>,
    is_connected: Arc<AtomicBool>,
    stop: Wake,
}

/// What waits to be sent.
#[derive(Default)]
struct InHand {
    letter: Option<(Instant, Vec<u8>)>,
    line: Option<Vec<u8>>,
}

impl InHand {
    fn is_empty(&self) -> bool {
        self.letter.is_none() && self.line.is_none()
    }
}

impl Client {
    fn work(self) {
        let mut warned = Warned::default();
        while !self.stop.has_rung() {
            match Line::open(&self.reporting, &self.workshop.own.supervisor_id) {
                Ok(line) => self.speak(line, &mut warned),
                Err(error) => {
                    CncServer::Unusable { why: &error }.emit();
                    self.stop.wait(AFTER_SILENCE);
                }
            }
            self.is_connected.store(false, Ordering::Relaxed);
        }
        self.workshop.close();
    }

    /// Over one connection, or those that libzmq makes of it, until there is none or all ends.
    fn speak(&self, mut line: Line, warned: &mut Warned) {
        let mut hand = InHand::default();
        let mut beat_due = Instant::now();
        while !self.stop.has_rung() {
            self.wait(&line, &hand, beat_due);
            self.letters.bell.hush();
            self.lines.bell.hush();
            while let Some(body) = receive(&line.socket) {
                self.workshop.take(&body);
            }
            self.note_happenings(&mut line, warned);
            if !line.is_up && Instant::now() >= line.give_up {
                return;
            }
            if Instant::now() >= beat_due {
                beat_due = Instant::now() + BEAT;
                // One that finds no room is one of many.
                line.socket.send(&self.beat, zmq::DONTWAIT).ok();
            }
            self.send(&line, &mut hand);
        }
    }

    fn wait(&self, line: &Line, hand: &InHand, beat_due: Instant) {
        // Without a connection it is never writable, and once there is one the monitor tells.
        let is_full = !hand.is_empty() && line.is_up;
        let events = if is_full { zmq::POLLIN | zmq::POLLOUT } else { zmq::POLLIN };
        let mut items = vec![
            line.socket.as_poll_item(events),
            line.monitor.as_poll_item(),
            zmq::PollItem::from_fd(self.stop.raw_fd(), zmq::POLLIN),
            zmq::PollItem::from_fd(self.letters.bell.raw_fd(), zmq::POLLIN),
            zmq::PollItem::from_fd(self.lines.bell.raw_fd(), zmq::POLLIN),
        ];
        let until = beat_due.saturating_duration_since(Instant::now());
        // A signal ends it early, which does no harm.
        zmq::poll(&mut items, i64::try_from(until.as_millis()).unwrap_or(0) + 1).ok();
    }

    fn note_happenings(&self, line: &mut Line, warned: &mut Warned) {
        let address = &self.reporting.address;
        let happenings: Vec<_> = line.monitor.happenings().collect();
        for happening in happenings {
            match happening {
                Happening::Handshake => {
                    line.is_up = true;
                    CncServer::Found { address }.emit();
                }
                Happening::Ended => {
                    if std::mem::replace(&mut line.is_up, false) {
                        CncServer::Lost { address }.emit();
                        line.give_up = Instant::now() + AFTER_SILENCE;
                    }
                }
                Happening::KeyRefused | Happening::NoHandshake => {
                    line.give_up = line.give_up.min(Instant::now() + AFTER_REFUSAL);
                    if warned.now(happening) {
                        match happening {
                            Happening::KeyRefused => CncServer::NoKey { address }.emit(),
                            _ => CncServer::NoHandshake { address }.emit(),
                        }
                    }
                }
            }
        }
        self.is_connected.store(line.is_up, Ordering::Relaxed);
    }

    /// Answers first, then lines of the log, as far as they are taken.
    fn send(&self, line: &Line, hand: &mut InHand) {
        loop {
            hand.letter = hand.letter.take().or_else(|| self.letters.waiting.try_recv().ok());
            match &hand.letter {
                // Nobody waits for it any more.
                Some((made, _)) if made.elapsed() > PATIENCE => {}
                Some((_, body)) if line.socket.send(body, zmq::DONTWAIT).is_err() => return,
                Some(_) => {}
                None => break,
            }
            hand.letter = None;
        }
        loop {
            hand.line = hand.line.take().or_else(|| self.lines.waiting.try_recv().ok());
            match &hand.line {
                Some(body) if line.socket.send(body, zmq::DONTWAIT).is_ok() => hand.line = None,
                _ => return,
            }
        }
    }
}

/// One message, if it is one frame; what has more is passed over.
fn receive(socket: &zmq::Socket) -> Option<zmq::Message> {
    loop {
        let body = socket.recv_msg(zmq::DONTWAIT).ok()?;
        let mut more = body.get_more();
        if !more {
            return Some(body);
        }
        while more {
            more = socket.recv_msg(zmq::DONTWAIT).ok()?.get_more();
        }
    }
}

/// What was warned of, and when.
#[derive(Default)]
struct Warned(Vec<(Happening, Instant)>);

impl Warned {
    /// Whether it is time to warn of it.
    fn now(&mut self, happening: Happening) -> bool {
        if self.0.iter().any(|(what, at)| *what == happening && at.elapsed() < WARN_EVERY) {
            return false;
        }
        self.0.retain(|(what, _)| *what != happening);
        self.0.push((happening, Instant::now()));
        true
    }
}
