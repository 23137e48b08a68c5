//! What systemd is told: ready, alive, reloading, stopping, and a line for `systemctl status`.
//!
//! `WATCHDOG=1` is sent by the dispatcher's own loop, so that a dispatcher that hangs is killed. Nothing here waits: what
//! systemd does not take at once is lost. Jobs must not have `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` in their
//! environment ([`OF_SERVICES`]), since they would speak for the supervisor.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Variables that are for this process alone.
pub(super) const OF_SERVICES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The status text changes at most this often.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// The way to systemd; without one all calls do nothing.
#[derive(Debug)]
pub(super) struct Systemd {
    socket: Option<UnixDatagram>,
    /// Half of what systemd waits for a sign of life.
    every: Option<Duration>,
    alive_due: Option<Instant>,
    status: String,
    status_due: Instant,
}

impl Systemd {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(&path).ok());
        let every = socket.is_some().then(sd_notify::watchdog_enabled).flatten().map(|within| within / 2);
        let now = Instant::now();
        Self { socket, every, alive_due: every.map(|_| now), status: String::new(), status_due: now }
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        if let Some(socket) = &self.socket {
            let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
            socket.send(lines.join("\n").as_bytes()).ok();
        }
    }

    /// All jobs have been started; or a reload is done.
    pub(super) fn ready(&self) {
        self.say(&[NotifyState::Ready]);
    }

    /// A reload begins; [`ready`](Self::ready) ends it.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(_) => self.say(&[NotifyState::Reloading]),
        }
    }

    /// The end begins.
    pub(super) fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// When the next sign of life is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.alive_due
    }

    /// Gives a sign of life if it is time.
    pub(super) fn pass_time(&mut self, now: Instant) {
        if let (Some(every), Some(due)) = (self.every, self.alive_due)
            && now >= due
        {
            self.say(&[NotifyState::Watchdog]);
            self.alive_due = Some(now + every);
        }
    }

    /// Shows this text, if it is another one than before.
    pub(super) fn show(&mut self, now: Instant, status: impl FnOnce() -> String) {
        if self.socket.is_none() || now < self.status_due {
            return;
        }
        let status = status();
        if status != self.status {
            self.say(&[NotifyState::Status(&status)]);
            self.status = status;
            self.status_due = now + STATUS_EVERY;
        }
    }
}

/// A socket by its path, or by its abstract name, which begins with `@`.
fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
