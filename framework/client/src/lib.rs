//! Talks to a running task server: what `task:send` and `task:status` use, and Rust programs too.
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
mod client;

pub use address::{Address, Addresses};
pub use batch_events::{BatchEvent, BatchEvents};
pub use client::Client;
pub use error::ClientError;
pub use events::{TaskEvent, TaskEvents};
pub use no_wait::NoWaitOutcome;
pub use pipeline::{Pipeline, RejectedTask};
pub use reload::ReloadProgress;
pub use request::{IntoRequest, Request};
pub use send::SendBuilder;
pub use settings::ClientSettings;
pub use stop::ShutdownProgress;
pub use task_handle::{TaskEnd, TaskHandle};
