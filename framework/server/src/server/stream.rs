//! The byte stream of one connection: TCP, Unix or TLS.

mod traffic;

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

pub(super) use self::traffic::Traffic;

/// A byte stream to which bytes that were read already can be put back.
#[derive(Debug)]
pub(super) struct Stream {
    /// The bytes that were put back; they are read again first.
    before: Bytes,
    socket: StreamSocket,
    traffic: Arc<Traffic>,
    /// The bytes that may still be read; `None` is any number.
    allowance: Option<usize>,
}

#[derive(Debug)]
enum StreamSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Stream>>),
}

impl Stream {
    /// The same stream with `before` put back at its beginning.
    pub(super) fn again(self, before: Bytes) -> Self {
        debug_assert!(self.before.is_empty(), "bytes are put back only once all of them were read");
        Self { before, ..self }
    }

    /// Lets that many bytes be read from now on, and fails reads beyond them; `None` is any number.
    pub(super) fn allow(&mut self, bytes: Option<usize>) {
        self.allowance = bytes;
    }

    /// True when the peer can neither send nor receive any more: it has reset the connection.
    pub(super) fn is_gone(&self) -> bool {
        self.has_any(PollFlags::ERR | PollFlags::HUP)
    }

    /// True when the peer sends nothing more, whether or not it still receives.
    pub(super) fn is_half_closed(&self) -> bool {
        self.has_any(PollFlags::ERR | PollFlags::HUP | PollFlags::RDHUP)
    }

    fn has_any(&self, conditions: PollFlags) -> bool {
        let socket = match &self.socket {
            StreamSocket::Tcp(socket) => socket.as_fd(),
            StreamSocket::Unix(socket) => socket.as_fd(),
            StreamSocket::Tls(stream) => return stream.get_ref().0.has_any(conditions),
        };
        let mut events = [PollFd::new(&socket, conditions)];
        poll(&mut events, Some(&Timespec::default())).is_ok() && events[0].revents().intersects(conditions)
    }

    /// `true` if the stream is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.socket, StreamSocket::Tls(_))
    }

    /// The counters of its socket.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn of(socket: StreamSocket, traffic: Arc<Traffic>) -> Self {
        Self { before: Bytes::new(), socket, traffic, allowance: None }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::of(StreamSocket::Tcp(socket), Arc::new(Traffic::new()))
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self::of(StreamSocket::Unix(socket), Arc::new(Traffic::new()))
    }
}

impl From<TlsStream<Stream>> for Stream {
    fn from(stream: TlsStream<Stream>) -> Self {
        let traffic = stream.get_ref().0.traffic.clone();
        Self::of(StreamSocket::Tls(Box::new(stream)), traffic)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if stream.allowance == Some(0) {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let filled = buffer.filled().len();
        let read = stream.poll_any_read(context, buffer);
        if let Some(allowance) = &mut stream.allowance {
            *allowance = allowance.saturating_sub(buffer.filled().len() - filled);
        }
        read
    }
}

impl Stream {
    /// Reads what was put back, or else from the socket.
    fn poll_any_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { before, socket, traffic, .. } = self;
        if !before.is_empty() {
            let count = before.len().min(buffer.remaining());
            buffer.put_slice(&before[..count]);
            before.advance(count);
            return Poll::Ready(Ok(()));
        }
        let filled = buffer.filled().len();
        let read = match socket {
            StreamSocket::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            StreamSocket::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
            // Counted below, where it is encrypted.
            StreamSocket::Tls(stream) => return Pin::new(stream).poll_read(context, buffer),
        };
        let came = buffer.filled().len() - filled;
        if came > 0 {
            traffic.add_read(came);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, traffic, .. } = self.get_mut();
        let written = match socket {
            StreamSocket::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            StreamSocket::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
            StreamSocket::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        count_write(socket, traffic, bytes.len(), &written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, traffic, .. } = self.get_mut();
        let written = match socket {
            StreamSocket::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            StreamSocket::Unix(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            StreamSocket::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        count_write(socket, traffic, slices.iter().map(|slice| slice.len()).sum(), &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self.socket, StreamSocket::Tls(_))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            StreamSocket::Tcp(socket) => Pin::new(socket).poll_flush(context),
            StreamSocket::Unix(socket) => Pin::new(socket).poll_flush(context),
            StreamSocket::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            StreamSocket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            StreamSocket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
            StreamSocket::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Counts the outcome of a write of `length` bytes; TLS is counted below, where it is encrypted.
fn count_write(socket: &StreamSocket, traffic: &Traffic, length: usize, written: &Poll<io::Result<usize>>) {
    let taken = match written {
        Poll::Ready(Ok(count)) => *count,
        Poll::Ready(Err(_)) | Poll::Pending => 0,
    };
    if taken > 0 && !matches!(socket, StreamSocket::Tls(_)) {
        traffic.add_written(taken);
    }
    traffic.set_unsent(length - taken);
}
