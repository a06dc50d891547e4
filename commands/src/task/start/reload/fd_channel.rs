//! A channel between two processes of the program that carries messages and file descriptors.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use framework::prelude::*;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// File descriptors in one message: more than a server has listeners.
const MAX_FDS: usize = 128;

/// One end of a Unix socket pair. A message is a line of JSON, and may carry file descriptors.
pub(crate) struct FdChannel {
    stream: UnixStream,
    /// The beginning of messages that are not complete.
    buffer: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl FdChannel {
    /// # Errors
    /// When it is no connected Unix socket.
    pub(crate) fn new(stream: impl Into<StdUnixStream>) -> io::Result<Self> {
        let stream = stream.into();
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        stream.peer_cred()?;
        Ok(Self { stream, buffer: Vec::new(), fds: VecDeque::new() })
    }

    /// Takes the end that a parent process has passed as standard input, which is `/dev/null` from then on.
    ///
    /// # Errors
    /// When the standard input is no such socket.
    pub(crate) fn from_stdin() -> Result<Self> {
        let stdin = rustix::stdio::stdin().try_clone_to_owned()?;
        let channel = Self::new(stdin).context("the standard input is no channel to another process")?;
        let null = File::open("/dev/null").context("opening /dev/null")?;
        rustix::stdio::dup2_stdin(null.as_fd()).context("closing the standard input")?;
        Ok(channel)
    }

    /// Sends a message, and duplicates of these file descriptors with it.
    ///
    /// # Errors
    /// When the other side is closed, or there are more than [`MAX_FDS`] descriptors.
    pub(crate) async fn send(&mut self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let sent = self.stream.async_io(Interest::WRITABLE, || send(&self.stream, &line, fds)).await?;
        self.stream.write_all(&line[sent..]).await
    }

    /// The next message; `None` once the other side is closed. Cancel safe.
    ///
    /// # Errors
    /// When what comes is no such message.
    pub(crate) async fn recv<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let message = serde_json::from_slice(&self.buffer[..end])?;
                self.buffer.drain(..=end);
                return Ok(Some(message));
            }
            let Self { stream, buffer, fds } = self;
            let stream = &*stream;
            if stream.async_io(Interest::READABLE, || recv(stream, buffer, fds)).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The file descriptors received so far, in the order in which they were sent.
    pub(crate) fn take_fds(&mut self) -> impl Iterator<Item = OwnedFd> {
        self.fds.drain(..)
    }
}

impl AsFd for FdChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn send(stream: impl AsFd, bytes: &[u8], fds: &[BorrowedFd]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        let reason = format!("{} sockets are more than the {MAX_FDS} of one message", fds.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

fn recv(stream: impl AsFd, buffer: &mut Vec<u8>, fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 16 * 1024];
    let received =
        recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            fds.extend(passed);
        }
    }
    buffer.extend_from_slice(&bytes[..received.bytes]);
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn fd_channel_passes_a_listening_socket_with_a_message_of_any_length() {
        let (here, there) = StdUnixStream::pair().unwrap();
        let (mut here, mut there) = (FdChannel::new(here).unwrap(), FdChannel::new(there).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Longer than one read, and than what a socket holds.
        let message = "x".repeat(1 << 20);
        let received = tokio::spawn(async move { (there.recv::<String>().await.unwrap(), there) });
        here.send(&message, &[listener.as_fd()]).await.unwrap();
        let (received, mut there) = received.await.unwrap();
        assert_eq!(received, Some(message));
        drop(listener);
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();
        let listener = TcpListener::from(there.take_fds().next().unwrap());
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        drop(here);
        assert_eq!(there.recv::<String>().await.unwrap(), None);
    }
}
