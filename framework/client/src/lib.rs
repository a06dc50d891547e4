//! Talks to a running task server: what `task:send` and `task:status` use, and Rust programs too.
//!
//! A [`Client`] is cheap to clone, and any number of tasks may use it at once: their requests leave together
//! in one write, on few connections. Nothing is connected before the first request.
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
//!         attempt.progress(50.0, "thinking of a greeting");
//!         Ok(format!("Hello, {}!", self.name))
//!     }
//! }
//!
//! # use std::sync::Arc;
//! # use framework::{config::Config, protocol::Durability};
//! # use framework::server::{DynEvents, Server, ServerHandle, ServerSettings};
//! # async fn start() -> Result<ServerHandle> {
//! #     let durability = Durability::Memory;
//! #     let settings = ServerSettings { port: 0, durability, ..ServerSettings::default() };
//! #     let config = Config::at(std::env::temp_dir().join("no-project"), []);
//! #     let handlers = Arc::new(framework::task::Handlers::collect()?);
//! #     let store = settings.open_store(&config, handlers.clone())?;
//! #     let events = Arc::new(()) as Arc<dyn DynEvents>;
//! #     Server { config, settings, handlers, events, store, pages: None }.start().await
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! # let server = start().await?;
//! # let address = server.addresses()[0].to_string();
//! # // In a program of its own: let client = Client::new(ClientSettings::for_address("127.0.0.1:9501")?)?;
//! let client = Client::new(ClientSettings::for_address(&address)?)?;
//!
//! // Once it has an id, the task is accepted and as durable as the server's store.
//! let task = client.send(Greet { name: "Ada".into() }).await?;
//! println!("task {}", task.id());
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
//! // The events of a task until its end.
//! let mut events = client.follow(task.id()).await?;
//! while let Some(event) = events.next().await? {
//!     println!("{event:?}");
//! }
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Failures
//!
//! While no server can be reached, a request is tried again for `retry_time`, at all addresses in turn, with
//! growing pauses. A request that has left is sent again only if that is harmless: when it changes nothing,
//! or when it has an idempotency key. A task that is sent without a key gets one, unless
//! `auto_idempotency_keys` is off; so it is accepted once, however often it is sent, for as long as the
//! server remembers the key (`idempotency_window`, a day by default, but no longer than it keeps the task
//! after its end). If it cannot be known whether a request was accepted, the error is
//! [`ClientError::Unknown`]. Waits and event streams, also those of batches, survive a restart of the
//! server.
//!
//! Dropping a future at any point leaks nothing: a request that has not left is not sent, and the reply to
//! one that has is thrown away. The task itself goes on; [`Client::cancel`] ends it.

// In reading order, from the bytes to the requests: each file imports only those above it.
mod outcome;
mod error;
mod replies;
mod address;
mod connection;
mod dedicated;
mod project;
mod settings;
mod tls;
mod connector;
mod channel;
mod pool;
mod client;
mod request;
mod events;
mod task_handle;
mod send;
mod admin;
mod control;
mod pipeline;
mod no_wait;
mod worker;

pub use address::{Address, Addresses};
pub use client::Client;
pub use control::{ControlStatus, ControlStream, ReloadProgress, ShutdownProgress};
pub use error::ClientError;
pub use events::{BatchEvent, BatchEvents, Event, EventStream, TaskEvent, TaskEvents};
pub use no_wait::NoWaitOutcome;
pub use outcome::TaskEnd;
pub use pipeline::{Pipeline, RejectedTask};
pub use project::OwnProject;
pub use request::{IntoRequest, Request};
pub use send::SendBuilder;
pub use settings::ClientSettings;
pub use task_handle::TaskHandle;
pub use worker::{WorkerOptions, WorkerStop, work_over};
