//! The vocabulary: a task, its attempts and outcomes, and the handlers that run them.

mod follow_ups;
mod attempt;
mod due;
mod handler;
mod progress;
mod outcome;
mod panic;
mod schema;
mod cron_spec;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub use attempt::{Attempt, AttemptContext, ProgressSink};
use bytes::Bytes;
pub use cron_spec::{CronSpec, MissedRunPolicy, OverlapPolicy};
pub use due::{Due, now_ms};
use follow_ups::FollowUps;
pub use follow_ups::PUSHES_MAX;
pub use handler::{Handle, HandleBlocking, Handler, Handlers, Task, TaskOptions};
pub use outcome::{Failure, Outcome, Retry, no_retry, retry_after};
pub use panic::caught;
pub use progress::{LINES_MAX, LogLine, Progress, ProgressLog, TEXT_MAX};
pub use schema::{AnyValue, CronInfo, HandlerInfo, SchemaOf, schema_of};
use tokio::sync::Notify;

use crate::error::RequestError;
use crate::request::{ExtraFields, TaskRequest};

/// Names a task: rising from 0, never reused.
pub type TaskId = u64;

/// Names a batch of tasks: rising from 1, never reused.
pub type BatchId = u64;

/// Who, in this process, waits for the outcome of a task.
///
/// Travels with the task so that nobody has to look up, once per task, whether somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WaiterId(pub std::num::NonZeroU64);

/// A task that is checked and complete, but not accepted yet.
#[derive(Clone)]
pub struct NewTask {
    pub handler: &'static Handler,
    /// JSON, valid and checked against the handler's type.
    pub args: Bytes,
    pub queue: &'static str,
    /// 0 to 9; 9 is taken first.
    pub priority: u8,
    /// When the task may start at the earliest.
    pub due: Due,
    /// How many attempts may fail before the task has failed; at least 1.
    pub attempts: u32,
    /// The longest an attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
    pub waiter: Option<WaiterId>,
    /// What only few tasks have.
    pub extra: Option<Box<ExtraOptions>>,
}

/// What only few tasks have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraOptions {
    /// Instead of the handler's own.
    pub backoff: Option<Duration>,
    /// The task ends as expired if no attempt has begun by then; counted from its acceptance.
    pub expires: Option<Due>,
    /// A second push with the same key within the store's window is the first one again.
    pub key: Option<Box<str>>,
    /// Only so many tasks of one such key run at once as the handler's `concurrency` says.
    pub concurrency_key: Option<Box<str>>,
    pub batch: Option<BatchId>,
    /// The functions to run one after the other when this task is done, each with the result of the one before.
    pub then: Vec<Box<str>>,
}

impl NewTask {
    /// A task of the handler that was derived for `T`, with the handler's own options.
    ///
    /// # Errors
    /// When `task` does not serialize to JSON.
    pub fn of<T: Task>(handlers: &Handlers, task: &T) -> Result<Self, RequestError> {
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
    ) -> Result<Self, RequestError> {
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
            due: request.due.map_or(defaults.due, Due::from),
            attempts: request.attempts.unwrap_or(defaults.attempts),
            timeout: request.timeout.or(defaults.timeout),
            extra: request
                .extra
                .as_ref()
                .map(|rare| ExtraOptions::from_request(handlers, rare))
                .transpose()?,
            ..defaults
        })
    }

    /// A task of `function` (usually the configured default) from raw JSON.
    ///
    /// # Errors
    /// When the function is none or unknown, or `args` is not JSON or does not fit the handler.
    pub fn from_json(handlers: &Handlers, function: Option<&str>, args: Bytes) -> Result<Self, RequestError> {
        let handler = handlers.find(function.ok_or_else(handler::no_default_function)?)?;
        handler.check(&args)?;
        Ok(Self::with_defaults(handler, args))
    }

    /// A task of a handler with the handler's own options; `args` are not checked.
    pub fn with_defaults(handler: &'static Handler, args: Bytes) -> Self {
        let options = &handler.options;
        Self {
            handler,
            args,
            queue: options.queue,
            priority: options.priority,
            due: Due::Now,
            attempts: options.attempts,
            timeout: options.timeout,
            waiter: None,
            extra: None,
        }
    }

    /// How long the pause after the first failed attempt is about; it doubles with every further one.
    pub fn backoff(&self) -> Duration {
        self.extra.as_ref().and_then(|rare| rare.backoff).unwrap_or(self.handler.options.backoff)
    }

    pub fn batch(&self) -> Option<BatchId> {
        self.extra.as_ref()?.batch
    }

    /// Room for what only few tasks have.
    pub fn extra_mut(&mut self) -> &mut ExtraOptions {
        self.extra.get_or_insert_default()
    }
}

impl ExtraOptions {
    fn from_request(handlers: &Handlers, request: &ExtraFields) -> Result<Box<Self>, RequestError> {
        for function in &request.then {
            handlers.find(function)?;
        }
        Ok(Box::new(Self {
            backoff: request.backoff,
            expires: request.expires.map(Due::from),
            key: request.key.as_deref().map(Into::into),
            concurrency_key: request.concurrency_key.as_deref().map(Into::into),
            batch: request.batch,
            then: request.then.iter().map(|function| function.as_ref().into()).collect(),
        }))
    }
}

/// An accepted task.
pub struct TaskRecord {
    pub id: TaskId,
    pub new: NewTask,
    /// For durations within this process.
    pub accepted: Instant,
    /// For people and for the disk, in milliseconds since 1970.
    pub accepted_ms: u64,
    /// Attempts that are over, those of them that failed, and those in which the process died; the store alone
    /// writes them.
    pub attempts: AtomicU32,
    pub failures: AtomicU32,
    pub crashes: AtomicU32,
    /// The attempts up to this number are asked to stop, because their time is over.
    pub cancelled: AtomicU32,
    /// Somebody wants the task not to go on.
    cancel_requested: AtomicBool,
    cancel_signal: Notify,
    has_told: AtomicBool,
    progress_log: Mutex<Option<Box<ProgressState>>>,
}

/// What the handlers of a task have told.
#[derive(Default)]
struct ProgressState {
    notes: ProgressLog,
    /// What is to follow this attempt, if it is done.
    afterwards: FollowUps,
}

impl TaskRecord {
    pub fn new(id: TaskId, new: NewTask, accepted: Instant, accepted_ms: u64) -> Self {
        Self {
            id,
            new,
            accepted,
            accepted_ms,
            attempts: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            crashes: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
            cancel_requested: AtomicBool::new(false),
            cancel_signal: Notify::new(),
            has_told: AtomicBool::new(false),
            progress_log: Mutex::default(),
        }
    }

    /// A task that has ended, with all its attempts before it again; nobody waits for it.
    pub fn again(ended: &Self) -> Self {
        let mut new = ended.new.clone();
        (new.waiter, new.due) = (None, Due::Now);
        if let Some(rare) = &mut new.extra {
            rare.expires = None;
        }
        let task = Self::new(ended.id, new, ended.accepted, ended.accepted_ms);
        task.attempts.store(ended.attempts(), Ordering::Relaxed);
        if let Some(notes) = ended.notes() {
            task.note(|kept| *kept = *notes);
        }
        task
    }

    /// How many attempts are over.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// How many attempts have failed, since somebody last asked for all of them again.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// In how many attempts the process died.
    pub fn crashes(&self) -> u32 {
        self.crashes.load(Ordering::Relaxed)
    }

    /// Asks the running attempt to stop, on behalf of somebody who wants the task not to go on.
    pub fn request_cancel(&self) {
        self.cancel_requested.store(true, Ordering::Release);
        self.cancel_signal.notify_waiters();
    }

    pub fn is_cancel_requested(&self) -> bool {
        self.cancel_requested.load(Ordering::Acquire)
    }

    /// Asks the attempts up to this number to stop, because their time is over.
    pub fn stop(&self, attempt: u32) {
        self.cancelled.fetch_max(attempt, Ordering::Release);
        self.cancel_signal.notify_waiters();
    }

    /// Whether this attempt is asked to stop, for whatever reason.
    pub fn is_stopped(&self, attempt: u32) -> bool {
        self.is_cancel_requested() || self.cancelled.load(Ordering::Acquire) >= attempt
    }

    /// Waits until this attempt is asked to stop.
    pub async fn stopped(&self, attempt: u32) {
        self.signalled(|| self.is_stopped(attempt)).await;
    }

    /// Waits until somebody wants the task not to go on.
    pub async fn cancel_requested(&self) {
        self.signalled(|| self.is_cancel_requested()).await;
    }

    async fn signalled(&self, is_it: impl Fn() -> bool) {
        loop {
            let signal = self.cancel_signal.notified();
            // Enlisted since the line above: a request from now on is not missed.
            if is_it() {
                return;
            }
            signal.await;
        }
    }

    /// What its handlers have told so far.
    pub fn notes(&self) -> Option<Box<ProgressLog>> {
        let told = self.progress_log()?;
        told.as_ref().filter(|told| !told.notes.is_empty()).map(|told| Box::new(told.notes.clone()))
    }

    pub fn note<T>(&self, note: impl FnOnce(&mut ProgressLog) -> T) -> T {
        note(&mut self.progress_log_mut().get_or_insert_default().notes)
    }

    fn follow_ups<T>(&self, change: impl FnOnce(&mut FollowUps) -> T) -> T {
        change(&mut self.progress_log_mut().get_or_insert_default().afterwards)
    }

    fn take_follow_ups(&self, attempt: u32) -> Option<FollowUps> {
        let mut told = self.progress_log()?;
        let afterwards = told.as_mut().map(|told| &mut told.afterwards)?;
        afterwards.is_of(attempt).then(|| std::mem::take(afterwards))
    }

    /// What was told, without a lock for the many tasks that never tell anything.
    fn progress_log(&self) -> Option<MutexGuard<'_, Option<Box<ProgressState>>>> {
        self.has_told.load(Ordering::Acquire).then(|| self.progress_log_mut())
    }

    fn progress_log_mut(&self) -> MutexGuard<'_, Option<Box<ProgressState>>> {
        self.has_told.store(true, Ordering::Release);
        self.progress_log.lock().expect("no one panics while holding what was told")
    }
}

impl fmt::Debug for NewTask {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "a task of {}", self.handler.name)
    }
}

impl fmt::Debug for TaskRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "task {} of {}", self.id, self.new.handler.name)
    }
}
