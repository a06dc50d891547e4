//! Talks to a running server: what `task:send` and `task:status` use, and Rust programs too.
//!
//! A [`Client`] is cheap to clone, and any number of tasks may use it at once: what they send together leaves in one
//! write, on few connections. Nothing is connected before the first request.
//!
//! ```
//! use framework::client::{Client, ClientSettings};
//! use framework::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! /// Greet somebody
//! #[derive(Serialize, Deserialize, Task)]
//! #[task(name = "greet")]
//! struct Greet {
//!     name: String,
//! }
//!
//! impl Handle for Greet {
//!     type Output = String;
//!
//!     async fn handle(self, attempt: &Attempt) -> Result<String> {
//!         attempt.progress(50.0, "clearing the throat");
//!         Ok(format!("Hello, {}!", self.name))
//!     }
//! }
//!
//! # use std::sync::Arc;
//! # use framework::{config::Config, protocol::Durability, server::{AnyEvents, Running, Server, ServerSettings}};
//! # async fn start() -> Result<Running> {
//! #     let settings = ServerSettings { port: 0, durability: Durability::Memory, ..ServerSettings::default() };
//! #     let config = Config::at(std::env::temp_dir().join("no-project"), []);
//! #     let handlers = Arc::new(framework::task::Handlers::collect()?);
//! #     let store = settings.open_store(&config, handlers.clone())?;
//! #     let events = Arc::new(()) as Arc<dyn AnyEvents>;
//! #     Server { config, settings, handlers, events, store }.start().await
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! # let server = start().await?;
//! # let address = server.addresses()[0].to_string();
//! # // In a program of its own: let client = Client::with(ClientSettings::to("127.0.0.1:9501")?)?;
//! let client = Client::with(ClientSettings::to(&address)?)?;
//!
//! // Accepted, and as durable as the server's store, when it has an id.
//! let sent = client.send(Greet { name: "Ada".into() }).await?;
//! println!("task {}", sent.id());
//!
//! // With options, and the result in one go.
//! let greeting: String = client.send(Greet { name: "Bob".into() }).priority(9).wait().await?;
//! assert_eq!(greeting, "Hello, Bob!");
//!
//! // Many at once: the outcomes are in the order of the tasks.
//! let names = ["Carol", "Dan"];
//! let outcomes = client.send_many(names.map(|name| Greet { name: name.into() })).await?;
//! assert!(outcomes.iter().all(Result::is_ok));
//!
//! // What becomes of a task while it runs.
//! let mut following = client.follow(sent.id()).await?;
//! while let Some(news) = following.next().await? {
//!     println!("{news:?}");
//! }
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # When something breaks
//!
//! A request that no server can be found for is tried again for `retry_time`, at all addresses in turn, in pauses that
//! grow. One that has left is sent again only if that does no harm: when it only asks, or when it has a key. A task
//! that is sent without a key gets one, unless `auto_idempotency_keys` is off; so it is accepted once, however often it is sent,
//! for as long as the server remembers keys (`idempotency_window`, a day by default). What cannot be known is told as
//! [`ClientError::Unknown`]. Waits and followings, also those of batches, survive a restart of the server.
//!
//! Dropping a future at any point leaks nothing: a request that has not left does not leave any more, and the answer to
//! one that has is thrown away. The task itself goes on; [`Client::cancel`] ends it.

mod address;
mod admin;
mod connection;
mod dedicated;
mod driver;
mod in_flight;
mod error;
mod events;
mod batch_events;
mod channel;
mod no_wait;
mod pipeline;
mod pool;
mod reload;
mod request;
mod send;
mod task_handle;
mod settings;
mod stop;
mod tls;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use address::{Address, Addresses};
pub use batch_events::{BatchEvent, BatchEvents};
pub use error::ClientError;
use error::Result;
pub use events::{TaskEvent, TaskEvents};
use framework_protocol::task::TaskId;
use framework_protocol::{ReplyMode, RequestError};
use in_flight::ChannelEvent;
pub use no_wait::NoWaitOutcome;
pub use pipeline::{Pipeline, RejectedTask};
use pool::{PendingRequest, Pool};
pub use reload::ReloadProgress;
pub use request::{IntoRequest, Request};
pub use send::SendBuilder;
pub use settings::ClientSettings;
pub use stop::ShutdownProgress;
pub use task_handle::{TaskEnd, TaskHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A few connections to a server, for any number of callers. Clones share them; the last one that goes closes them.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
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
