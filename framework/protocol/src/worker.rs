//! The messages of a worker outside of the server, as this program writes and reads them when it is one.

mod ends;
mod messages;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::ends::{EndsWriter, Report};
pub use self::messages::{AssignedTask, JoinReply, RenewReply, ServerMessage, WorkRequest, registration};
use crate::task::{NewTask, Outcome, TaskId, TaskRecord};

/// Runs the tasks that a server hands out to this program.
pub trait TaskRunner: Send {
    /// Begins attempts, as far as there are workers free.
    fn start(&mut self, tasks: Vec<StartedTask>);

    /// Takes back those that have not begun; their numbers.
    fn take_waiting(&mut self) -> Vec<u64>;

    /// Waits for reports of running attempts and for their ends. May be cancelled at any time.
    fn next(&mut self) -> BoxFuture<'_, RunnerUpdate>;
}

/// An attempt to begin.
#[derive(Debug)]
pub struct StartedTask {
    /// Its number among all that this runner was ever given.
    pub number: u64,
    pub task: Arc<TaskRecord>,
    pub attempt: u32,
}

/// What has happened to attempts; the reports of each come before its end.
#[derive(Debug, Default)]
pub struct RunnerUpdate {
    pub reports: Vec<(TaskId, Report)>,
    pub ends: Vec<EndedAttempt>,
}

/// The end of an attempt.
#[derive(Debug)]
pub struct EndedAttempt {
    pub number: u64,
    /// `None`: it was stopped, or did not begin.
    pub outcome: Option<Outcome>,
    /// The tasks that it pushed, to be accepted together with its result.
    pub follow: Vec<NewTask>,
}
