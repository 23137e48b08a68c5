//! The server: bound before anything starts, served on a thread of its own, ended by dropping its guard.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::connection;
use super::listen;
use super::places::{Phase, Places};
use super::tls::{Certificate, TlsError};
use crate::config::{Catalog, CncConfig};
use crate::control::Desk;
use crate::control::cnc::Nodes;
use crate::control::tokens::Tokens;
use crate::telemetry::{RestInClear, RestListens};

/// How often connections that take too long, and files of certificates, are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long answers that are under way may take once all ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long after a failed `accept` the next one is tried.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Descriptors that are neither a listener nor a connection with a place: the runtime's, and connections on their way out.
const SPARE_DESCRIPTORS: u64 = 64;

/// Whom the API asks.
#[derive(Debug)]
pub(crate) struct RestParts {
    /// Where the audit log lies.
    pub(crate) state_dir: PathBuf,
    /// Who carries out commands for this node.
    pub(crate) desk: Desk,
    /// Who carries them out for any node.
    pub(crate) nodes: Nodes,
    /// Who may come in.
    pub(crate) tokens: Tokens,
    /// The job types.
    pub(crate) catalog: Catalog,
}

/// Why the API cannot be offered.
#[derive(Debug, Error)]
pub enum RestError {
    /// Nobody can listen there.
    #[error(
        "cannot listen on {host}:{port} for the REST API; choose another `cnc.rest_api_host` or `cnc.rest_api_port`"
    )]
    Listen {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("no HTTPS for the REST API")]
    Tls(#[from] TlsError),
}

/// Descriptors that the API may need at a time.
pub(crate) fn descriptors(config: &CncConfig) -> u64 {
    u64::from(config.rest.max_connections) + SPARE_DESCRIPTORS
}

/// The API, bound and not yet served: who connects waits.
#[derive(Debug)]
pub(crate) struct Rest {
    listeners: Vec<TcpListener>,
    certificate: Option<Arc<Certificate>>,
    config: CncConfig,
}

/// As long as it lives the API is served.
#[derive(Debug)]
pub(crate) struct RestGuard {
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Rest {
    /// Binds the addresses, and reads the certificate; paths count from the folder of `supervisor.toml`.
    ///
    /// # Errors
    /// [`RestError`].
    pub(crate) fn bind(config: &CncConfig, config_dir: &Path) -> Result<Self, RestError> {
        let CncConfig { rest_api_host: host, rest_api_port: port, rest, .. } = config;
        let certificate = match (&rest.tls_cert, &rest.tls_key) {
            (Some(cert), Some(key)) => Some(Certificate::read(config_dir.join(cert), config_dir.join(key))?),
            (None, None) => None,
            _ => return Err(TlsError::Half.into()),
        };
        let listeners = listen::bind(host, *port).map_err(|source| RestError::Listen {
            host: host.clone(),
            port: *port,
            source,
        })?;
        Ok(Self { listeners, certificate, config: config.clone() })
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// The system's: no thread, no descriptors.
    pub(crate) fn start(self, parts: RestParts) -> io::Result<RestGuard> {
        let is_tls = self.certificate.is_some();
        let addresses: Vec<SocketAddr> =
            self.listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        RestListens { addresses: &addresses, is_tls, needs_token: self.config.needs_token() }.emit();
        if !is_tls && !self.config.is_rest_local() {
            RestInClear.emit();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ending, is_ending) = watch::channel(false);
        let thread = thread::Builder::new().name("rest".into()).spawn(move || {
            runtime.block_on(self.serve(parts, is_ending));
            runtime.shutdown_background();
        })?;
        Ok(RestGuard { ending, thread: Some(thread) })
    }

    async fn serve(self, parts: RestParts, mut is_ending: watch::Receiver<bool>) {
        let places = Places::new(usize::try_from(self.config.rest.max_connections).unwrap_or(usize::MAX));
        let tls = self.certificate.as_ref().map(Certificate::acceptor);
        let app = App::new(&self.config, parts, tls.is_some(), places.clone(), is_ending.clone());
        for listener in self.listeners {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(accept(listener, tls.clone(), app.clone(), places.clone(), is_ending.clone()));
                }
                Err(error) => tracing::error!("the REST API cannot be served: {error}"),
            }
        }
        tokio::spawn(look_after(places.clone(), self.certificate));
        // An error is the guard's end.
        is_ending.wait_for(|is_ending| *is_ending).await.ok();
        let until = Instant::now() + LAST_ANSWERS;
        while places.busy() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for RestGuard {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
    places: Places,
    ending: watch::Receiver<bool>,
) {
    let first = if tls.is_some() { Phase::Handshake } else { Phase::Idle };
    loop {
        // An error here is one of a client that has gone, or a shortage of descriptors that passes.
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        if *ending.borrow() {
            return;
        }
        stream.set_nodelay(true).ok();
        keep_alive(&stream);
        let place = places.take(first).await;
        tokio::spawn(connection::serve(stream, peer, tls.clone(), app.clone(), place, ending.clone()));
    }
}

/// Of a client whose machine has gone nobody else would ever hear, where only it is to say something.
fn keep_alive(stream: &tokio::net::TcpStream) {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
    set_socket_keepalive(stream, true).ok();
    set_tcp_keepidle(stream, Duration::from_secs(60)).ok();
    set_tcp_keepintvl(stream, Duration::from_secs(10)).ok();
    set_tcp_keepcnt(stream, 3).ok();
}

async fn look_after(places: Places, certificate: Option<Arc<Certificate>>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        places.sweep(Instant::now());
        if let Some(certificate) = &certificate {
            certificate.renew();
        }
    }
}
