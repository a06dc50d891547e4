//! The code registered under a name that runs tasks, and the registry of all of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::Bytes;
use framework_console::log::with_task;
use futures_util::future::BoxFuture;
use rustc_hash::FxHashMap;
use schemars::Schema;
use serde::de::DeserializeOwned;

use super::attempt::Attempt;
use super::new_task::NewTask;
use super::outcome::{Outcome, Retry};
use super::panic::caught;
use super::task_type::{Handle, HandleBlocking, Task, TaskOptions};
use crate::error::{ErrorCode, RequestError};

/// A registered handler: `#[derive(Task)]` submits one per task.
#[derive(Debug)]
pub struct Handler {
    pub name: &'static str,
    pub options: TaskOptions,
    pub package: &'static str,
    pub file: &'static str,
    pub line: u32,
    check: fn(&[u8]) -> serde_json::Result<()>,
    start: for<'a> fn(&'a Attempt) -> BoxFuture<'a, Outcome>,
    schema: fn() -> Schema,
}

inventory::collect!(Handler);

impl Handler {
    /// The handler of an async task.
    pub const fn of<T: Handle>(package: &'static str, file: &'static str, line: u32) -> Self {
        Self::build::<T>(package, file, line, run::<T>)
    }

    /// The handler of a task that blocks.
    pub const fn blocking<T: HandleBlocking>(package: &'static str, file: &'static str, line: u32) -> Self {
        Self::build::<T>(package, file, line, run_blocking::<T>)
    }

    const fn build<T: Task>(
        package: &'static str,
        file: &'static str,
        line: u32,
        start: for<'a> fn(&'a Attempt) -> BoxFuture<'a, Outcome>,
    ) -> Self {
        let check = decodes::<T>;
        Self { name: T::NAME, options: T::OPTIONS, package, file, line, check, start, schema: T::schema }
    }

    /// The JSON Schema (draft 2020-12) of the arguments, as a client writes them. It is made anew each time.
    ///
    /// `x-aliases` of a property lists further names that it is read by.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Checks that `args` fit the handler's type. They are decoded again when the handler runs: what is kept
    /// of a task is JSON, and only here can the client still be sent the error.
    ///
    /// # Errors
    /// The error names the field, and the near one where a name was misspelled.
    pub fn check(&self, args: &[u8]) -> Result<(), RequestError> {
        self.decode(args).map_err(|error| RequestError::bad_arguments(self.name, &error))
    }

    /// Does the same as [`Handler::check`], with the decoder's own error.
    ///
    /// # Errors
    /// The error has the line and the column in `args`.
    pub fn decode(&self, args: &[u8]) -> serde_json::Result<()> {
        (self.check)(args)
    }

    pub(super) fn start<'a>(&self, attempt: &'a Attempt) -> BoxFuture<'a, Outcome> {
        (self.start)(attempt)
    }
}

fn decodes<T: DeserializeOwned>(args: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<T>(args).map(drop)
}

fn decode<T: Task>(attempt: &Attempt) -> Result<T, Outcome> {
    serde_json::from_slice(attempt.args()).map_err(|error| {
        Outcome::failed(RequestError::bad_arguments(T::NAME, &error).to_string(), Retry::Never)
    })
}

fn run<T: Handle>(attempt: &Attempt) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        match decode::<T>(attempt) {
            Ok(task) => Outcome::from_result(task.handle(attempt).await),
            Err(outcome) => outcome,
        }
    })
}

fn run_blocking<T: HandleBlocking>(attempt: &Attempt) -> BoxFuture<'_, Outcome> {
    let attempt = attempt.clone();
    let task = attempt.id();
    let run = move || match decode::<T>(&attempt) {
        // It may have waited for its thread until it was cancelled.
        _ if attempt.is_cancelled() => {
            Outcome::failed("The attempt was stopped before it began.", Retry::Backoff)
        }
        Ok(task) => Outcome::from_result(task.handle(&attempt)),
        Err(outcome) => outcome,
    };
    // Caught on its own thread, which alone knows where the panic happened.
    let run = move || with_task(task, || catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(caught));
    Box::pin(async {
        let stopped = || Outcome::failed("The server stopped before the attempt began.", Retry::Backoff);
        tokio::task::spawn_blocking(run).await.unwrap_or_else(|_| stopped())
    })
}

/// The handlers by name.
#[derive(Debug, Default)]
pub struct Handlers {
    by_name: FxHashMap<&'static str, RegisteredHandler>,
}

/// A handler with the names that its tasks share.
#[derive(Debug)]
pub(super) struct RegisteredHandler {
    pub(super) handler: &'static Handler,
    function: Arc<str>,
    queue: Arc<str>,
}

impl RegisteredHandler {
    /// A task with the handler's own options; `args` are not checked.
    pub(super) fn task(&self, args: Bytes) -> NewTask {
        NewTask::with_options(self.function.clone(), self.queue.clone(), &self.handler.options, args)
    }
}

impl Handlers {
    /// Every handler that a `#[derive(Task)]` in this program registered.
    ///
    /// # Errors
    /// When two handlers have one name: both places are named.
    pub fn collect() -> Result<Self> {
        inventory::iter::<Handler>.into_iter().try_fold(Self::default(), Self::with)
    }

    /// Adds a handler by hand, where registration before `main` is not to be had.
    ///
    /// # Errors
    /// When its name is taken: both places are named.
    pub fn with(mut self, handler: &'static Handler) -> Result<Self> {
        let Handler { name, file, line, .. } = handler;
        let queue = handler.options.queue;
        let known = self.by_name.values().find(|other| *other.queue == *queue);
        let queue = known.map_or_else(|| queue.into(), |other| other.queue.clone());
        let registered = RegisteredHandler { handler, function: (*name).into(), queue };
        if let Some(RegisteredHandler { handler: other, .. }) = self.by_name.insert(name, registered) {
            bail!("two handlers are named \"{name}\": {}:{} and {file}:{line}", other.file, other.line);
        }
        Ok(self)
    }

    /// The handler of a function, if this program contains it.
    pub fn get(&self, function: &str) -> Option<&'static Handler> {
        self.by_name.get(function).map(|registered| registered.handler)
    }

    /// # Errors
    /// When there is no handler of this name; the error suggests the nearest one.
    pub fn find(&self, name: &str) -> Result<&'static Handler, RequestError> {
        self.registered(name).map(|registered| registered.handler)
    }

    pub(super) fn registered(&self, name: &str) -> Result<&RegisteredHandler, RequestError> {
        self.by_name.get(name).ok_or_else(|| {
            RequestError::new(ErrorCode::UnknownFunction, format!("There is no function \"{name}\"."))
                .suggesting(name, self.by_name.keys().copied())
        })
    }

    /// A task of a function with the function's own options, or, if this program does not contain it, with
    /// [`TaskOptions::DEFAULT`]; `args` are not checked.
    pub fn task(&self, function: &str, args: Bytes) -> NewTask {
        match self.by_name.get(function) {
            Some(registered) => registered.task(args),
            None => NewTask::without_handler(function, args),
        }
    }

    /// # Errors
    /// When no handler belongs to a queue of this name; the error suggests the nearest one.
    pub fn queue(&self, name: &str) -> Result<&'static str, RequestError> {
        self.queues().find(|queue| *queue == name).ok_or_else(|| {
            RequestError::new(ErrorCode::UnknownQueue, format!("There is no queue \"{name}\"."))
                .suggesting(name, self.queues())
        })
    }

    /// Does the same as [`Handlers::queue`], and gives the name as its tasks share it.
    pub(super) fn shared_queue(&self, name: &str) -> Result<Arc<str>, RequestError> {
        match self.by_name.values().find(|registered| *registered.queue == *name) {
            Some(registered) => Ok(registered.queue.clone()),
            None => self.queue(name).map(Into::into),
        }
    }

    /// The queues of all handlers, and `default`; some of them more than once.
    pub fn queues(&self) -> impl Iterator<Item = &'static str> {
        self.by_name
            .values()
            .map(|registered| registered.handler.options.queue)
            .chain([TaskOptions::DEFAULT.queue])
    }

    /// All handlers in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &'static Handler> {
        let mut all: Vec<_> = self.by_name.values().map(|registered| registered.handler).collect();
        all.sort_by_key(|handler| handler.name);
        all.into_iter()
    }
}
