//! The code registered under a name that runs tasks.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use framework_console::log::{take_panic, with_task};
use futures_util::future::BoxFuture;
use schemars::Schema;
use serde::de::{DeserializeOwned, Error};

use super::attempt::Attempt;
use super::outcome::{Outcome, Retry};
use super::task_type::{Handle, HandleBlocking, Task, TaskOptions};
use crate::error::RequestError;

/// A registered handler: `#[derive(Task)]` submits one per task.
#[derive(Debug)]
pub struct Handler {
    pub name: &'static str,
    pub options: TaskOptions,
    pub package: &'static str,
    pub file: &'static str,
    pub line: u32,
    code: Code,
}

/// How the tasks of a handler are checked and run.
#[derive(Debug, Clone, Copy)]
enum Code {
    /// By a type of this program.
    Compiled {
        check: fn(&[u8]) -> serde_json::Result<()>,
        start: for<'a> fn(&'a Attempt) -> BoxFuture<'a, Outcome>,
        schema: fn() -> Schema,
    },
    Declared(&'static dyn DeclaredCode),
}

/// A function that is declared in the settings, and no type of this program.
pub trait DeclaredCode: Debug + Send + Sync {
    /// Checks that `args` fit the function.
    ///
    /// # Errors
    /// What does not fit, and where.
    fn check(&self, args: &[u8]) -> Result<(), RequestError>;

    /// The JSON Schema of the arguments.
    fn schema(&self) -> Schema;

    /// Runs one attempt. What it has started ends when the future is dropped.
    fn start<'a>(&'static self, attempt: &'a Attempt) -> BoxFuture<'a, Outcome>;
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
        let code = Code::Compiled { check, start, schema: T::schema };
        Self { name: T::NAME, options: T::OPTIONS, package, file, line, code }
    }

    /// The handler of a function that is declared at this line of a file of settings.
    pub const fn declared(
        name: &'static str,
        options: TaskOptions,
        file: &'static str,
        line: u32,
        code: &'static dyn DeclaredCode,
    ) -> Self {
        Self { name, options, package: "", file, line, code: Code::Declared(code) }
    }

    /// The JSON Schema (draft 2020-12) of the arguments, as a client writes them. It is made anew each time.
    ///
    /// `x-aliases` of a property lists further names that it is read by.
    pub fn schema(&self) -> Schema {
        match self.code {
            Code::Compiled { schema, .. } => schema(),
            Code::Declared(code) => code.schema(),
        }
    }

    /// Checks that `args` fit the handler's type. They are decoded again when the handler runs: what is kept
    /// of a task is JSON, and only here can the client still be sent the error.
    ///
    /// # Errors
    /// The error names the field, and the near one where a name was misspelled.
    pub fn check(&self, args: &[u8]) -> Result<(), RequestError> {
        match self.code {
            Code::Compiled { check, .. } => {
                check(args).map_err(|error| RequestError::bad_arguments(self.name, &error))
            }
            Code::Declared(code) => code.check(args),
        }
    }

    /// Does the same as [`Handler::check`], with the decoder's own error.
    ///
    /// # Errors
    /// The error has the line and the column in `args`.
    pub fn decode(&self, args: &[u8]) -> serde_json::Result<()> {
        match self.code {
            Code::Compiled { check, .. } => check(args),
            Code::Declared(code) => {
                code.check(args).map_err(|error| serde_json::Error::custom(error.message))
            }
        }
    }

    pub(super) fn start<'a>(&self, attempt: &'a Attempt) -> BoxFuture<'a, Outcome> {
        match self.code {
            Code::Compiled { start, .. } => start(attempt),
            Code::Declared(code) => code.start(attempt),
        }
    }
}

/// A type may have code of its own to read and to drop its values, which is no reason to end a connection.
fn decodes<T: DeserializeOwned>(args: &[u8]) -> serde_json::Result<()> {
    let decode = AssertUnwindSafe(|| from_args::<T>(args).map(drop));
    let panicked = |payload| Err(serde_json::Error::custom(take_panic(payload).message));
    catch_unwind(decode).unwrap_or_else(panicked)
}

/// Decodes arguments. No arguments are `null` or `{}`: a type that takes one of them is given it for the
/// other, as a unit struct, and a struct whose fields all have defaults.
fn from_args<T: DeserializeOwned>(args: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(args).or_else(|error| {
        let other: &[u8] = match args.trim_ascii() {
            b"null" => b"{}",
            [b'{', inner @ .., b'}'] if inner.trim_ascii().is_empty() => b"null",
            _ => return Err(error),
        };
        serde_json::from_slice(other).map_err(|_| error)
    })
}

fn decode<T: Task>(attempt: &Attempt) -> Result<T, Outcome> {
    from_args(attempt.args()).map_err(|error| {
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
    let caught = |run| catch_unwind(AssertUnwindSafe(run)).map_err(take_panic);
    let run = move || with_task(task, || caught(run).unwrap_or_else(Outcome::panicked));
    Box::pin(async {
        let stopped = || Outcome::failed("The server stopped before the attempt began.", Retry::Backoff);
        tokio::task::spawn_blocking(run).await.unwrap_or_else(|_| stopped())
    })
}
