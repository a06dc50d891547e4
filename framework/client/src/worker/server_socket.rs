//! The socket to the server that has started this process: the session reads and writes it, and the thread
//! that runs attempts writes it, too.

use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use framework_protocol::task::{Handlers, NewTask, Outcome};
use framework_protocol::worker::{AttemptObserver, Report, write_end};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::kept_messages::KeptMessages;

/// The connection as the session reads and writes it.
pub(super) struct ServerSocket {
    reader: UnixStream,
    writer: Arc<SocketWriter>,
}

/// Writes whole messages, one after the other, whoever sends them.
pub(super) struct SocketWriter {
    socket: StdStream,
    kept: Mutex<KeptMessages>,
}

/// Tells the server of attempts.
pub(super) struct AttemptWriter {
    pub(super) writer: Arc<SocketWriter>,
    pub(super) handlers: Arc<Handlers>,
    /// The longest message that the server takes, in bytes.
    pub(super) message_max: usize,
}

impl ServerSocket {
    /// Takes the record, which the server has sent.
    ///
    /// # Errors
    /// The system has no descriptor left, or the server has sent something else.
    pub(super) fn new(socket: StdStream) -> io::Result<(Self, Arc<SocketWriter>)> {
        let record = File::from(receive_descriptor(&socket)?);
        socket.set_nonblocking(true)?;
        let kept = Mutex::new(KeptMessages::new(record));
        let writer = Arc::new(SocketWriter { socket: socket.try_clone()?, kept });
        Ok((Self { reader: UnixStream::from_std(socket)?, writer: writer.clone() }, writer))
    }
}

impl SocketWriter {
    fn kept(&self) -> MutexGuard<'_, KeptMessages> {
        self.kept.lock().expect("no one panics while writing to the server")
    }

    /// Writes everything, and waits while the server has no room for it. What it has twice, because the
    /// process ends before the record is empty, it takes once.
    fn write_out(&self, kept: &mut KeptMessages) -> io::Result<()> {
        let mut rest = kept.compose();
        while !rest.is_empty() {
            match (&self.socket).write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        kept.clear()
    }

    /// Adds messages, and writes them now or has them in the record.
    fn add(&self, when: Flush, add: impl FnOnce(&mut KeptMessages)) {
        let mut kept = self.kept();
        add(&mut kept);
        let done = match when {
            Flush::WithNext => Ok(()),
            Flush::Later if !kept.is_due() => kept.record(),
            Flush::Later | Flush::Now => self.write_out(&mut kept),
        };
        if done.is_err() {
            // Who reads the connection sees its end, too.
            let _ = kept.clear();
        }
    }
}

/// When messages go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Now,
    /// With others, but recorded now.
    Later,
    /// With the next ones, which follow at once.
    WithNext,
}

/// Takes a descriptor that the server has sent with a byte, before anything else.
fn receive_descriptor(socket: &StdStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the server has sent no descriptor"))
}

impl AttemptObserver for AttemptWriter {
    fn begin(&self, lease: &str, is_last: bool) {
        self.writer.add(if is_last { Flush::Now } else { Flush::Later }, |kept| kept.begin(lease));
    }

    fn report(&self, lease: &str, report: &Report) {
        self.writer.add(Flush::Now, |kept| report.write(kept.others(), lease));
    }

    fn end(&self, lease: &str, outcome: Option<&Outcome>, follow: &[NewTask], is_last: bool) {
        let when = if is_last { Flush::Now } else { Flush::WithNext };
        let mut end = Vec::new();
        write_end(&mut end, &self.handlers, self.message_max, lease, (outcome, follow));
        if !self.writer.kept().fits(end.len(), self.message_max) {
            self.flush();
        }
        self.writer.add(when, |kept| kept.end(&end));
    }

    fn flush(&self) {
        self.writer.add(Flush::Now, |_| ());
    }
}

impl AsyncRead for ServerSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for ServerSocket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut kept = self.writer.kept();
        kept.others().extend_from_slice(bytes);
        Poll::Ready(self.writer.write_out(&mut kept).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.writer.socket.shutdown(Shutdown::Write))
    }
}
