//! Sends bytes on a connection of their own and closes the sending side: fire and forget, or to read all that
//! comes back.

use std::io;
use std::time::Duration;

use framework_protocol::{Reply, ReplyMode};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::Client;
use crate::connection::{Connection, Step};
use crate::error::{ClientError, Result};
use crate::replies;
use crate::request::IntoRequest;

/// The number of bytes of the replies that are kept, to find an error among them; the rest is discarded.
const KEPT_MAX: usize = 64 * 1024;

/// The way in which a connection ended whose client asked for no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWaitOutcome {
    /// The server has closed the connection, too, without an error: it has read everything, unless it was
    /// about to stop.
    Closed,
    /// The server was silent for `connect_timeout`: it may be busy, and have read nothing yet.
    Silent,
}

impl Client {
    /// Sends a task, a struct or a [`Request`](crate::Request), on a connection of its own, and asks for no
    /// reply: fire and forget. Only the server knows whether it is accepted.
    ///
    /// When this returns, all bytes have left, and the sending side is closed, which makes them a message. It
    /// then reads until the server closes the connection, too, which it does once it has pushed the task,
    /// without waiting for the task's end; or until the server has been silent for `connect_timeout`, and for
    /// `reply_timeout` at most. For a connection that is closed with something unread is reset, and bytes
    /// that are still on their way may be lost.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] or [`ClientError::Unreachable`] when no server can be reached,
    /// [`ClientError::Refused`] when the server reports that before it closes, [`ClientError::Unknown`] when
    /// the connection breaks.
    pub async fn send_no_wait<'a>(&self, task: impl IntoRequest<'a>) -> Result<NoWaitOutcome> {
        let line = task.into_request()?.line(self.pool.next_id(), ReplyMode::None, None);
        let (sending, outcome) = self.send_and_close(line.trim_ascii_end()).await?;
        if sending.received.is_empty() { outcome } else { Err(sending.error().unwrap_or(sending.foreign())) }
    }

    /// Sends bytes as they are in the same way. Without a line end they are a message, too.
    ///
    /// # Errors
    /// Those of [`Client::send_no_wait`]. Of the replies only an error counts.
    pub async fn send_raw_no_wait(&self, data: &[u8]) -> Result<NoWaitOutcome> {
        let (sending, outcome) = self.send_and_close(data).await?;
        sending.error().map_or(outcome, Err)
    }

    /// Sends a line of text in the same way.
    ///
    /// # Errors
    /// Those of [`Client::send_raw_no_wait`]; [`ClientError::LineEnd`] when the text has several lines.
    pub async fn send_line_no_wait(&self, text: &[u8]) -> Result<NoWaitOutcome> {
        self.send_raw_no_wait(single_line(text)?).await
    }

    /// Sends a line of text, and reads all that comes back, as [`Client::send_raw`] does.
    ///
    /// # Errors
    /// When the connection fails; [`ClientError::LineEnd`] when the text has several lines.
    pub async fn send_line(&self, text: &[u8]) -> Result<Vec<u8>> {
        self.send_raw(&[single_line(text)?, b"\n"].concat()).await
    }

    /// Sends bytes as they are, closes the sending side, and reads all that comes back, up to
    /// `max_reply_length`.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send_raw(&self, data: &[u8]) -> Result<Vec<u8>> {
        let limit = self.pool.settings.max_reply_length;
        let mut sending = NoWaitSend::new(self.pool.connect().await?, data, limit);
        while sending.received.len() < limit {
            match sending.connection.step().await? {
                Step::Wrote => {}
                Step::Read(0) if sending.connection.is_sending_closed() => break,
                Step::Read(0) => return Err(ClientError::closed(sending.connection.address())),
                Step::Read(count) => sending.keep(count),
            }
        }
        Ok(sending.received)
    }

    async fn send_and_close(&self, data: &[u8]) -> Result<(NoWaitSend, Result<NoWaitOutcome>)> {
        let (pause, limit) = (self.pool.settings.connect_timeout, self.pool.settings.reply_timeout);
        let mut sending = NoWaitSend::new(self.pool.connect().await?, data, KEPT_MAX);
        let sent = sending.write(limit).await;
        let ended = timeout(limit, sending.read_until_closed(pause)).await;
        let ended = ended.unwrap_or(Ok(NoWaitOutcome::Silent));
        Ok((sending, sent.and(ended).map_err(ClientError::after_sending)))
    }
}

/// The text without the line end at its end.
fn single_line(text: &[u8]) -> Result<&[u8]> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    if line.contains(&b'\n') { Err(ClientError::LineEnd) } else { Ok(line) }
}

/// A connection that is closed for sending once everything is written.
struct NoWaitSend {
    connection: Connection,
    /// The beginning of the replies.
    received: Vec<u8>,
    kept_max: usize,
}

impl NoWaitSend {
    fn new(mut connection: Connection, data: &[u8], kept_max: usize) -> Self {
        connection.output().extend_from_slice(data);
        connection.close_sending();
        Self { connection, received: Vec::new(), kept_max }
    }

    /// Writes everything; `limit`: the longest time in which the server takes nothing.
    async fn write(&mut self, limit: Duration) -> Result<()> {
        let mut deadline = Instant::now() + limit;
        while !self.connection.is_sending_closed() {
            let Ok(step) = timeout_at(deadline, self.connection.step()).await else {
                let what = format!("the server has taken nothing within {limit:?} (reply_timeout)");
                return Err(ClientError::timed_out(self.connection.address(), what));
            };
            match step? {
                Step::Wrote => deadline = Instant::now() + limit,
                Step::Read(0) => return Err(ClientError::closed(self.connection.address())),
                Step::Read(count) => self.keep(count),
            }
        }
        Ok(())
    }

    /// Reads until the server closes the connection or is silent for so long.
    async fn read_until_closed(&mut self, pause: Duration) -> Result<NoWaitOutcome> {
        loop {
            match timeout(pause, self.connection.read()).await {
                Err(_) => return Ok(NoWaitOutcome::Silent),
                Ok(Ok(0)) => return Ok(NoWaitOutcome::Closed),
                Ok(Ok(count)) => self.keep(count),
                // TLS that ends without its own goodbye.
                Ok(Err(error)) if error.io_kind() == Some(io::ErrorKind::UnexpectedEof) => {
                    return Ok(NoWaitOutcome::Closed);
                }
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    fn keep(&mut self, count: usize) {
        let room = self.kept_max - self.received.len();
        self.received.extend_from_slice(&self.connection.received(count)[..count.min(room)]);
    }

    /// The error that the server has reported, if it has: nothing was accepted.
    fn error(&self) -> Option<ClientError> {
        let refused = |line: &[u8]| {
            let reply: Reply = serde_json::from_slice(line).ok()?;
            reply.code.is_some().then(|| ClientError::Refused(reply.refusal()))
        };
        match self.foreign() {
            ClientError::UnexpectedReply { .. } => {
                self.received.split(|&byte| byte == b'\n').find_map(refused)
            }
            foreign => Some(foreign),
        }
    }

    /// The error for replies that are not those of a task server.
    fn foreign(&self) -> ClientError {
        replies::foreign(self.connection.address(), &self.received)
    }
}
