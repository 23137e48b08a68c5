//! The page of the routes. All of it is in the program: no request leaves the machine.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderValue, Response};
use utoipa_swagger_ui::Config;

use super::asked::{Asked, sent};
use super::fault::Fault;

/// What the page may load, and whom it may ask: us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");

pub(super) async fn page(_asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(with_policy(sent("text/html; charset=utf-8", HTML)))
}

pub(super) async fn script(_asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(sent("text/javascript; charset=utf-8", SCRIPT))
}

pub(super) async fn style(_asked: Asked) -> Result<Response<Body>, Fault> {
    bundled("text/css; charset=utf-8", "swagger-ui.css")
}

pub(super) async fn bundle(_asked: Asked) -> Result<Response<Body>, Fault> {
    bundled("text/javascript; charset=utf-8", "swagger-ui-bundle.js")
}

pub(super) async fn document(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(sent("application/json", asked.shared.document.clone()))
}

/// A file of Swagger UI.
fn bundled(kind: &'static str, name: &str) -> Result<Response<Body>, Fault> {
    let config: Config<'static> = Config::from("/openapi.json");
    let found = utoipa_swagger_ui::serve(name, Arc::new(config));
    let missing = |why: String| Fault::broken("the page is not whole", why);
    let file = found.map_err(|error| missing(error.to_string()))?.ok_or_else(|| missing(format!("no {name}")))?;
    // It lies in the program: however many ask for it, there is no copy.
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = sent(kind, bytes);
    if file.gzpipped {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn with_policy(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
