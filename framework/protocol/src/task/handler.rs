//! The code registered under a name that runs tasks, and the registry of all of it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Result, bail};
use framework_console::config::did_you_mean;
use framework_console::log::with_task;
use futures_util::future::BoxFuture;
use rustc_hash::FxHashMap;
use schemars::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt::Attempt;
use super::cron_spec::CronSpec;
use super::outcome::{Outcome, Retry};
use super::panic::caught;
use super::schema::HandlerInfo;
use crate::error::{ErrorCode, RequestError};

/// What `#[derive(Task)]` says of a struct: the name that clients call it by, and its options.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "this is not a task",
    note = "write `#[derive(Serialize, Deserialize, Task)] #[task(name = \"..\")]` above `{Self}`"
)]
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// The wire's `function`.
    const NAME: &'static str;
    const OPTIONS: TaskOptions;

    /// The JSON Schema (draft 2020-12) of the arguments; any value where nothing is known of them.
    fn schema() -> Schema {
        Schema::default()
    }
}

/// How a task is run. The struct it is implemented for is the task's arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Task but has no handler",
    label = "nothing says how to run this task",
    note = "write `impl Handle for {Self} {{ type Output = (); async fn handle(self, attempt: &Attempt) -> Result<()> {{ .. }} }}`",
    note = "or, if it blocks: `#[task(blocking)]` and `impl HandleBlocking for {Self}`"
)]
pub trait Handle: Task {
    /// What a client that waits is told; `()` is `null`.
    type Output: Serialize;

    /// Runs one attempt. An error fails the attempt; see [`no_retry`](super::no_retry) and
    /// [`retry_after`](super::retry_after) for a say in what follows. A panic fails it likewise.
    ///
    /// At least once: a task whose process died, or whose attempt failed, is run again.
    fn handle(self, attempt: &Attempt) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// How a task that blocks its thread is run: `#[task(blocking)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Task with `blocking` but has no handler",
    label = "nothing says how to run this task",
    note = "write `impl HandleBlocking for {Self} {{ type Output = (); fn handle(self, attempt: &Attempt) -> Result<()> {{ .. }} }}`"
)]
pub trait HandleBlocking: Task {
    /// What a client that waits is told; `()` is `null`.
    type Output: Serialize;

    /// Runs one attempt on a thread of its own; see [`Handle::handle`].
    fn handle(self, attempt: &Attempt) -> Result<Self::Output>;
}

/// How a task is run unless its request says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskOptions {
    pub queue: &'static str,
    /// 0 to 9; 9 is taken first.
    pub priority: u8,
    /// How many attempts may fail before the task has failed.
    pub attempts: u32,
    /// The longest an attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// What the pause after the first failed attempt is about; it doubles with every further one.
    pub backoff: Duration,
    /// How many tasks of one `concurrency_key` may run at once.
    pub concurrency: u32,
    /// Whether the handler blocks its thread.
    pub blocking: bool,
    /// The schedule of the function, if it has one; its tasks have the arguments `null`, or `{}`.
    pub cron: Option<CronSpec>,
}

impl TaskOptions {
    /// Queue `default`, priority 5, one attempt of at most 10 minutes, backoff from 1 second, one at a
    /// time for each concurrency key, not blocking, without a schedule.
    pub const DEFAULT: Self = Self {
        queue: "default",
        priority: 5,
        attempts: 1,
        timeout: Some(Duration::from_secs(600)),
        backoff: Duration::from_secs(1),
        concurrency: 1,
        blocking: false,
        cron: None,
    };
}

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

    /// All that a client may want to know of the function.
    pub fn describe(&self) -> HandlerInfo {
        HandlerInfo::of(self)
    }

    /// Checks that `args` fit the handler's type. They are decoded again when the handler runs: what is kept of a task
    /// is JSON, and only here can the client still be sent the error.
    ///
    /// # Errors
    /// Names the field, and the near one where a name was misspelled.
    pub fn check(&self, args: &[u8]) -> Result<(), RequestError> {
        self.decode(args).map_err(|error| bad_arguments(self.name, &error))
    }

    /// As [`Handler::check`], for who wants to know the place in `args` that does not fit.
    ///
    /// # Errors
    /// What the decoder said, with line and column.
    pub fn decode(&self, args: &[u8]) -> serde_json::Result<()> {
        (self.check)(args)
    }

    /// A stand-in for a handler that the program does not have any more: attempts fail for good, and say so.
    pub const fn missing(name: &'static str) -> Self {
        fn start(attempt: &Attempt) -> BoxFuture<'_, Outcome> {
            let message = format!(
                "The program has no function \"{}\" any more. Bring it back, and retry the task.",
                attempt.function()
            );
            Box::pin(std::future::ready(Outcome::failed(message, Retry::Never)))
        }
        fn check(_: &[u8]) -> serde_json::Result<()> {
            Ok(())
        }
        let schema = Schema::default;
        Self { name, options: TaskOptions::DEFAULT, package: "", file: "", line: 0, check, start, schema }
    }

    pub(super) fn start<'a>(&self, attempt: &'a Attempt) -> BoxFuture<'a, Outcome> {
        (self.start)(attempt)
    }
}

fn decodes<T: DeserializeOwned>(args: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<T>(args).map(drop)
}

fn decode<T: Task>(attempt: &Attempt) -> Result<T, Outcome> {
    serde_json::from_slice(attempt.args())
        .map_err(|error| Outcome::failed(bad_arguments(T::NAME, &error).to_string(), Retry::Never))
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
        // It may have waited for its thread.
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

/// serde's message, with the near field's name where one is unknown.
pub(super) fn bad_arguments(function: &str, error: &serde_json::Error) -> RequestError {
    let message = error.to_string();
    if message.starts_with("recursion limit exceeded") {
        let message = format!("The arguments of \"{function}\" are nested deeper than 127 levels.");
        return RequestError::new(ErrorCode::TooDeep, message);
    }
    // "unknown field `tittle`, expected one of `to`, `title` at line 1 column 9": the wrong name, then the right ones.
    let mut quoted = message.split('`').skip(1).step_by(2);
    let suggestion = match message.starts_with("unknown") {
        true => quoted.next().and_then(|wrong| did_you_mean(wrong, quoted)).map(str::to_owned),
        false => None,
    };
    let message = format!("The arguments do not fit the function \"{function}\": {message}.");
    RequestError { suggestion, ..RequestError::new(ErrorCode::BadArguments, message) }
}

pub(super) fn no_default_function() -> RequestError {
    RequestError::new(
        ErrorCode::UnknownFunction,
        "The request names no function and no default_function is set in config/server.toml.",
    )
}

/// The handlers by name.
#[derive(Debug, Default)]
pub struct Handlers {
    by_name: FxHashMap<&'static str, &'static Handler>,
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
        if let Some(other) = self.by_name.insert(name, handler) {
            bail!("two handlers are named \"{name}\": {}:{} and {file}:{line}", other.file, other.line);
        }
        Ok(self)
    }

    /// # Errors
    /// When there is none of this name; suggests the near one.
    pub fn find(&self, name: &str) -> Result<&'static Handler, RequestError> {
        self.by_name.get(name).copied().ok_or_else(|| {
            RequestError::new(ErrorCode::UnknownFunction, format!("There is no function \"{name}\"."))
                .suggesting(name, self.by_name.keys().copied())
        })
    }

    /// # Errors
    /// When no handler belongs to a queue of this name; suggests the near one.
    pub fn queue(&self, name: &str) -> Result<&'static str, RequestError> {
        self.queues().find(|queue| *queue == name).ok_or_else(|| {
            RequestError::new(ErrorCode::UnknownQueue, format!("There is no queue \"{name}\"."))
                .suggesting(name, self.queues())
        })
    }

    /// The queues of all handlers, and `default`; some of them more than once.
    pub fn queues(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.values().map(|handler| handler.options.queue).chain([TaskOptions::DEFAULT.queue])
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &'static Handler> {
        let mut all: Vec<_> = self.by_name.values().copied().collect();
        all.sort_by_key(|handler| handler.name);
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_nested_too_deeply_are_refused_as_such() {
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let error = serde_json::from_str::<serde_json::Value>(&nested).unwrap_err();
        assert_eq!(bad_arguments("any", &error).code, ErrorCode::TooDeep);
    }
}
