//! What every request passes through, from the head that hyper has read to the answer that it writes.
//!
//! Invariant: every answer has the id of its request, and headers by which no browser keeps, frames or guesses it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use axum::routing::{MethodFilter, on};
use hyper::body::{Frame, Incoming, SizeHint};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use super::asked::{Asked, form_of};
use super::events::AlertCount;
use super::fault::{Code, Fault};
use super::figures::Figures;
use super::gate::Gate;
use super::log_feed::LogFeed;
use super::openapi;
use super::origins::Asker;
use super::places::{Phase, Places, Watch};
use super::route::{Route, Verb};
use super::routes::routes;
use super::server::RestParts;
use super::stream::most_streams;
use crate::config::{Catalog, CncConfig};
use crate::control::Desk;
use crate::control::cnc::Nodes;

/// The header with the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a page may send besides what every page may.
const ALLOWED_HEADERS: &str = "authorization, content-type, x-request-id";
const ALLOWED_METHODS: &str = "GET, POST, DELETE";

/// What all routes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) desk: Desk,
    pub(super) nodes: Nodes,
    pub(super) catalog: Catalog,
    pub(super) state_dir: PathBuf,
    pub(super) gate: Gate,
    pub(super) places: Places,
    /// A place for each stream.
    pub(super) streams: Arc<Semaphore>,
    pub(super) most_streams: usize,
    pub(super) log_feed: LogFeed,
    pub(super) figures: Figures,
    pub(super) alerts: AlertCount,
    /// The OpenAPI document.
    pub(super) document: Bytes,
    /// Whether all ends.
    pub(super) ending: watch::Receiver<bool>,
}

/// The API, ready to answer.
#[derive(Debug)]
pub(super) struct App {
    shared: Arc<Shared>,
    router: Router,
}

/// What is known of a request besides what stands in it.
#[derive(Debug, Clone)]
struct Arrival {
    peer: SocketAddr,
    watch: Watch,
    id: Arc<str>,
}

impl App {
    pub(super) fn new(
        config: &CncConfig,
        parts: RestParts,
        is_tls: bool,
        places: Places,
        ending: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let RestParts { state_dir, desk, nodes, tokens, catalog } = parts;
        let most_streams = most_streams(config.rest.max_connections);
        let streams = Arc::new(Semaphore::new(most_streams));
        let shared = Arc::new(Shared {
            gate: Gate::new(config, tokens, is_tls),
            alerts: AlertCount::start(&desk),
            log_feed: LogFeed::of(desk.clone()),
            figures: Figures::default(),
            document: openapi::document(routes()).to_string().into(),
            desk,
            nodes,
            catalog,
            state_dir,
            places,
            streams,
            most_streams,
            ending,
        });
        Arc::new(Self { router: router(&shared), shared })
    }

    /// Answers a request.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        watch: Watch,
    ) -> Result<Response<Body>, Infallible> {
        watch.enter(Phase::Body);
        let begun = Instant::now();
        let (mut head, body) = request.into_parts();
        let id: Arc<str> = request_id(&head.headers).into();
        let method = head.method.clone();
        head.extensions.insert(Arrival { peer, watch: watch.clone(), id: id.clone() });
        let (page, mut response) = match self.shared.gate.look_at(&head, peer) {
            Err(fault) => (None, fault.into_response(&id)),
            Ok(Asker::Page(page)) if is_preflight(&head) => (Some(page), preflight()),
            Ok(asker) => {
                let page = if let Asker::Page(page) = asker { Some(page) } else { None };
                let routed = self.router.clone().oneshot(Request::from_parts(head, Body::new(body))).await;
                (page, routed.unwrap_or_else(|never| match never {}))
            }
        };
        let route = response.extensions().get::<&'static Route>().copied();
        self.shared.figures.record(&method, route, response.status(), begun.elapsed());
        if let Some(Code(code)) = response.extensions().get().filter(|code| is_turned_away(code)) {
            self.shared.gate.tell_turned_away(peer.ip(), code, &id);
        }
        finish(response.headers_mut(), &id, page);
        Ok(response.map(|body| Body::new(Answered { body, watch })))
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        };
        let shared = shared.clone();
        let handler = move |request: Request| enter(shared.clone(), route, request);
        router = router.route(route.path, on(filter, handler));
    }
    let (nowhere, otherwise) = (shared.clone(), shared.clone());
    router
        .method_not_allowed_fallback(move |request: Request| {
            let fault = Fault::new(StatusCode::METHOD_NOT_ALLOWED, "WrongMethod", "this route has no such method");
            refuse(otherwise.clone(), fault, request)
        })
        .fallback(move |request: Request| {
            refuse(
                nowhere.clone(),
                Fault::not_found("there is no such route; `/docs` shows those that there are"),
                request,
            )
        })
}

/// Lets a request in to its route.
async fn enter(shared: Arc<Shared>, route: &'static Route, request: Request) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let arrival = head.extensions.remove::<Arrival>().expect("every request has got one");
    let answered = answer(shared, route, head, body, &arrival).await;
    let mut response = answered.unwrap_or_else(|fault| fault.into_response(&arrival.id));
    response.extensions_mut().insert(route);
    response
}

async fn answer(
    shared: Arc<Shared>,
    route: &'static Route,
    mut head: Parts,
    body: Body,
    arrival: &Arrival,
) -> Result<Response<Body>, Fault> {
    let caller = shared.gate.caller(&head.headers, arrival.peer, route.needs.is_none())?;
    if let Some(needs) = route.needs.filter(|needs| caller.role < *needs) {
        // Whoever tries what he may not is written down, as where he asks by another way.
        let call = json!({"do": format!("{} {}", head.method, head.uri.path())});
        return Err(shared.desk.turn_away(&caller, shared.nodes.own_id(), call, needs).await.into());
    }
    let path = RawPathParams::from_request_parts(&mut head, &()).await;
    let path = path.map_err(|error| Fault::new(StatusCode::BAD_REQUEST, "BadPath", error.body_text()))?;
    let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = shared.gate.body(&head, body).await?;
    arrival.watch.enter(Phase::Busy);
    let query = head.uri.query().unwrap_or_default().to_owned();
    let form = form_of(&head.headers);
    (route.handle)(Asked { shared, caller, path, query, body, form }).await
}

/// Who may not come in does not learn either what is not there.
async fn refuse(shared: Arc<Shared>, fault: Fault, request: Request) -> Response<Body> {
    let arrival = request.extensions().get::<Arrival>().expect("every request has got one");
    let caller = shared.gate.caller(request.headers(), arrival.peer, false);
    caller.map_or_else(|fault| fault, |_| fault).into_response(&arrival.id)
}

/// The id that the client has chosen, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_sane = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|at| at.is_ascii_alphanumeric() || b"-_.".contains(&at))
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(is_sane);
    given.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned)
}

/// A browser asks whether a page may ask.
fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let says = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
        (HeaderName::from_static("access-control-allow-private-network"), "true"),
    ];
    response.headers_mut().extend(says.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// Whether the gate did not let somebody in; whose role is too small stands in the audit log.
fn is_turned_away(Code(code): &Code) -> bool {
    ["Unauthorized", "ForbiddenOrigin", "UnknownHost", "TooManyRequests", "TooManyFailures"].contains(&code.as_str())
}

/// What stands in the head of every answer.
fn finish(headers: &mut HeaderMap, id: &str, page: Option<HeaderValue>) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, nothing);
    }
    headers.insert(REQUEST_ID, HeaderValue::from_str(id).expect("it has letters and digits only"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(page) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        let exposed = HeaderValue::from_static("x-request-id, retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The body of an answer; when it is out, or never will be, its connection is idle.
struct Answered {
    body: Body,
    watch: Watch,
}

impl hyper::body::Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.watch.enter(Phase::Idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_client_counts_where_it_is_sane() {
        let id = |id: &str| request_id(&[(REQUEST_ID, id.parse().unwrap())].into_iter().collect());

        assert_eq!(id("shift-7.b_2"), "shift-7.b_2");
        for bad in ["", "a b", "a;b", &"x".repeat(65)] {
            assert_eq!(id(bad).len(), 32, "{bad}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
