//! One connection, from its first byte to its last.
//!
//! Invariant: whoever is refused before he has sent all can read why: what he still sends is passed over for a moment,
//! and not answered with a reset.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::places::{Phase, Place, Watch};

/// The largest head of a request, in bytes, and the most lines of it.
const MAX_HEAD: usize = 32 << 10;
const MAX_LINES: usize = 64;

/// How long, and how much, is passed over after the last answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 4 << 20;

/// Serves until the client is done, the place is given up, or all ends.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
    place: Place,
    ending: watch::Receiver<bool>,
) {
    let watch = place.watch.clone();
    let served = async {
        match tls {
            None => converse(stream, peer, &app, &watch, ending).await,
            Some(tls) => {
                // Whoever cannot agree on keys learns that from the alert.
                let Ok(stream) = tls.accept(stream).await else { return };
                watch.enter(Phase::Idle);
                converse(stream, peer, &app, &watch, ending).await;
            }
        }
    };
    tokio::select! {
        () = served => {}
        () = watch.given_up() => {}
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    app: &Arc<App>,
    watch: &Watch,
    mut ending: watch::Receiver<bool>,
) {
    let answer = service_fn(move |request| Box::pin(app.clone().answer(request, peer, watch.clone())));
    let io = TokioIo::new(Observed { stream, watch: watch.clone() });
    // How long a head may take is looked after with the places.
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_headers(MAX_LINES).max_buf_size(MAX_HEAD);
    let mut connection = builder.serve_connection(io, answer);
    let is_fine = {
        let mut spoken = pin!(std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)));
        tokio::select! {
            spoken = &mut spoken => Some(spoken.is_ok()),
            _ = ending.wait_for(|is_ending| *is_ending) => None,
        }
    };
    let is_fine = match is_fine {
        Some(is_fine) => is_fine,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await.is_ok()
        }
    };
    if is_fine {
        watch.enter(Phase::Idle);
        let mut stream = connection.into_parts().io.into_inner().stream;
        tokio::time::timeout(LINGER, pass_over(&mut stream)).await.ok();
    }
}

/// Says that this was all, and passes over what still comes.
async fn pass_over(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.ok();
    }
}

/// A stream of which is known whether bytes come, and whether they go.
struct Observed<S> {
    stream: S,
    watch: Watch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.watch.heard();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch.takes(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch.takes(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
