//! The six callbacks of the server, in Swoole's names.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use framework_console::app::App;
use framework_console::console::Console;
use framework_protocol::task::{Attempt, Outcome, TaskId, TaskRecord, WaiterId};
use framework_protocol::views::State;
use framework_protocol::{ErrorCode, ReplyWriter, RequestError, Status};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::connection::Connection;
use super::poll::at_once;

/// What a program does at the six moments of the server; each has a default.
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

    /// An attempt begins: by default the task's handler runs.
    fn on_task(&self, attempt: &Attempt) -> impl Future<Output = Outcome> + Send {
        attempt.run()
    }

    /// A task has ended, once for each of them; clients that wait for it have been answered.
    fn on_finish(&self, _finished: &Finished) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// A client's connection has ended.
    fn on_close(&self, _connection: &Connection) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The defaults, for a program without callbacks of its own.
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
    pub fn id(&self) -> TaskId {
        self.task.id
    }

    /// The handler's name.
    pub fn function(&self) -> &'static str {
        self.task.new.handler.name
    }

    /// How many attempts it took.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Done, failed, cancelled or expired.
    pub fn state(&self) -> State {
        self.state
    }

    /// The result, or the error; of a task that is cancelled or expired, the reason as an error.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// How long the last attempt took.
    pub fn running(&self) -> Duration {
        self.running
    }

    /// Appends the line for a client that waits.
    pub(super) fn render_reply(&self, id: Option<&str>, bytes: &mut Vec<u8>) {
        let reply = ReplyWriter::new(bytes);
        match (&self.outcome, self.state) {
            (Outcome::Done(result), _) => reply.done(id, self.id(), result),
            (Outcome::Failed(failure), state) => {
                let status = match state {
                    State::Cancelled => Status::Cancelled,
                    State::Expired => Status::Expired,
                    _ => Status::Failed,
                };
                reply.ended(id, self.id(), status, &failure.message);
            }
        }
    }

    pub(super) fn waiter(&self) -> Option<WaiterId> {
        self.task.new.waiter
    }
}

/// The callbacks without their type: the one seam where rooms meet the program.
///
/// A future is boxed once per call here; for tasks that end at once that is all they cost.
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

/// A callback that panics, which has been logged by then, harms nothing else.
async fn guarded<F: Future>(callback: F) -> Option<F::Output> {
    AssertUnwindSafe(callback).catch_unwind().await.ok()
}

impl<E: Events> DynEvents for E {
    fn start(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.on_start())
    }

    fn connect<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, ()> {
        Box::pin(guarded(self.on_connect(connection)).map(|_| ()))
    }

    fn receive(
        self: Arc<Self>,
        connection: Connection,
        data: Bytes,
    ) -> BoxFuture<'static, Result<(), RequestError>> {
        Box::pin(async move {
            let panicked = || Err(anyhow!("on_receive panicked"));
            let received = guarded(self.on_receive(&connection, data)).await.unwrap_or_else(panicked);
            received.map_err(|error| match error.downcast() {
                Ok(refusal) => refusal,
                Err(error) => {
                    tracing::warn!("on_receive of {connection:?}: {error:#}");
                    RequestError::new(ErrorCode::Internal, format!("{error:#}"))
                }
            })
        })
    }

    fn task(self: Arc<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        Box::pin(async move { self.on_task(&attempt).await })
    }

    /// Runs the callbacks of a batch, each as far as it gets at once, and those that wait side by side.
    fn finish(self: Arc<Self>, batch: Vec<Finished>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut waiting = FuturesUnordered::new();
            for finished in &batch {
                let mut callback = Box::pin(guarded(self.on_finish(finished)));
                if at_once(&mut callback).await.is_none() {
                    waiting.push(callback);
                }
            }
            while waiting.next().await.is_some() {}
        })
    }

    fn close<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, ()> {
        Box::pin(guarded(self.on_close(connection)).map(|_| ()))
    }
}

/// Gives a console the callbacks of its server.
pub trait ConsoleEvents {
    /// Runs `events` at the six moments of the server that this console starts; without it nothing happens at them.
    #[must_use]
    fn events(self, events: impl Events) -> Self;
}

impl ConsoleEvents for Console {
    fn events(self, events: impl Events) -> Self {
        let events: Arc<dyn DynEvents> = Arc::new(events);
        self.provide(events)
    }
}

/// The callbacks that the console was given by [`ConsoleEvents::events`]; the defaults if it was given none.
pub fn events_of(app: &App) -> Arc<dyn DynEvents> {
    app.get::<Arc<dyn DynEvents>>().cloned().unwrap_or_else(|| Arc::new(()))
}
