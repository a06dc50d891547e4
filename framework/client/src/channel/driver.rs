//! Drives a channel: connects when there is something to send, writes and reads, and connects again.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::{MessageBatch, backoff};
use tokio::time::{Instant, sleep_until};

use super::Channel;
use super::state::DriverState;
use crate::connection::{Connection, Step};
use crate::connector::{Connector, Unreachable};
use crate::error::{ClientError, Result};
use crate::replies;

/// The pause after the first failed try; it doubles with every further one.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Drives a channel until it is aborted.
pub(crate) struct Driver {
    channel: Arc<Channel>,
    connector: Arc<Connector>,
    reply_timeout: Duration,
    /// Tries in a row that led to no reply.
    failures: u32,
}

impl Driver {
    pub(crate) fn new(channel: Arc<Channel>, connector: Arc<Connector>, reply_timeout: Duration) -> Self {
        Self { channel, connector, reply_timeout, failures: 0 }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.channel.work().await;
            let Some(connection) = self.connect().await else {
                self.failures = 0;
                continue;
            };
            let (at, address) = (connection.at, connection.address().to_owned());
            self.channel.connected(at);
            self.failures += 1;
            let Err(error) = self.serve(connection).await else {
                self.channel.disconnected(&ClientError::closed(&address));
                continue;
            };
            tracing::debug!(address, %error, "connection ended");
            self.channel.disconnected(&error);
            if error.is_final() || error.io_kind() == Some(io::ErrorKind::TimedOut) {
                self.connector.avoid(at);
            }
            let is_everywhere = self.failures as usize >= self.connector.names().len();
            self.channel.fail_queued(&error, error.is_final() && is_everywhere);
        }
    }

    /// Tries again and again, for as long as a request waits.
    async fn connect(&mut self) -> Option<Connection> {
        loop {
            if self.failures > 0 {
                let retry_at = Instant::now() + backoff(PAUSE, self.failures, PAUSE_MAX);
                sleep_until(self.channel.deadline().map_or(retry_at, |deadline| retry_at.min(deadline)))
                    .await;
                if !self.channel.has_work() {
                    return None;
                }
            }
            match self.connector.connect().await {
                Ok(connection) => return Some(connection),
                Err(Unreachable { error, is_final }) => {
                    self.failures += 1;
                    if !self.channel.fail_queued(&error, is_final) {
                        return None;
                    }
                }
            }
        }
    }

    /// Writes requests and hands out replies. Returns when the channel is closing and no reply is owed.
    async fn serve(&mut self, mut connection: Connection) -> Result<()> {
        let (channel, connector) = (self.channel.clone(), self.connector.clone());
        let fill = |connection: &mut Connection| channel.fill(connection.output(), connector.names());
        let mut state = fill(&mut connection);
        let mut silent_since = Instant::now();
        // Whether the channel may have more to send than was asked for yet.
        let mut is_woken = false;
        while state.unanswered > 0 || !state.is_closing {
            let is_written = connection.is_written();
            tokio::select! {
                biased;
                step = connection.step() => match step? {
                    Step::Wrote if connection.is_written() => state = fill(&mut connection),
                    Step::Wrote => {}
                    Step::Read(count) => {
                        silent_since = Instant::now();
                        state = self.receive(&mut connection, count, state)?;
                        if std::mem::take(&mut is_woken) {
                            state = fill(&mut connection);
                        }
                    }
                },
                // After reading: nothing is sent to a server that is known to be gone.
                () = ready(()), if is_woken => {
                    is_woken = false;
                    if state.unanswered == 0 {
                        silent_since = Instant::now();
                    }
                    state = fill(&mut connection);
                }
                () = channel.woken(), if is_written => {
                    // All callers that are about to send do so first, and their requests leave in one write.
                    tokio::task::yield_now().await;
                    is_woken = true;
                }
                () = sleep_until(silent_since + self.reply_timeout), if state.unanswered > 0 => {
                    let what = format!("no answer within {:?} (reply_timeout)", self.reply_timeout);
                    return Err(ClientError::timed_out(connection.address(), what));
                }
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        connection: &mut Connection,
        count: usize,
        state: DriverState,
    ) -> Result<DriverState> {
        let batch = connection.messages(count)?;
        if batch.bytes.is_empty() {
            return Ok(state);
        }
        let address = connection.address();
        let replies: Result<_> =
            MessageBatch::lines(&batch.bytes).map(|line| replies::parse(address, line)).collect();
        let state = self.channel.dispatch(replies?, address)?;
        self.failures = 0;
        Ok(state)
    }
}

impl Drop for Driver {
    /// Also when the runtime ends.
    fn drop(&mut self) {
        self.channel.driver_ended();
    }
}
