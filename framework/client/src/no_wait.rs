//! Fire and forget: hands something over, and leaves without an answer.

use std::io;
use std::time::Duration;

use framework_protocol::{Reply, ReplyMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use crate::client::Client;
use crate::connection::{Stream, put};
use crate::error::{ClientError, Result, stranger};
use crate::request::IntoRequest;

/// So much of what it says is kept, to see whether it refuses. The rest is read and thrown away.
const SAID_MAX: usize = 64 * 1024;
const CHUNK: usize = 16 * 1024;

/// How a server and a client that asks for no answer parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWaitOutcome {
    /// The server has closed the connection, too, without a word against what was sent: it has read it, unless it was
    /// about to end.
    Closed,
    /// The server was silent for `connect_timeout`: it may be busy, and have read nothing yet.
    Silent,
}

impl Client {
    /// Hands over a task, a struct or a [`super::Request`], on a connection of its own, and asks for no answer: fire
    /// and forget. Whether it is accepted is known to the server alone.
    ///
    /// All bytes have left, and the sending side is closed, which makes them a message. Then the server is listened to
    /// until it closes, too, which it does once it has pushed the task and never waits with for the task's end; or
    /// until it has said nothing for `connect_timeout`, and for `reply_timeout` at most. For a connection that is closed with
    /// something unread is reset, and bytes that are still on their way may go with it.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] or [`ClientError::Unreachable`] when nobody can be reached, [`ClientError::Refused`]
    /// when the server says so before it closes, [`ClientError::Unknown`] when the connection breaks.
    pub async fn send_no_wait<'a>(&self, task: impl IntoRequest<'a>) -> Result<NoWaitOutcome> {
        let line = task.into_request()?.line(self.pool.id(), ReplyMode::None, None);
        let leave = self.send_and_close(line.trim_ascii_end()).await?;
        match leave.said.is_empty() {
            true => leave.parting,
            false => Err(leave.objection().unwrap_or_else(|| stranger(&leave.address, &leave.said))),
        }
    }

    /// The same for bytes as they are. What has no line end is a message, too.
    ///
    /// # Errors
    /// As those of [`Client::hand_over`]. What is answered is none of them unless it is a refusal.
    pub async fn send_raw_no_wait(&self, data: &[u8]) -> Result<NoWaitOutcome> {
        let leave = self.send_and_close(data).await?;
        leave.objection().map_or(leave.parting, Err)
    }

    async fn send_and_close(&self, data: &[u8]) -> Result<NoWaitSend> {
        let connection = self.pool.dedicated().await?;
        let address = self.pool.connector.name(connection.at).to_owned();
        let (grace, limit) = (self.pool.settings.connect_timeout, self.pool.settings.reply_timeout);
        let (reader, mut writer) = split(connection.stream);
        let mut listener = ReplyListener { reader, said: Vec::new() };
        // Both at once: a server whose answers nobody reads would stop reading what is sent.
        let sent = tokio::select! {
            biased;
            sent = send(&mut writer, data, limit) => sent,
            heard = listener.listen() => heard.and(Err(io::ErrorKind::UnexpectedEof.into())),
        };
        let ended = timeout(limit, listener.finish(grace)).await.unwrap_or(Ok(NoWaitOutcome::Silent));
        let parting = sent.and(ended).map_err(|error| ClientError::io(&address, error).of_unknown_end());
        Ok(NoWaitSend { address, said: listener.said, parting })
    }
}

/// What came of leaving.
struct NoWaitSend {
    address: String,
    said: Vec<u8>,
    parting: Result<NoWaitOutcome>,
}

impl NoWaitSend {
    /// Why nothing was accepted, if that was said.
    fn objection(&self) -> Option<ClientError> {
        let refused = |line: &[u8]| {
            let answer: Reply = serde_json::from_slice(line).ok()?;
            answer.code.is_some().then(|| ClientError::Refused(answer.refusal()))
        };
        match stranger(&self.address, &self.said) {
            ClientError::UnexpectedReply { .. } => self.said.split(|&byte| byte == b'\n').find_map(refused),
            stranger => Some(stranger),
        }
    }
}

/// Writes it all, and says that nothing more comes. A server may take nothing for so long.
async fn send(writer: &mut WriteHalf<Box<dyn Stream>>, data: &[u8], limit: Duration) -> io::Result<()> {
    let late = |_| {
        let what = format!("the server has taken nothing within {limit:?} (reply_timeout)");
        io::Error::new(io::ErrorKind::TimedOut, what)
    };
    let mut written = 0;
    loop {
        match timeout(limit, put(writer, &data[written..])).await.map_err(late)?? {
            0 => return timeout(limit, writer.shutdown()).await.map_err(late)?,
            count => written += count,
        }
    }
}

/// The other direction.
struct ReplyListener {
    reader: ReadHalf<Box<dyn Stream>>,
    /// The beginning of what was heard.
    said: Vec<u8>,
}

impl ReplyListener {
    /// Listens until the server closes. May be dropped at any point.
    async fn listen(&mut self) -> io::Result<()> {
        while self.read_reply().await? {}
        Ok(())
    }

    /// Listens until the server closes or is silent for so long.
    async fn finish(&mut self, grace: Duration) -> io::Result<NoWaitOutcome> {
        loop {
            match timeout(grace, self.read_reply()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(NoWaitOutcome::Closed),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(NoWaitOutcome::Silent),
            }
        }
    }

    /// Hears on; `false` at the end.
    async fn read_reply(&mut self) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        let count = match self.reader.read(&mut chunk).await {
            // An encrypted connection that ends without a word of it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            count => count?,
        };
        let room = SAID_MAX - self.said.len();
        self.said.extend_from_slice(&chunk[..count.min(room)]);
        Ok(count > 0)
    }
}
