//! Answers without an end: lines of JSON, or events of a page (SSE), as long as somebody reads.
//!
//! Invariants: their number is bounded, and leaves most connections to others; a client that has gone, and the end of the
//! supervisor, end them; what waits for one client is bounded.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::app::Shared;
use super::fault::Fault;

/// Streams at a time, if there are connections enough.
const MAX_STREAMS: usize = 64;

/// Pieces that may wait for a client.
const MAX_PIECES: usize = 16;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/x-ndjson`: a line of JSON each.
    Lines,
    /// `text/event-stream`.
    Events,
}

/// Where a stream's pieces are put in.
#[derive(Debug)]
pub(super) struct Pieces {
    form: Form,
    pieces: mpsc::Sender<Bytes>,
}

/// Nobody reads any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone;

/// How many streams a server with so many connections has.
pub(super) fn most_streams(connections: u32) -> usize {
    (connections as usize / 2).clamp(1, MAX_STREAMS)
}

/// Begins one.
///
/// # Errors
/// There are too many.
pub(super) fn begin(shared: &Shared, form: Form) -> Result<(Response<Body>, Pieces), Fault> {
    let place = shared.streams.clone().try_acquire_owned().map_err(|_| {
        let wait = std::time::Duration::from_secs(10);
        let message = "there are as many streams as there may be; end one of them";
        Fault::later(StatusCode::SERVICE_UNAVAILABLE, "TooManyStreams", message, wait)
    })?;
    let (pieces, to_send) = Pieces::new(form);
    let mut response = Response::new(Body::new(Sent { pieces: to_send, _place: place }));
    let kind = match form {
        Form::Lines => "application/x-ndjson",
        Form::Events => "text/event-stream",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok((response, pieces))
}

impl Pieces {
    /// And where they come out.
    pub(super) fn new(form: Form) -> (Self, mpsc::Receiver<Bytes>) {
        let (pieces, to_send) = mpsc::channel(MAX_PIECES);
        (Self { form, pieces }, to_send)
    }

    /// Sends one; waits while the client is behind.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn send(&self, name: &str, value: &impl Serialize) -> Result<(), Gone> {
        let json = serde_json::to_string(value).expect("what is sent has string keys only");
        self.put(match self.form {
            Form::Lines => format!("{json}\n"),
            Form::Events => format!("event: {name}\ndata: {json}\n\n"),
        })
        .await
    }

    /// Shows that the connection is alive.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn keep_alive(&self) -> Result<(), Gone> {
        match self.form {
            // A line without JSON would disturb a reader.
            Form::Lines => Ok(()),
            Form::Events => self.put(": alive\n\n".into()).await,
        }
    }

    /// Returns when nobody reads any more.
    pub(super) async fn left(&self) {
        self.pieces.closed().await;
    }

    async fn put(&self, text: String) -> Result<(), Gone> {
        self.pieces.send(text.into()).await.map_err(|_| Gone)
    }
}

/// The body of such an answer.
struct Sent {
    pieces: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
