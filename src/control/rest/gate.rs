//! The gate before all routes: who may come in, under which name, how often, with what.
//!
//! Invariants: it looks at the head of a request alone; who has no token that counts learns nothing but that, whatever he
//! asks for; whoever has one is never kept out by the failures of others at his address.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Version};
use parking_lot::Mutex;

use super::allowance::Allowance;
use super::fault::Fault;
use super::hosts::Hosts;
use super::origins::{Asker, Origins, Stranger};
use crate::config::{CncConfig, Role};
use crate::control::Caller;
use crate::control::tokens::Tokens;
use crate::telemetry::RestTurnedAway;

/// Wrong tokens of one address: so many at once, so many a second.
const FAILURES: u32 = 200;
const FAILURES_PER_SECOND: u32 = 10;

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// How often it is said that somebody was not let in.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Hosts,
    origins: Origins,
    requests: Allowance,
    failures: Allowance,
    tokens: Tokens,
    needs_token: bool,
    max_body_bytes: usize,
    said: Mutex<Said>,
}

/// What was said last of those who were not let in.
#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    since: u64,
}

impl Gate {
    pub(super) fn new(config: &CncConfig, tokens: Tokens, is_tls: bool) -> Self {
        let rest = &config.rest;
        Self {
            hosts: Hosts::of(config),
            origins: Origins::new(&rest.allowed_origins, is_tls),
            requests: Allowance::new(rest.max_requests_per_second, rest.max_requests_per_second),
            failures: Allowance::new(FAILURES_PER_SECOND, FAILURES),
            tokens,
            needs_token: config.needs_token(),
            max_body_bytes: rest.max_body_kb as usize * 1024,
            said: Mutex::default(),
        }
    }

    pub(super) fn needs_token(&self) -> bool {
        self.needs_token
    }

    /// How often, under which name, and from whose page.
    ///
    /// # Errors
    /// 400, 403, 421, 429.
    pub(super) fn look_at(&self, head: &Parts, peer: SocketAddr) -> Result<Asker, Fault> {
        self.requests.take(peer.ip(), Instant::now()).map_err(|wait| {
            let message = "too many requests a second from this address";
            Fault::later(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message, wait).last()
        })?;
        let host = self.host(head)?;
        self.origins.look_at(&head.method, &head.headers, host).map_err(|Stranger| {
            let message =
                "web pages of other origins may not ask; `allowed_origins` in `[cnc.rest]` lists those that may";
            Fault::new(StatusCode::FORBIDDEN, "ForbiddenOrigin", message).last()
        })
    }

    /// What the request says as its host, which must be ours.
    fn host<'h>(&self, head: &'h Parts) -> Result<&'h str, Fault> {
        let bad = |message: &str| Fault::new(StatusCode::BAD_REQUEST, "BadHost", message).last();
        let mut said = head.headers.get_all(HOST).iter();
        let in_header = said.next().map(|host| host.to_str().map_err(|_| bad("`Host` is no name")));
        let in_header = in_header.transpose()?;
        if said.next().is_some() {
            return Err(bad("there is more than one `Host`"));
        }
        if in_header.is_none() && head.version >= Version::HTTP_11 {
            return Err(bad("there is no `Host`"));
        }
        let in_target = head.uri.authority().map(|authority| authority.as_str());
        if in_header.into_iter().chain(in_target).all(|host| self.hosts.allow(host)) {
            return Ok(in_target.or(in_header).unwrap_or_default());
        }
        let message = "this server has no such name; `allowed_hosts` in `[cnc.rest]` lists those that it has";
        Err(Fault::new(StatusCode::MISDIRECTED_REQUEST, "UnknownHost", message).last())
    }

    /// Who asks. On a route for everybody nobody needs a token, but one that is shown must count.
    ///
    /// # Errors
    /// 401, 429.
    pub(super) fn caller(&self, headers: &HeaderMap, peer: SocketAddr, is_for_all: bool) -> Result<Caller, Fault> {
        let from = format!("REST {peer}");
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let token = match (shown.next(), shown.next()) {
            (None, _) if !self.needs_token => return Ok(Caller::remote("anonymous", from, Role::Admin)),
            (None, _) if is_for_all => return Ok(Caller::remote("anonymous", from, Role::Viewer)),
            (None, _) => return Err(Fault::unauthorized()),
            (Some(shown), None) => shown.to_str().ok().and_then(bearer),
            (Some(_), Some(_)) => None,
        };
        if let Some(found) = token.and_then(|token| self.tokens.find(token)) {
            return Ok(Caller::remote(found.name, from, found.role));
        }
        self.failures.take(peer.ip(), Instant::now()).map_err(|wait| {
            let message = "too many tokens that do not count from this address";
            Fault::later(StatusCode::TOO_MANY_REQUESTS, "TooManyFailures", message, wait).last()
        })?;
        Err(Fault::unauthorized())
    }

    /// The body of a request that was let in.
    ///
    /// # Errors
    /// 400, 408, 413, 415.
    pub(super) async fn body(&self, head: &Parts, body: Body) -> Result<Bytes, Fault> {
        if matches!(head.method, Method::GET | Method::HEAD) {
            return Ok(Bytes::new());
        }
        let too_large = || {
            let message = format!("a body has {} KiB at the most", self.max_body_bytes / 1024);
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", message).last()
        };
        check_form(&head.headers)?;
        if length(&head.headers).is_some_and(|length| length > self.max_body_bytes as u64) {
            return Err(too_large());
        }
        match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, self.max_body_bytes)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) if is_limit(&error) => Err(too_large()),
            Ok(Err(_)) => Err(Fault::new(StatusCode::BAD_REQUEST, "BadBody", "the body ended before its end").last()),
            Err(_) => {
                let message = format!("the body was not whole within {} s", BODY_WITHIN.as_secs());
                Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "Slow", message).last())
            }
        }
    }

    /// Says that somebody was not let in, once a second at the most.
    pub(super) fn tell_turned_away(&self, address: IpAddr, code: &str, request_id: &str) {
        let mut said = self.said.lock();
        let now = Instant::now();
        if said.at.is_some_and(|at| now.saturating_duration_since(at) < SAY_EVERY) {
            said.since += 1;
            return;
        }
        let more = std::mem::take(&mut said.since);
        said.at = Some(now);
        drop(said);
        RestTurnedAway { address, code, request_id, more }.emit();
    }
}

/// The token of `Bearer TOKEN`.
fn bearer(shown: &str) -> Option<&str> {
    let (scheme, token) = shown.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What a form of a web page can send without asking is not taken: a body is JSON, and says so.
fn check_form(headers: &HeaderMap) -> Result<(), Fault> {
    let refuse = |message: &str| Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NotJson", message).last());
    let has_body = headers.contains_key(TRANSFER_ENCODING) || length(headers).is_some_and(|length| length > 0);
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    match (kinds.next(), kinds.next()) {
        (None, _) if has_body => return refuse("a body needs `Content-Type: application/json`"),
        (Some(kind), None) if !is_json(kind.to_str().unwrap_or_default()) => {
            return refuse("a body must be `Content-Type: application/json`");
        }
        (Some(_), Some(_)) => return refuse("there is more than one `Content-Type`"),
        _ => {}
    }
    match headers.get(CONTENT_ENCODING).map(|coding| coding.as_bytes()) {
        None | Some(b"identity") => Ok(()),
        Some(_) => refuse("a body must not be compressed"),
    }
}

fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(|part| part.is_empty() || part.replace('"', "").eq_ignore_ascii_case("charset=utf-8"))
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::config::RestConfig;

    const PEER: &str = "127.0.0.1:5";

    fn gate(rest: RestConfig, dir: &std::path::Path) -> Gate {
        Gate::new(&CncConfig { rest, ..CncConfig::default() }, Tokens::of(dir), false)
    }

    fn head(headers: &[(&'static str, &str)]) -> Parts {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request.into_parts().0
    }

    fn status<T>(result: Result<T, Fault>) -> u16 {
        result.map_or_else(|fault| fault.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_host_that_is_not_ours_is_sent_away() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(RestConfig::default(), dir.path());
        let look = |headers: &[(&'static str, &str)]| status(gate.look_at(&head(headers), PEER.parse().unwrap()));

        assert_eq!(look(&[("host", "localhost:8000")]), 200);
        assert_eq!(look(&[("host", "evil.example")]), 421);
        assert_eq!(look(&[]), 400);
        assert_eq!(look(&[("host", "localhost"), ("host", "evil.example")]), 400);
        let mut absolute = head(&[("host", "localhost")]);
        absolute.uri = "http://evil.example/".parse().unwrap();
        assert_eq!(status(gate.look_at(&absolute, PEER.parse().unwrap())), 421);
        let mut old = head(&[]);
        old.version = Version::HTTP_10;
        assert_eq!(status(gate.look_at(&old, PEER.parse().unwrap())), 200);
    }

    #[test]
    fn who_shows_a_token_is_who_it_says_and_wrong_ones_are_rare() {
        let dir = tempfile::tempdir().unwrap();
        let token = Tokens::of(dir.path()).add("anna", Role::Operator).unwrap();
        let gate = gate(RestConfig { require_token: true, ..RestConfig::default() }, dir.path());
        let ask = |headers: &[(&'static str, &str)]| gate.caller(&head(headers).headers, PEER.parse().unwrap(), false);
        let right = format!("bearer {token}");

        let caller = ask(&[("authorization", &right)]).unwrap();
        assert_eq!((caller.who.as_str(), caller.role), ("anna", Role::Operator));
        assert_eq!(status(ask(&[])), 401);
        for wrong in ["Bearer x", "Basic YTpi", "Bearer", &token, &right.to_uppercase()] {
            assert_eq!(status(ask(&[("authorization", wrong)])), 401, "{wrong}");
        }
        assert_eq!(status(ask(&[("authorization", &right), ("authorization", &right)])), 401);
        let tries: Vec<_> = (0..2 * FAILURES).map(|_| status(ask(&[("authorization", "Bearer x")]))).collect();
        assert_eq!(tries.last(), Some(&429));
        assert_eq!(status(ask(&[("authorization", &right)])), 200, "the failures of others do not count against him");
    }

    #[test]
    fn without_need_of_tokens_a_wrong_one_is_still_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(RestConfig::default(), dir.path());
        let ask = |headers: &[(&'static str, &str)]| gate.caller(&head(headers).headers, PEER.parse().unwrap(), false);

        assert_eq!(ask(&[]).unwrap().role, Role::Admin);
        assert_eq!(status(ask(&[("authorization", "Bearer x")])), 401);
    }

    #[test]
    fn a_body_is_json_and_says_so() {
        let form = |headers: &[(&'static str, &str)]| status(check_form(&head(headers).headers));
        let json = ("content-type", "application/json");

        assert_eq!(form(&[]), 200);
        assert_eq!(form(&[json, ("content-length", "3")]), 200);
        assert_eq!(form(&[("content-type", "Application/JSON; charset=\"UTF-8\"")]), 200);
        assert_eq!(form(&[("content-length", "3")]), 415);
        assert_eq!(form(&[("transfer-encoding", "chunked")]), 415);
        assert_eq!(form(&[json, ("content-encoding", "gzip")]), 415);
        assert_eq!(form(&[json, ("content-type", "text/plain")]), 415);
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "application/jsonx",
        ] {
            assert_eq!(form(&[("content-type", kind)]), 415, "{kind}");
        }
    }
}
