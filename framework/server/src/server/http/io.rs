//! The bytes below hyper: its empty responses to malformed requests get a problem document as their body.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::problem::Problem;
use crate::server::metrics::{Limit, Limits};
use crate::server::stream::Stream;

/// A response that clients skip while they wait for the next one.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The stream under a connection of hyper.
pub(super) struct HyperIo {
    stream: Stream,
    limits: Arc<Limits>,
    peer: Arc<PeerCheck>,
    /// The response instead of hyper's last one, and how many bytes of it are written.
    instead: Option<(Vec<u8>, usize)>,
}

/// Has a client that waits for a response checked now and then, since hyper does not read meanwhile.
#[derive(Debug, Default)]
pub(super) struct PeerCheck {
    is_due: AtomicBool,
    /// The response has no end of its own: it ends when the client has shut its sending side.
    ends_with_input: AtomicBool,
    /// The client may be sent an interim response.
    may_probe: AtomicBool,
}

impl PeerCheck {
    /// Has the next poll of the connection check the client.
    pub(super) fn request(&self) {
        self.is_due.store(true, Ordering::Relaxed);
    }

    /// Begins another request.
    pub(super) fn reset(&self) {
        self.ends_with_input.store(false, Ordering::Relaxed);
        self.may_probe.store(false, Ordering::Relaxed);
    }

    /// Lets the response end once the client has shut its sending side.
    pub(super) fn end_with_input(&self) {
        self.ends_with_input.store(true, Ordering::Relaxed);
    }

    /// Sets whether the client waits, and may be sent an interim response.
    pub(super) fn set_probe(&self, may_probe: bool) {
        self.may_probe.store(may_probe, Ordering::Relaxed);
    }
}

impl HyperIo {
    pub(super) fn new(stream: Stream, limits: Arc<Limits>, peer: Arc<PeerCheck>) -> Self {
        Self { stream, limits, peer, instead: None }
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Checks the client if that is due. One that has shut its sending side while it waits is sent an interim
    /// response: it goes on to wait, or, if it has closed, resets the connection, which the next check sees.
    ///
    /// # Errors
    /// When the client is gone.
    fn check_peer(&mut self, context: &mut Context) -> io::Result<()> {
        if !self.peer.is_due.swap(false, Ordering::Relaxed) || !self.stream.is_half_closed() {
            return Ok(());
        }
        if self.stream.is_gone() || self.peer.ends_with_input.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.peer.may_probe.swap(false, Ordering::Relaxed) {
            // Nothing else waits to be written, so that it is taken whole.
            let written = Pin::new(&mut self.stream).poll_write(context, INTERIM)?;
            if written != Poll::Ready(INTERIM.len()) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) {
        if let Some(status) = bare_refusal(bytes).filter(|_| self.instead.is_none()) {
            self.instead = Some((refusal(status, &self.limits).standalone_response(), 0));
        }
    }

    /// Writes the response instead of hyper's own, and reports hyper's `length` as written.
    fn poll_instead(&mut self, length: usize, context: &mut Context) -> Poll<io::Result<usize>> {
        let Some((bytes, written)) = &mut self.instead else { return Poll::Ready(Ok(0)) };
        while *written < bytes.len() {
            *written += ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[*written..]))?;
        }
        Poll::Ready(Ok(length))
    }
}

/// The status of a response that hyper itself has made: none of this server's with such a status has an empty
/// body.
fn bare_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 ").filter(|rest| rest.ends_with(b"\r\n\r\n"))?;
    let status = StatusCode::from_bytes(rest.get(..3)?).ok()?;
    let is_bare = memchr::memmem::find(rest, b"content-length: 0\r\n").is_some();
    let is_hypers = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    (is_bare && is_hypers).then_some(status)
}

fn refusal(status: StatusCode, limits: &Limits) -> Problem {
    let (code, detail) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            limits.hit(Limit::MaxHttpHeader);
            ("too_long", "The head of the request is too long (max_http_header, max_http_headers).")
        }
        StatusCode::URI_TOO_LONG => {
            limits.hit(Limit::MaxHttpUrl);
            ("too_long", "The URL is too long (max_http_url).")
        }
        _ => ("bad_request", "This is no HTTP/1.1 request: its first line or a header field is malformed."),
    };
    Problem::new(status, code, detail).closing()
}

impl AsyncRead for HyperIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for HyperIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.replace(bytes);
        match self.instead {
            Some(_) => self.poll_instead(bytes.len(), context),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return self.poll_write(context, only);
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_peer(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
