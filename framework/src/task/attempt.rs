//! One run of a task, as its handler sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Outcome, Task, TaskId};
use crate::config::Config;

/// One run of a task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attempt {
    task: Arc<Task>,
    number: u32,
    config: Config,
}

impl Attempt {
    pub(crate) fn new(task: Arc<Task>, number: u32, config: Config) -> Self {
        Self { task, number, config }
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

    /// 1 for the first attempt.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether no other attempt follows if this one fails.
    pub fn is_last(&self) -> bool {
        self.number >= self.task.new.attempts
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
        &self.config
    }

    /// Whether the attempt is asked to stop, because its time is over. An async handler is simply dropped then;
    /// a blocking one keeps its worker until it returns, so a long one should look from time to time.
    pub fn is_cancelled(&self) -> bool {
        self.task.cancelled.load(Ordering::Relaxed) >= self.number
    }

    pub(crate) fn cancel(&self) {
        self.task.cancelled.fetch_max(self.number, Ordering::Relaxed);
    }
}
