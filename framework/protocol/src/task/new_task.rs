//! A task before it is accepted: its function, its arguments, and all that its row says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{BatchId, Due, Handler, Handlers, Tags, Task, TaskOptions};
use crate::error::RequestError;
use crate::one_line::{into_one_line, one_line};
use crate::request::{ExtraFields, TaskRequest};

/// A task that is checked and complete, but not accepted yet.
///
/// It owns all that its attempts need beside the handler's code, so that a server can keep and hand on a task
/// whose function its own program does not contain. The names are shared by all tasks of one function or
/// queue.
#[derive(Clone)]
pub struct NewTask {
    /// The name of its function.
    pub function: Arc<str>,
    /// JSON in one line, valid and checked against the handler's type.
    pub args: Bytes,
    pub queue: Arc<str>,
    /// 0 to 9; 9 is taken first.
    pub priority: u8,
    /// When the task may start at the earliest.
    pub due: Due,
    /// How many attempts may fail before the task has failed; at least 1.
    pub attempts: u32,
    /// The longest an attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// The mean pause after the first failed attempt; it doubles with every further one, up to a bound of the
    /// server.
    pub backoff_ms: u32,
    /// How many tasks of one `concurrency_key` may run at once, this one among them.
    pub concurrency: u32,
    /// Options that only few tasks have.
    pub extra: Option<Box<ExtraOptions>>,
}

/// Options that only few tasks have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraOptions {
    /// The task ends as expired if no attempt has begun by then; counted from its acceptance.
    pub expires: Option<Due>,
    /// The idempotency key: a second push with it within the store's window returns the first task.
    pub key: Option<Box<str>>,
    /// Tasks of one such key run at once only as far as their `concurrency` lets them.
    pub concurrency_key: Option<Box<str>>,
    pub batch: Option<BatchId>,
    /// The functions to run one after the other when this task is done, each with the result of the one
    /// before.
    pub then: Vec<Box<str>>,
    /// What its sender wants to find it by; those that follow it in a chain have the same.
    pub tags: Tags,
}

impl NewTask {
    /// A task of the handler that was derived for `T`, with the handler's own options.
    ///
    /// # Errors
    /// When no handler belongs to `T`, or `task` does not serialize to JSON.
    pub fn of<T: Task>(handlers: &Handlers, task: &T) -> Result<Self, RequestError> {
        let args = serde_json::to_vec(task).map_err(|error| RequestError::bad_arguments(T::NAME, &error))?;
        Ok(handlers.compiled(T::NAME)?.task(into_one_line(args)))
    }

    /// A task from a client's request. It owns all that it keeps, so that a task that waits does not hold the
    /// message it came in.
    ///
    /// # Errors
    /// When the function or the queue is unknown, or the arguments do not fit the handler.
    pub fn from_request(
        handlers: &Handlers,
        request: &TaskRequest,
        default_function: Option<&str>,
    ) -> Result<Self, RequestError> {
        let name =
            request.function.as_deref().or(default_function).ok_or_else(RequestError::no_default_function)?;
        let function = handlers.function(name)?;
        let args = match request.args {
            Some(args) if args.get() != "null" => {
                function.check(args.get().as_bytes())?;
                one_line(args.get().as_bytes())
            }
            // A struct without fields reads `null`, and one whose fields are all optional `{}`.
            _ if function.check(b"null").is_ok() => Bytes::from_static(b"null"),
            _ => function.check(b"{}").map(|()| Bytes::from_static(b"{}"))?,
        };
        let mut task = function.task(args);
        if let Some(queue) = &request.queue {
            task.queue = handlers.queue_for(&function, queue)?;
        }
        task.priority = request.priority.unwrap_or(task.priority);
        task.due = request.due.map_or(task.due, Due::from);
        task.attempts = request.attempts.unwrap_or(task.attempts);
        task.timeout = request.timeout.or(task.timeout);
        if let Some(extra) = &request.extra {
            task.backoff_ms = extra.backoff.map_or(task.backoff_ms, whole_ms);
            task.extra = Some(ExtraOptions::from_request(handlers, extra)?);
        }
        Ok(task)
    }

    /// A task of `function` (usually the configured default) from raw JSON, which is copied.
    ///
    /// # Errors
    /// When the function is none or unknown, or `args` is not JSON or does not fit the handler.
    pub fn from_json(handlers: &Handlers, function: Option<&str>, args: Bytes) -> Result<Self, RequestError> {
        let function = handlers.function(function.ok_or_else(RequestError::no_default_function)?)?;
        function.check(&args)?;
        Ok(function.task(one_line(&args)))
    }

    /// A task of a handler with the handler's own options; `args` are not checked. Those of
    /// [`Handlers::task`] share their names.
    pub fn with_defaults(handler: &Handler, args: Bytes) -> Self {
        let options = &handler.options;
        Self::with_options(handler.name.into(), options.queue.into(), options, args)
    }

    /// A task of a function that this program does not contain, with [`TaskOptions::DEFAULT`]; `args` are not
    /// checked.
    ///
    /// It waits until a program that contains the function serves the queue.
    pub fn without_handler(function: impl Into<Arc<str>>, args: Bytes) -> Self {
        let options = &TaskOptions::DEFAULT;
        Self::with_options(function.into(), options.queue.into(), options, args)
    }

    pub(super) fn with_options(
        function: Arc<str>,
        queue: Arc<str>,
        options: &TaskOptions,
        args: Bytes,
    ) -> Self {
        Self {
            function,
            args,
            queue,
            priority: options.priority,
            due: Due::Now,
            attempts: options.attempts,
            timeout: options.timeout,
            backoff_ms: whole_ms(options.backoff),
            concurrency: options.concurrency,
            extra: None,
        }
    }

    /// The mean pause after the first failed attempt; it doubles with every further one.
    pub fn backoff(&self) -> Duration {
        Duration::from_millis(u64::from(self.backoff_ms))
    }

    /// The memory of what its sender chose, in bytes.
    pub fn memory(&self) -> usize {
        self.args.len() + self.extra.as_ref().map_or(0, |extra| extra.memory())
    }

    pub fn batch(&self) -> Option<BatchId> {
        self.extra.as_ref()?.batch
    }

    /// The rare options, made if there are none yet.
    pub fn extra_mut(&mut self) -> &mut ExtraOptions {
        self.extra.get_or_insert_default()
    }
}

/// A pause in milliseconds, at least one unless it is none; 49 days at most.
fn whole_ms(pause: Duration) -> u32 {
    u32::try_from(pause.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX)
}

impl ExtraOptions {
    fn memory(&self) -> usize {
        let keys = [&self.key, &self.concurrency_key].into_iter().flatten();
        let names = self.then.iter().map(|name| size_of::<Box<str>>() + name.len());
        size_of::<Self>() + keys.map(|key| key.len()).chain(names).sum::<usize>() + self.tags.memory()
    }

    fn from_request(handlers: &Handlers, request: &ExtraFields) -> Result<Box<Self>, RequestError> {
        for function in &request.then {
            handlers.function(function)?;
        }
        Ok(Box::new(Self {
            expires: request.expires.map(Due::from),
            key: request.key.as_deref().map(Into::into),
            concurrency_key: request.concurrency_key.as_deref().map(Into::into),
            batch: request.batch,
            tags: request.tags.clone(),
            then: request.then.iter().map(|function| function.as_ref().into()).collect(),
        }))
    }
}

impl fmt::Debug for NewTask {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "a task of {}", self.function)
    }
}
