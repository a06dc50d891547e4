//! One run of a task, as its handler sees it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use framework_console::config::Config;

use super::follow_ups::FollowUps;
use super::{Handlers, LogLine, NewTask, Outcome, Progress, Task, TaskId, TaskRecord};
use crate::error::RequestError;

/// One run of a task. Cheap to clone.
#[derive(Clone)]
pub struct Attempt {
    context: Arc<AttemptContext>,
    task: Arc<TaskRecord>,
    number: u32,
}

/// What all attempts share.
pub struct AttemptContext {
    pub config: Config,
    pub handlers: Arc<Handlers>,
    pub sink: Arc<dyn ProgressSink>,
}

/// Who wants to know at once what handlers tell.
pub trait ProgressSink: Send + Sync {
    fn progress(&self, task: TaskId, progress: &Progress);
    fn line(&self, task: TaskId, line: &LogLine);
}

/// Nobody.
impl ProgressSink for () {
    fn progress(&self, _task: TaskId, _progress: &Progress) {}
    fn line(&self, _task: TaskId, _line: &LogLine) {}
}

impl Attempt {
    pub fn new(task: Arc<TaskRecord>, number: u32, context: Arc<AttemptContext>) -> Self {
        Self { context, task, number }
    }

    /// An attempt outside of any server, for a task that is run by hand. Nobody hears what its handler tells, and
    /// [`Attempt::pushed`] has what it pushes.
    pub fn standalone(task: Arc<TaskRecord>, number: u32, config: Config, handlers: Arc<Handlers>) -> Self {
        let context = AttemptContext { config, handlers, sink: Arc::new(()) };
        Self::new(task, number, Arc::new(context))
    }

    /// Runs the handler that was registered for the task.
    ///
    /// Arguments that do not decode fail the task for good: another attempt would meet the same ones.
    pub async fn run(&self) -> Outcome {
        self.task.new.handler.start(self).await
    }

    pub fn id(&self) -> TaskId {
        self.task.id
    }

    /// When the task was accepted, in milliseconds since 1970; with its id it names the task also among those of
    /// other queues.
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
        self.task.new.handler.name
    }

    /// The arguments as the client sent them, as JSON.
    pub fn args(&self) -> &Bytes {
        &self.task.new.args
    }

    /// The program's configuration.
    pub fn config(&self) -> &Config {
        &self.context.config
    }

    /// Tells how far the task is: 0 to 100, and a text such as `42 of 100 sent`, cut at
    /// [`TEXT_MAX`](super::TEXT_MAX) bytes. The last one is kept with the task; who follows it hears each.
    pub fn progress(&self, percent: f64, text: impl fmt::Display) {
        let progress = self.task.note(|notes| notes.progress(percent, &text.to_string()).clone());
        self.context.sink.progress(self.id(), &progress);
    }

    /// Adds a line to the task's log, cut at [`TEXT_MAX`](super::TEXT_MAX) bytes. The last
    /// [`LINES_MAX`](super::LINES_MAX) are kept with the task; who follows it hears each.
    pub fn log(&self, text: impl fmt::Display) {
        let line = self.task.note(|notes| notes.line(self.number, &text.to_string()).clone());
        self.context.sink.line(self.id(), &line);
    }

    /// Whether the attempt is asked to stop: its time is over, or somebody cancelled the task. An async handler is
    /// simply dropped then; a blocking one keeps its worker until it returns, so a long one should look from time
    /// to time.
    pub fn is_cancelled(&self) -> bool {
        self.task.is_stopped(self.number)
    }

    /// Waits until [`Attempt::is_cancelled`]. For what a handler has started elsewhere, such as a task of its own:
    /// the handler itself is dropped at the same moment.
    pub async fn cancelled(&self) {
        self.task.stopped(self.number).await;
    }

    /// Hands over a further task together with the end of this one: when this attempt is done, both are written or
    /// neither; when it fails, none of what it pushed is.
    ///
    /// # Errors
    /// When no handler belongs to the task, or there are more than [`PUSHES_MAX`](super::PUSHES_MAX).
    pub fn push<T: Task>(&self, task: T) -> Result<(), RequestError> {
        self.push_new(self.task_of(&task)?)
    }

    /// Like [`Attempt::push`], with options of its own.
    ///
    /// # Errors
    /// When there are more than [`PUSHES_MAX`](super::PUSHES_MAX).
    pub fn push_new(&self, task: NewTask) -> Result<(), RequestError> {
        self.task.follow_ups(|afterwards| afterwards.push(self.number, task))
    }

    /// A task with its handler's own options, for [`Attempt::push_new`] to hand over when they were changed.
    ///
    /// # Errors
    /// When no handler belongs to it, or it does not serialize to JSON.
    pub fn task_of<T: Task>(&self, task: &T) -> Result<NewTask, RequestError> {
        NewTask::of(&self.context.handlers, task)
    }

    /// When this attempt is done, `T` runs with its result as arguments; called again, one runs after the other.
    /// What the task's request said is to follow goes its own way beside that.
    ///
    /// # Errors
    /// When no handler belongs to `T`, or there are more than 16.
    pub fn then<T: Task>(&self) -> Result<(), RequestError> {
        let handler = self.context.handlers.find(T::NAME)?;
        self.task.follow_ups(|afterwards| afterwards.then(self.number, handler))
    }

    /// Takes what is to be accepted together with the end of this attempt; nothing unless it is done.
    pub fn take_pushed(&self, outcome: &Outcome) -> Vec<NewTask> {
        let Some(afterwards) = self.task.take_follow_ups(self.number) else { return Vec::new() };
        match outcome {
            Outcome::Done(result) => FollowUps::tasks(afterwards, result),
            Outcome::Failed(_) => Vec::new(),
        }
    }

    pub fn stop(&self) {
        self.task.stop(self.number);
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "attempt {} of {:?}", self.number, self.task)
    }
}
