//! The vocabulary: a task, its attempts and outcomes, and the handlers that run them.

mod attempt;
mod handler;
mod outcome;
mod panic;

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use attempt::Attempt;
pub use handler::{Function, Handle, HandleBlocking, Handler, Handlers, Options};
pub use outcome::{Failure, Outcome, Retry, no_retry, retry_after};
pub(crate) use panic::{caught, remember_panics};

use crate::protocol::{Refusal, TaskRequest};

/// Names a task: rising from 0, never reused.
pub type TaskId = u64;

/// Who, in this process, waits for the outcome of a task.
///
/// Travels with the task so that nobody has to look up, once per task, whether somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub std::num::NonZeroU64);

/// A task that is checked and complete, but not accepted yet.
pub struct NewTask {
    pub handler: &'static Handler,
    /// JSON, valid and checked against the handler's type.
    pub args: Bytes,
    pub queue: &'static str,
    /// 0 to 9; 9 is taken first.
    pub priority: u8,
    /// How long after its acceptance the task may start at the earliest.
    pub delay: Duration,
    /// How many attempts may fail before the task has failed; at least 1.
    pub attempts: u32,
    /// The longest an attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
    pub ticket: Option<Ticket>,
}

impl NewTask {
    /// A task of the handler that was derived for `T`, with the handler's own options.
    ///
    /// # Errors
    /// When `task` does not serialize to JSON.
    pub fn of<T: Function>(handlers: &Handlers, task: &T) -> Result<Self, Refusal> {
        let args = serde_json::to_vec(task).map_err(|error| handler::bad_arguments(T::NAME, &error))?;
        Ok(Self::with_defaults(handlers.find(T::NAME)?, args.into()))
    }

    /// A task from what a client sent; `page` is the memory that `request` borrows from.
    ///
    /// # Errors
    /// When the function or the queue is unknown, or the arguments do not fit the handler.
    pub fn from_request(
        handlers: &Handlers,
        request: &TaskRequest,
        default_function: Option<&str>,
        page: &Bytes,
    ) -> Result<Self, Refusal> {
        let name =
            request.function.as_deref().or(default_function).ok_or_else(handler::no_default_function)?;
        let handler = handlers.find(name)?;
        let args = match request.args {
            Some(args) if args.get() != "null" => {
                handler.check(args.get().as_bytes())?;
                page.slice_ref(args.get().as_bytes())
            }
            // A struct without fields reads `null`, and one whose fields are all optional `{}`.
            _ if handler.check(b"null").is_ok() => Bytes::from_static(b"null"),
            _ => handler.check(b"{}").map(|()| Bytes::from_static(b"{}"))?,
        };
        let defaults = Self::with_defaults(handler, args);
        Ok(Self {
            queue: request.queue.as_deref().map_or(Ok(defaults.queue), |queue| handlers.queue(queue))?,
            priority: request.priority.unwrap_or(defaults.priority),
            delay: request.delay.unwrap_or(defaults.delay),
            attempts: request.attempts.unwrap_or(defaults.attempts),
            timeout: request.timeout.or(defaults.timeout),
            ..defaults
        })
    }

    /// A task of `function` (usually the configured default) from raw JSON.
    ///
    /// # Errors
    /// When the function is none or unknown, or `args` is not JSON or does not fit the handler.
    pub fn from_json(handlers: &Handlers, function: Option<&str>, args: Bytes) -> Result<Self, Refusal> {
        let handler = handlers.find(function.ok_or_else(handler::no_default_function)?)?;
        handler.check(&args)?;
        Ok(Self::with_defaults(handler, args))
    }

    fn with_defaults(handler: &'static Handler, args: Bytes) -> Self {
        let options = &handler.options;
        Self {
            handler,
            args,
            queue: options.queue,
            priority: options.priority,
            delay: Duration::ZERO,
            attempts: options.attempts,
            timeout: options.timeout,
            ticket: None,
        }
    }
}

/// An accepted task.
pub struct Task {
    pub id: TaskId,
    pub new: NewTask,
    pub accepted: Instant,
    /// The attempts up to this number are asked to stop.
    pub(crate) cancelled: AtomicU32,
}

impl Task {
    pub fn new(id: TaskId, new: NewTask, accepted: Instant) -> Self {
        Self { id, new, accepted, cancelled: AtomicU32::new(0) }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "task {} of {}", self.id, self.new.handler.name)
    }
}
