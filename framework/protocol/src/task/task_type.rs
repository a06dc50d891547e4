//! The traits that a type of task implements, and its options.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use schemars::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt::Attempt;
use super::cron_spec::CronSpec;

/// A type of task, as `#[derive(Task)]` implements it: the name that clients call it by, and its options. The
/// struct is the task's arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "this is not a task",
    note = "write `#[derive(Serialize, Deserialize, Task)] #[task(name = \"..\")]` above `{Self}`"
)]
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// The wire's `function`.
    const NAME: &'static str;
    const OPTIONS: TaskOptions;

    /// The JSON Schema (draft 2020-12) of the arguments; one that allows any value where none is derived.
    fn schema() -> Schema {
        Schema::default()
    }
}

/// The code that runs a task without blocking its thread.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Task but has no handler",
    label = "nothing says how to run this task",
    note = "write `impl Handle for {Self} {{ type Output = (); async fn handle(self, attempt: &Attempt) -> Result<()> {{ .. }} }}`",
    note = "or, if it blocks: `#[task(blocking)]` and `impl HandleBlocking for {Self}`"
)]
pub trait Handle: Task {
    /// The result, which clients that wait for it get as JSON; `()` is `null`.
    type Output: Serialize;

    /// Runs one attempt. An error or a panic fails the attempt; [`no_retry`](super::no_retry) and
    /// [`retry_after`](super::retry_after) decide what follows an error.
    ///
    /// At least once: a task whose process died, or whose attempt failed, is run again.
    fn handle(self, attempt: &Attempt) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// The code that runs a task and blocks its thread: `#[task(blocking)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Task with `blocking` but has no handler",
    label = "nothing says how to run this task",
    note = "write `impl HandleBlocking for {Self} {{ type Output = (); fn handle(self, attempt: &Attempt) -> Result<()> {{ .. }} }}`"
)]
pub trait HandleBlocking: Task {
    /// The result, which clients that wait for it get as JSON; `()` is `null`.
    type Output: Serialize;

    /// Runs one attempt on a thread of its own; see [`Handle::handle`].
    fn handle(self, attempt: &Attempt) -> Result<Self::Output>;
}

/// The options of a type of task, which its requests may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskOptions {
    pub queue: &'static str,
    /// 0 to 9; 9 is taken first.
    pub priority: u8,
    /// How many attempts may fail before the task has failed.
    pub attempts: u32,
    /// The longest an attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// The mean pause after the first failed attempt; it doubles with every further one.
    pub backoff: Duration,
    /// How many tasks of one `concurrency_key` may run at once.
    pub concurrency: u32,
    /// The time that ended tasks are kept, if it is another one than that of the settings.
    pub retention: Option<Duration>,
    /// Whether the handler blocks its thread.
    pub blocking: bool,
    /// Whether attempts run in child processes of the server, which alone are lost when one crashes.
    pub isolated: bool,
    /// The schedule of the function, if it has one; its tasks have the arguments `null`, or `{}`.
    pub cron: Option<CronSpec>,
}

/// The function whose tasks are commands of the program, each a command line as its arguments.
pub const COMMAND_FUNCTION: &str = "command";

impl TaskOptions {
    /// Queue `default`, priority 5, one attempt of at most 10 minutes, backoff from 1 second, one at a
    /// time for each concurrency key, neither blocking nor isolated, without a retention and a schedule of
    /// its own.
    pub const DEFAULT: Self = Self {
        queue: "default",
        priority: 5,
        attempts: 1,
        timeout: Some(Duration::from_secs(600)),
        backoff: Duration::from_secs(1),
        concurrency: 1,
        retention: None,
        blocking: false,
        isolated: false,
        cron: None,
    };
}
