//! Connections to the database, each with one duty, that are made again when they break.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use framework_protocol::Durability;
use tokio::runtime::{Handle, Runtime};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use crate::error::CallError;
use crate::options::{Encryption, PostgresOptions};
use crate::schema::quoted;
use crate::tls::MakeTls;

/// The threads on which connections are driven.
#[derive(Debug)]
pub(crate) struct Io(Option<Runtime>);

impl Io {
    pub(crate) fn new() -> Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).thread_name("postgres").enable_all();
        Ok(Self(Some(runtime.build()?)))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle()
    }

    /// Waits for something on a thread that may block, also one of another runtime.
    pub(crate) fn block_on<F: Future<Output: Send> + Send>(&self, future: F) -> F::Output {
        if Handle::try_current().is_err() {
            return self.handle().block_on(future);
        }
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| self.handle().block_on(future));
            waits.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits for something on a thread that may block and belongs to no task.
    pub(crate) fn block_here<F: Future>(&self, future: F) -> F::Output {
        self.handle().block_on(future)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // Nothing is waited for here, which may be a thread of another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(crate) struct Link {
    handle: Handle,
    options: Arc<PostgresOptions>,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

/// A connection that stands.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    connection: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A statement with its values.
pub(crate) struct Call<'a> {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql, values: Vec::new() }
    }

    /// Adds the next value.
    pub(crate) fn with(mut self, value: impl ToSql + Sync + Send + 'a) -> Self {
        self.values.push(Box::new(value));
        self
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// What has become of a transaction.
pub(crate) enum Outcome {
    Committed,
    /// Nothing of it is there.
    Refused(CallError),
    Unknown(CallError),
}

impl Link {
    pub(crate) fn new(io: &Io, options: Arc<PostgresOptions>) -> Self {
        Self { handle: io.handle().clone(), options, session: tokio::sync::Mutex::new(None) }
    }

    /// The connection, made again if it is broken.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, CallError> {
        let mut session = self.session.lock().await;
        if let Some(session) = session.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(session.clone());
        }
        *session = None;
        // It is driven by the threads of its own, whoever asks.
        let connect = self.handle.spawn(connect(self.options.clone()));
        let made = connect.await.map_err(|error| CallError::Connect(error.to_string()))??;
        let made = Arc::new(made);
        *session = Some(made.clone());
        Ok(made)
    }

    /// Gives up the connection, with what is still under way on it.
    pub(crate) async fn discard(&self) {
        self.session.lock().await.take();
    }

    /// Makes a call within its time.
    pub(crate) async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let limit = self.options.timeout;
        match timeout(limit, call).await {
            Ok(result) => result,
            Err(_) => {
                self.discard().await;
                Err(CallError::TimedOut(limit))
            }
        }
    }

    /// Reads rows within the time of a call.
    pub(crate) async fn query(&self, call: Call<'_>) -> Result<Vec<Row>, CallError> {
        self.bounded(async {
            let session = self.session().await?;
            let statement = session.prepare(call.sql).await?;
            Ok(session.client.query(&statement, &call.values()).await?)
        })
        .await
    }

    /// Makes a change; returns the number of rows.
    pub(crate) async fn execute(&self, call: Call<'_>) -> Result<u64, CallError> {
        self.bounded(async {
            let session = self.session().await?;
            let statement = session.prepare(call.sql).await?;
            Ok(session.client.execute(&statement, &call.values()).await?)
        })
        .await
    }

    /// Makes calls in one transaction and one round trip.
    pub(crate) async fn transact(&self, calls: &[Call<'_>]) -> Outcome {
        let prepared = self.bounded(async {
            let session = self.session().await?;
            let mut statements = Vec::with_capacity(calls.len());
            for call in calls {
                statements.push(session.prepare(call.sql).await?);
            }
            Ok((session, statements))
        });
        let (session, statements) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::Refused(error),
        };
        let limit = self.options.timeout;
        let outcome = match timeout(limit, session.pipeline(calls, &statements)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Unknown(CallError::TimedOut(limit)),
        };
        if matches!(outcome, Outcome::Unknown(_)) {
            self.discard().await;
        }
        outcome
    }
}

impl Session {
    async fn prepare(&self, sql: &'static str) -> Result<Statement, CallError> {
        let known = self.statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements().insert(sql, statement.clone());
        Ok(statement)
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.statements.lock().expect("no one panics while holding the statements")
    }

    async fn pipeline(&self, calls: &[Call<'_>], statements: &[Statement]) -> Outcome {
        let client = &self.client;
        let mut steps: Vec<Step<'_, tokio_postgres::Error>> = vec![Box::pin(client.batch_execute("BEGIN"))];
        for (call, statement) in calls.iter().zip(statements) {
            steps.push(Box::pin(async move { client.execute(statement, &call.values()).await.map(drop) }));
        }
        steps.push(Box::pin(client.batch_execute("COMMIT")));
        let last = steps.len() - 1;
        let first_error = in_order(steps).await;
        match first_error {
            None => Outcome::Committed,
            Some((place, error)) => {
                let error = CallError::from(error);
                // What was refused before the end takes all of it along; a refused end may come too late.
                if place < last && error.is_refusal() {
                    Outcome::Refused(error)
                } else {
                    Outcome::Unknown(error)
                }
            }
        }
    }
}

/// A step of a transaction.
type Step<'s, E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send + 's>>;

/// Sends all steps before it waits for any, in their order; returns the first error and its place.
async fn in_order<E>(steps: Vec<Step<'_, E>>) -> Option<(usize, E)> {
    let mut left: Vec<_> = steps.into_iter().map(Some).collect();
    let mut first: Option<(usize, E)> = None;
    std::future::poll_fn(move |context| {
        let mut is_over = true;
        for (place, step) in left.iter_mut().enumerate() {
            let Some(future) = step else { continue };
            match future.as_mut().poll(context) {
                Poll::Pending => is_over = false,
                Poll::Ready(result) => {
                    *step = None;
                    let is_first = first.as_ref().is_none_or(|(other, _)| place < *other);
                    if let (Err(error), true) = (result, is_first) {
                        first = Some((place, error));
                    }
                }
            }
        }
        if is_over { Poll::Ready(first.take()) } else { Poll::Pending }
    })
    .await
}

/// Connects, and sets up what holds for the whole connection.
async fn connect(options: Arc<PostgresOptions>) -> Result<Session, CallError> {
    let failed = |error: anyhow::Error| CallError::Connect(format!("{error:#}"));
    let (client, connection) = open(&options).await.map_err(failed)?;
    let durable = if options.durability == Durability::Async { "off" } else { "on" };
    let timeout_ms = Duration::as_millis(&options.timeout);
    let settings = format!(
        "SET search_path = {}; SET statement_timeout = {timeout_ms}; SET synchronous_commit = {durable}; \
         SET idle_in_transaction_session_timeout = {timeout_ms}; SET client_min_messages = warning",
        quoted(&options.schema)
    );
    let session = Session { client, statements: Mutex::default(), connection };
    session.client.batch_execute(&settings).await?;
    Ok(session)
}

/// Opens a connection without settings.
pub(crate) async fn open(options: &PostgresOptions) -> Result<(Client, AbortHandle)> {
    let limit = options.timeout;
    let driven = match &options.encryption {
        Encryption::None => {
            let (client, connection) = timeout(limit, options.config.connect(NoTls)).await??;
            (client, tokio::spawn(async { drop(connection.await) }).abort_handle())
        }
        Encryption::Verified(roots) => {
            let tls = MakeTls::new(roots.as_deref())?;
            let (client, connection) = timeout(limit, options.config.connect(tls)).await??;
            (client, tokio::spawn(async { drop(connection.await) }).abort_handle())
        }
    };
    Ok(driven)
}
