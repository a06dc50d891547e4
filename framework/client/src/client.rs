//! The client of a task server, and what it does on one connection or on several.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::TaskId;
use framework_protocol::{ReplyMode, RequestError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::{ClientError, Result};
use crate::in_flight::ChannelEvent;
use crate::pool::{PendingRequest, Pool};
use crate::request::IntoRequest;
use crate::send::{self, SendBuilder};
use crate::settings::ClientSettings;

/// A few connections to a server, for any number of callers. Clones share them; the last one that goes closes them.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) pool: Arc<Pool>,
}

impl Client {
    /// A client that connects when there is something to say. Its requests belong into a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Settings`] when the settings make no sense, or a file they name cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self> {
        Ok(Self { pool: Arc::new(Pool::new(settings)?) })
    }

    /// Connects to `host:port` or `unix:path`, with one connection and no second try for anything: a failure is told at
    /// once.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nobody listens there; [`ClientError::Unreachable`] when nobody can be found,
    /// also after `timeout`.
    pub async fn connect(address: impl AsRef<str>, timeout: Duration) -> Result<Self> {
        let settings = ClientSettings::for_address(address.as_ref())?.without_retries();
        let client = Self::new(ClientSettings { connections: 1, connect_timeout: timeout, ..settings })?;
        client.open().await?;
        Ok(client)
    }

    /// Makes sure that there is a connection, without a second try.
    ///
    /// # Errors
    /// When no server can be reached.
    pub async fn open(&self) -> Result<()> {
        self.pool.open().await
    }

    /// Hands over a task, a struct or a [`Request`]: when this is awaited, after options that can be set before. It is
    /// accepted, and as durable as the server's store, when that returns.
    ///
    /// # Errors
    /// Awaiting it fails with [`ClientError::Refused`] when nothing was accepted, and with [`ClientError::Unknown`]
    /// when that cannot be known.
    pub fn send<'a>(&'a self, task: impl IntoRequest<'a>) -> SendBuilder<'a> {
        SendBuilder::new(self, task.into_request())
    }

    /// Hands over many tasks; the outcomes are in the order of the tasks, each with its own, and so are the ids.
    ///
    /// # Errors
    /// When the connection fails for longer than `retry_time`; what was accepted by then is not known.
    pub async fn send_many<'a, T: IntoRequest<'a>>(
        &self,
        tasks: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Result<TaskId, RequestError>>> {
        let line = self.pool.channel(None);
        let mut outcomes = Vec::new();
        let mut sent = VecDeque::new();
        for task in tasks {
            if sent.len() >= self.pool.settings.max_in_flight {
                outcomes.push(outcome(&mut sent).await?);
            }
            let order = self.order(&*task.into_request()?, ReplyMode::Ack);
            sent.push_back(self.pool.send_on(line.clone(), order).await);
        }
        while !sent.is_empty() {
            outcomes.push(outcome(&mut sent).await?);
        }
        Ok(outcomes)
    }

    /// Sends bytes as they are on a connection of its own, ends the sending, and reads all that comes back.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send_raw(&self, data: &[u8]) -> Result<Vec<u8>> {
        let mut connection = self.pool.dedicated().await?;
        let mut reply = Vec::new();
        let (mut reader, mut writer) = tokio::io::split(&mut connection.stream);
        // Both at once: a server whose answers nobody reads would stop reading the requests.
        let sent = async {
            writer.write_all(data).await?;
            writer.shutdown().await
        };
        let limit = self.pool.settings.max_reply_length as u64;
        let mut answers = (&mut reader).take(limit);
        let read = answers.read_to_end(&mut reply);
        let exchange = tokio::try_join!(sent, read);
        match exchange {
            Ok(_) => Ok(reply),
            Err(error) => Err(ClientError::io(self.pool.connector.name(connection.at), error)),
        }
    }

    /// The address that is talked to at present.
    pub fn address(&self) -> &str {
        self.pool.connector.current()
    }

    /// How many requests, waits and followings are not over: for a look from outside.
    pub fn pending(&self) -> usize {
        self.pool.length()
    }
}

/// The outcome of the first of these.
async fn outcome(sent: &mut VecDeque<PendingRequest>) -> Result<Result<TaskId, RequestError>> {
    let Some(mut ticket) = sent.pop_front() else { unreachable!("somebody asks for an outcome of nothing") };
    match ticket.next().await {
        ChannelEvent::Answer(answer) => Ok(send::accepted(answer)),
        ChannelEvent::Lost(error) | ChannelEvent::Failed(error) => Err(error),
    }
}
