//! Keeps one line going: connects when there is something to say, writes and reads, and connects again.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::{LineDecoder, MessageBatch};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use crate::channel::{Channel, DriverState};
use crate::connection::{Connection, Connector, Unreachable, put};
use crate::error::{ClientError, Result, read_answer, stranger};
use crate::settings::ClientSettings;

/// The pause after the first failed try; it doubles with every further one.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const READ: usize = 64 * 1024;

/// Keeps a line going until it is aborted.
pub(crate) struct Driver {
    pub(crate) line: Arc<Channel>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) reply_timeout: Duration,
    pub(crate) max_reply_length: usize,
    /// Tries in a row that led to no answer.
    failures: u32,
    /// Whether the server on the other end has said anything yet.
    has_spoken: bool,
}

impl Driver {
    pub(crate) fn new(line: Arc<Channel>, connector: Arc<Connector>, settings: &ClientSettings) -> Self {
        let ClientSettings { reply_timeout, max_reply_length, .. } = *settings;
        Self { line, connector, reply_timeout, max_reply_length, failures: 0, has_spoken: false }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.line.work().await;
            let Some(connection) = self.connect().await else {
                self.failures = 0;
                continue;
            };
            let at = connection.at;
            self.line.connected(at);
            self.failures += 1;
            let Err(error) = self.converse(connection).await else {
                self.line.lose(&ClientError::closed(self.connector.name(at)));
                continue;
            };
            tracing::debug!("the connection to {} has ended: {error}", self.connector.name(at));
            self.line.lose(&error);
            let is_timeout = matches!(&error, ClientError::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut);
            if error.is_final() || is_timeout {
                self.connector.avoid(at);
            }
            let is_everywhere = self.failures as usize >= self.connector.count();
            self.line.abandon_request(&error, error.is_final() && is_everywhere);
        }
    }

    /// Tries again and again, for as long as somebody waits.
    async fn connect(&mut self) -> Option<Connection> {
        if let Some(spare) = self.line.take_spare() {
            return Some(spare);
        }
        loop {
            if self.failures > 0 {
                let pause = Instant::now() + self.pause();
                sleep_until(self.line.deadline().map_or(pause, |deadline| pause.min(deadline))).await;
                if !self.line.has_work() {
                    return None;
                }
            }
            match self.connector.open().await {
                Ok(connection) => return Some(connection),
                Err(Unreachable { error, is_final }) => {
                    self.failures += 1;
                    if !self.line.abandon_request(&error, is_final) {
                        return None;
                    }
                }
            }
        }
    }

    /// Longer with every failure, and not the same for all clients of a server that is gone.
    fn pause(&self) -> Duration {
        let doubled = PAUSE.saturating_mul(1 << self.failures.min(16).saturating_sub(1));
        doubled.min(PAUSE_MAX).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Writes requests and hands out answers. Returns when the connection is to be left.
    async fn converse(&mut self, connection: Connection) -> Result<()> {
        self.has_spoken = false;
        let connector = self.connector.clone();
        let address = connector.name(connection.at);
        let broken = |error| ClientError::io(address, error);
        let (mut reader, mut writer) = tokio::io::split(connection.stream);
        let mut lines = LineDecoder::new(self.max_reply_length);
        let mut buffer = vec![0; READ];
        // Whether something is written that is not flushed.
        let mut has_left = false;
        let (mut output, mut written) = (Vec::new(), 0);
        let mut duty = self.line.fill(&mut output, &connector);
        let mut quiet_since = Instant::now();
        // Whether there is something to send that has not been looked at.
        let mut is_called = false;
        loop {
            if duty.is_leaving && duty.unanswered == 0 {
                return Ok(());
            }
            tokio::select! {
                biased;
                count = put(&mut writer, &output[written..]), if has_left || written < output.len() => {
                    let count = count.map_err(broken)?;
                    (written, has_left) = (written + count, count > 0);
                    if written == output.len() {
                        (output, written) = (cleared(output), 0);
                        duty = self.line.fill(&mut output, &connector);
                    }
                }
                // Before anything new is written: nothing is sent to a server that is known to have gone.
                count = reader.read(&mut buffer) => {
                    let count = count.map_err(broken)?;
                    if count == 0 {
                        return Err(ClientError::closed(address));
                    }
                    quiet_since = Instant::now();
                    duty = self.receive(lines.feed(&buffer[..count]), &buffer[..count], address, duty)?;
                    if std::mem::take(&mut is_called) {
                        duty = self.line.fill(&mut output, &connector);
                    }
                }
                () = ready(()), if is_called => {
                    is_called = false;
                    if duty.unanswered == 0 {
                        quiet_since = Instant::now();
                    }
                    duty = self.line.fill(&mut output, &connector);
                }
                () = self.line.woken(), if output.is_empty() => {
                    // All who are about to send something do so first, and it leaves in one write.
                    tokio::task::yield_now().await;
                    is_called = true;
                }
                () = sleep_until(quiet_since + self.reply_timeout), if duty.unanswered > 0 => {
                    let limit = self.reply_timeout;
                    return Err(ClientError::late(address, format!("no answer within {limit:?} (reply_timeout)")));
                }
            }
        }
    }

    fn receive(
        &mut self,
        page: MessageBatch,
        chunk: &[u8],
        address: &str,
        duty: DriverState,
    ) -> Result<DriverState> {
        if page.overflow {
            return Err(ClientError::unexpected_reply(
                address,
                "an answer that is longer than max_reply_length",
            ));
        }
        // What is no line of ours may never come to a line end.
        if !std::mem::replace(&mut self.has_spoken, true) && !chunk.starts_with(b"{") {
            return Err(stranger(address, chunk));
        }
        if page.bytes.is_empty() {
            return Ok(duty);
        }
        let answers: Result<Vec<_>> =
            MessageBatch::lines(&page.bytes).map(|line| read_answer(address, line)).collect();
        let duty = self.line.hand_out(answers?, address)?;
        self.failures = 0;
        Ok(duty)
    }
}

impl Drop for Driver {
    /// Also when the runtime ends.
    fn drop(&mut self) {
        self.line.end();
    }
}

fn cleared(mut output: Vec<u8>) -> Vec<u8> {
    output.clear();
    output.shrink_to(2 * READ);
    output
}
