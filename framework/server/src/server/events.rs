//! The six callbacks of the server, in Swoole's names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use framework_console::app::App;
use framework_console::console::Console;
use framework_protocol::task::{Attempt, Outcome, TaskId, TaskRecord};
use framework_protocol::views::State;
use framework_protocol::{ErrorCode, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::caught::Caught;
use super::connection::Connection;
use super::poll::at_once;

/// The six callbacks of a server; each has a default.
pub trait Events: Send + Sync + 'static {
    /// The server listens. An error stops the start.
    fn on_start(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// A client has connected.
    fn on_connect(&self, _connection: &Connection) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A client has sent something that is not a request: by default a task of the configured
    /// `default_function`, answered with its id.
    ///
    /// Several of these may be under way for one connection; their replies keep the order of the messages. An
    /// error is answered as an error line, a [`RequestError`] with its own code.
    fn on_receive(&self, connection: &Connection, data: Bytes) -> impl Future<Output = Result<()>> + Send {
        async move {
            let id = connection.default_task(data).await?;
            connection.send(format_args!("{{\"task_id\":{id},\"status\":\"queued\"}}"));
            Ok(())
        }
    }

    /// An attempt begins; by default the task's handler runs.
    fn on_task(&self, attempt: &Attempt) -> impl Future<Output = Outcome> + Send {
        attempt.run()
    }

    /// A task has ended; called once per task, after the clients that wait for it have their replies.
    fn on_finish(&self, _finished: &Finished) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A client's connection has ended.
    fn on_close(&self, _connection: &Connection) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The defaults, for a program without its own callbacks.
impl Events for () {}

/// A task that has ended.
#[derive(Debug)]
pub struct Finished {
    pub(super) task: Arc<TaskRecord>,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) outcome: Outcome,
    pub(super) running: Duration,
}

impl Finished {
    /// The id that the client received.
    pub fn id(&self) -> TaskId {
        self.task.id
    }

    /// The name of the task type.
    pub fn function(&self) -> &str {
        &self.task.new.function
    }

    /// The number of attempts.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The terminal state: done, failed, cancelled or expired.
    pub fn state(&self) -> State {
        self.state
    }

    /// The result, or the error; for a cancelled or expired task the error is the reason.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The duration of the last attempt.
    pub fn running(&self) -> Duration {
        self.running
    }
}

/// The object-safe form of [`Events`], which the stages hold.
///
/// Each call boxes one future; for tasks that end at once that is the whole cost.
pub trait DynEvents: Send + Sync {
    fn start(&self) -> BoxFuture<'_, Result<()>>;
    fn connect<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, ()>;
    fn receive(
        self: Arc<Self>,
        connection: Connection,
        data: Bytes,
    ) -> BoxFuture<'static, Result<(), RequestError>>;
    fn task(self: Arc<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome>;
    fn finish(self: Arc<Self>, batch: Vec<Finished>) -> BoxFuture<'static, ()>;
    fn close<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, ()>;
}

impl<E: Events> DynEvents for E {
    fn start(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.on_start())
    }

    fn connect<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, ()> {
        Caught::new(Box::pin(self.on_connect(connection))).map(drop).boxed()
    }

    fn receive(
        self: Arc<Self>,
        connection: Connection,
        data: Bytes,
    ) -> BoxFuture<'static, Result<(), RequestError>> {
        Box::pin(async move {
            let received = Caught::new(Box::pin(self.on_receive(&connection, data))).await;
            received.unwrap_or_else(|_| Err(anyhow!("on_receive panicked"))).map_err(|error| {
                match error.downcast() {
                    Ok(refusal) => refusal,
                    Err(error) => {
                        tracing::warn!("on_receive of {connection:?}: {error:#}");
                        RequestError::new(ErrorCode::Internal, format!("{error:#}"))
                    }
                }
            })
        })
    }

    fn task(self: Arc<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        Box::pin(async move { self.on_task(&attempt).await })
    }

    /// Polls the callback of each task once in order, and runs those that wait concurrently.
    fn finish(self: Arc<Self>, batch: Vec<Finished>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut waiting = FuturesUnordered::new();
            for finished in &batch {
                let mut callback = Caught::new(Box::pin(self.on_finish(finished)));
                if at_once(&mut callback).await.is_none() {
                    waiting.push(callback);
                }
            }
            while waiting.next().await.is_some() {}
        })
    }

    fn close<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, ()> {
        Caught::new(Box::pin(self.on_close(connection))).map(drop).boxed()
    }
}

/// Sets the callbacks of the server that a console starts.
pub trait ConsoleEvents {
    /// Sets the callbacks of the server that this console starts; without it they have their defaults.
    #[must_use]
    fn events(self, events: impl Events) -> Self;
}

impl ConsoleEvents for Console {
    fn events(self, events: impl Events) -> Self {
        let events: Arc<dyn DynEvents> = Arc::new(events);
        self.provide(events)
    }
}

/// The callbacks that [`ConsoleEvents::events`] has set; the defaults if it was not called.
pub fn events_of(app: &App) -> Arc<dyn DynEvents> {
    app.get::<Arc<dyn DynEvents>>().cloned().unwrap_or_else(|| Arc::new(()))
}
