//! Facts of the REST API.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The API is served.
pub(crate) struct RestListens<'a> {
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) is_tls: bool,
    pub(crate) needs_token: bool,
}

impl RestListens<'_> {
    pub(crate) fn emit(self) {
        let scheme = if self.is_tls { "https" } else { "http" };
        let addresses: Vec<_> = self.addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
        let who = if self.needs_token { "for those who have a token" } else { "for everybody on this machine" };
        tracing::info!("REST API at {}, {who}; its page is /docs", addresses.join(" and "));
    }
}

/// Tokens can be read by everybody between a client and this machine.
pub(crate) struct RestInClear;

impl RestInClear {
    pub(crate) fn emit(self) {
        tracing::warn!(
            "the REST API is open to the network without encryption: everybody between can read the tokens; set \
             `tls_cert` and `tls_key` in `[cnc.rest]`, or let it listen on loopback only"
        );
    }
}

/// Somebody was not let in; `more` were not since the last time that this was said.
pub(crate) struct RestTurnedAway<'a> {
    pub(crate) address: IpAddr,
    pub(crate) code: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) more: u64,
}

impl RestTurnedAway<'_> {
    pub(crate) fn emit(self) {
        let Self { address, code, request_id, more } = self;
        let more = if more == 0 { String::new() } else { format!(", and {more} more since this was said last") };
        tracing::warn!("REST: {address} was not let in: {code} (request {request_id}){more}");
    }
}

/// A request failed by a fault of this side.
pub(crate) struct RestFailed<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) message: &'a str,
    pub(crate) why: &'a str,
}

impl RestFailed<'_> {
    pub(crate) fn emit(self) {
        tracing::error!("REST: {} (request {}): {}", self.message, self.request_id, self.why);
    }
}

/// The files of the certificate have changed.
pub(crate) enum CertificateRead<'a> {
    Renewed { path: &'a Path },
    Kept { why: &'a str },
}

impl CertificateRead<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Renewed { path } => tracing::info!("REST: the certificate {} is read anew", path.display()),
            Self::Kept { why } => tracing::warn!("REST: the former certificate counts on, as of the new files {why}"),
        }
    }
}
