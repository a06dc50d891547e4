//! Words and sockets between two processes of the program.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Standard;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// More sockets than a server may have, in one message.
const SOCKETS_MAX: usize = 128;

/// One end of a pair of sockets, on which each word is a line of JSON, and may have sockets with it.
pub(super) struct Passing {
    stream: UnixStream,
    /// What has come of words that are not complete.
    bytes: Vec<u8>,
    sockets: VecDeque<OwnedFd>,
}

impl Passing {
    /// # Errors
    /// When it is no such socket.
    pub(super) fn over(stream: impl Into<Standard>) -> io::Result<Self> {
        let stream = stream.into();
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        stream.peer_cred()?;
        Ok(Self { stream, bytes: Vec::new(), sockets: VecDeque::new() })
    }

    /// Says a word, with sockets that the other side gets a hold of.
    ///
    /// # Errors
    /// When the other side has ended.
    pub(super) async fn tell(&mut self, word: &impl Serialize, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        let sent = self.stream.async_io(Interest::WRITABLE, || send(&self.stream, &line, sockets)).await?;
        self.stream.write_all(&line[sent..]).await
    }

    /// The next word; `None` when the other side has ended.
    ///
    /// # Errors
    /// When what comes is no such word.
    pub(super) async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.bytes) {
                let word = serde_json::from_slice(&self.bytes[..end])?;
                self.bytes.drain(..=end);
                return Ok(Some(word));
            }
            let Self { stream, bytes, sockets } = self;
            let stream = &*stream;
            if stream.async_io(Interest::READABLE, || receive(stream, bytes, sockets)).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The sockets that have come, in their order.
    pub(super) fn sockets(&mut self) -> impl Iterator<Item = OwnedFd> {
        self.sockets.drain(..)
    }
}

fn send(stream: impl AsFd, bytes: &[u8], sockets: &[BorrowedFd]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} sockets are too many", sockets.len()),
        ));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

fn receive(stream: impl AsFd, bytes: &mut Vec<u8>, sockets: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 16 * 1024];
    let received =
        recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    bytes.extend_from_slice(&buffer[..received.bytes]);
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_passed_goes_on_listening() {
        let (here, there) = Standard::pair().unwrap();
        let (mut here, mut there) = (Passing::over(here).unwrap(), Passing::over(there).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Longer than one read, and than what a socket holds.
        let word = "x".repeat(1 << 20);
        let heard = tokio::spawn(async move { (there.hear::<String>().await.unwrap(), there) });
        here.tell(&word, &[listener.as_fd()]).await.unwrap();
        let (heard, mut there) = heard.await.unwrap();
        assert_eq!(heard, Some(word));
        drop(listener);
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();
        let listener = TcpListener::from(there.sockets().next().unwrap());
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        drop(here);
        assert_eq!(there.hear::<String>().await.unwrap(), None);
    }
}
