//! One run of a task, as its handler sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framework_console::config::Config;

use super::follow_ups::FollowUps;
use super::{Handler, Handlers, LogLine, NewTask, Outcome, Progress, Task, TaskId, TaskRecord};
use crate::error::RequestError;

/// One run of a task. Cheap to clone.
#[derive(Clone)]
pub struct Attempt {
    context: Arc<AttemptContext>,
    task: Arc<TaskRecord>,
    handler: &'static Handler,
    number: u32,
}

/// The parts of a program that all its attempts share.
pub struct AttemptContext {
    pub config: Config,
    pub handlers: Arc<Handlers>,
    pub sink: Arc<dyn ProgressSink>,
}

/// Receives the progress and the log lines of running attempts.
pub trait ProgressSink: Send + Sync {
    fn progress(&self, task: TaskId, progress: &Progress);
    fn line(&self, task: TaskId, line: &LogLine);
}

/// Discards everything; used by [`Attempt::standalone`].
impl ProgressSink for () {
    fn progress(&self, _task: TaskId, _progress: &Progress) {}
    fn line(&self, _task: TaskId, _line: &LogLine) {}
}

impl Attempt {
    /// An attempt that runs the task by `handler`.
    pub fn new(
        task: Arc<TaskRecord>,
        handler: &'static Handler,
        number: u32,
        context: Arc<AttemptContext>,
    ) -> Self {
        Self { context, task, handler, number }
    }

    /// An attempt outside of any server, for a task that is run by hand. Its progress and log lines are kept
    /// in the task alone, and [`Attempt::take_pushed`] has the tasks it pushes.
    ///
    /// # Errors
    /// When the program does not contain the task's function.
    pub fn standalone(
        task: Arc<TaskRecord>,
        number: u32,
        config: Config,
        handlers: Arc<Handlers>,
    ) -> Result<Self, RequestError> {
        let handler = handlers.find(&task.new.function)?;
        let context = AttemptContext { config, handlers, sink: Arc::new(()) };
        Ok(Self::new(task, handler, number, Arc::new(context)))
    }

    /// Runs the task's handler.
    ///
    /// Arguments that do not decode fail the task for good: another attempt would meet the same ones.
    pub async fn run(&self) -> Outcome {
        self.handler.start(self).await
    }

    pub fn id(&self) -> TaskId {
        self.task.id
    }

    /// When the task was accepted, in milliseconds since 1970; with its id it names the task also among those
    /// of other queues.
    pub fn accepted_ms(&self) -> u64 {
        self.task.accepted_ms
    }

    /// 1 for the first attempt; those in which the process died count.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether no other attempt follows if this one fails.
    pub fn is_last(&self) -> bool {
        self.task.failures().saturating_add(1) >= self.task.new.attempts
    }

    /// The handler's name.
    pub fn function(&self) -> &'static str {
        self.handler.name
    }

    /// The arguments as the client sent them, as JSON.
    pub fn args(&self) -> &Bytes {
        &self.task.new.args
    }

    /// The longest that the attempt may take; `None` is for ever.
    pub fn timeout(&self) -> Option<Duration> {
        self.task.new.timeout
    }

    /// The program's configuration.
    pub fn config(&self) -> &Config {
        &self.context.config
    }

    /// Reports the progress of the task: 0 to 100 percent, and a text such as `42 of 100 sent`, cut at
    /// [`TEXT_MAX`](super::TEXT_MAX) bytes. The last one is kept with the task; clients that watch it get
    /// each.
    pub fn progress(&self, percent: f64, text: impl fmt::Display) {
        let progress = self.task.report_progress(percent, &text.to_string());
        self.context.sink.progress(self.id(), &progress);
    }

    /// Adds a line to the task's log, cut at [`TEXT_MAX`](super::TEXT_MAX) bytes. The last
    /// [`LINES_MAX`](super::LINES_MAX) are kept with the task; clients that watch it get each.
    pub fn log(&self, text: impl fmt::Display) {
        let line = self.task.report_line(self.number, &text.to_string());
        self.context.sink.line(self.id(), &line);
    }

    /// Whether the attempt is asked to stop, because its time is over or the task was cancelled. An async
    /// handler is dropped then; a blocking one keeps its worker until it returns, so a long one should ask
    /// this from time to time.
    pub fn is_cancelled(&self) -> bool {
        self.task.is_stopped(self.number)
    }

    /// Waits until [`Attempt::is_cancelled`]. Use it in code that the handler has started elsewhere: the
    /// handler itself is dropped at the same moment.
    pub async fn cancelled(&self) {
        self.task.stopped(self.number).await;
    }

    /// Pushes a further task together with the end of this one: when this attempt is done, both are written
    /// or neither; when it fails, none of its pushed tasks is.
    ///
    /// # Errors
    /// When no handler belongs to the task, or there are more than [`PUSHES_MAX`](super::PUSHES_MAX).
    pub fn push<T: Task>(&self, task: T) -> Result<(), RequestError> {
        self.push_new(self.task_of(&task)?)
    }

    /// Pushes a task with options of its own; see [`Attempt::push`].
    ///
    /// # Errors
    /// When there are more than [`PUSHES_MAX`](super::PUSHES_MAX).
    pub fn push_new(&self, task: NewTask) -> Result<(), RequestError> {
        self.task.update_follow_ups(|follow_ups| follow_ups.push(self.number, task))
    }

    /// A task with its handler's own options, to be changed and then pushed by [`Attempt::push_new`].
    ///
    /// # Errors
    /// When no handler belongs to it, or it does not serialize to JSON.
    pub fn task_of<T: Task>(&self, task: &T) -> Result<NewTask, RequestError> {
        NewTask::of(&self.context.handlers, task)
    }

    /// When this attempt is done, `T` runs with its result as arguments; called again, one runs after the
    /// other. The functions that the task's request named to follow it run beside that.
    ///
    /// # Errors
    /// When no handler belongs to `T`, or there are more than 16.
    pub fn then<T: Task>(&self) -> Result<(), RequestError> {
        let handler = self.context.handlers.find(T::NAME)?;
        self.task.update_follow_ups(|follow_ups| follow_ups.then(self.number, handler))
    }

    /// Takes the tasks to accept together with the end of this attempt; none unless it is done.
    pub fn take_pushed(&self, outcome: &Outcome) -> Vec<NewTask> {
        let Some(follow_ups) = self.task.take_follow_ups(self.number) else { return Vec::new() };
        match outcome {
            Outcome::Done(result) => FollowUps::tasks(follow_ups, result),
            Outcome::Failed(_) => Vec::new(),
        }
    }

    /// Asks the attempt to stop, because its time is over.
    pub fn stop(&self) {
        self.task.stop(self.number);
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "attempt {} of {:?}", self.number, self.task)
    }
}
