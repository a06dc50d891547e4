//! The messages of a worker outside of the server, as this program writes and reads them when it is one.

mod ends;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::ends::{EndsWriter, Report, write_end};
pub use self::messages::{AssignedTask, JoinReply, RenewReply, ServerMessage, WorkRequest, registration};
use crate::task::{NewTask, Outcome, TaskId, TaskRecord};

/// Runs the tasks that a server hands out to this program.
pub trait TaskRunner: Send {
    /// Begins attempts, as far as there are workers free.
    fn start(&mut self, tasks: Vec<StartedTask>);

    /// Takes back those that have not begun; their numbers.
    fn take_waiting(&mut self) -> Vec<u64>;

    /// Has an observer told of everything from now on. One attempt runs at a time, and
    /// [`next`](TaskRunner::next) has only the numbers of those that have ended.
    fn observe(&mut self, observer: Arc<dyn AttemptObserver>);

    /// For how long the observed attempt has been running.
    fn running_for(&self) -> Option<Duration>;

    /// Waits for reports of running attempts and for their ends. May be cancelled at any time.
    fn next(&mut self) -> BoxFuture<'_, RunnerUpdate>;
}

/// Is told of attempts that run one at a time, on the thread that runs them.
pub trait AttemptObserver: Send + Sync {
    /// The attempt of this lease begins when this returns. With `is_last`, no other one waits.
    fn begin(&self, lease: &str, is_last: bool);

    fn report(&self, lease: &str, report: &Report);

    /// The attempt has ended; without an outcome, it was stopped or did not begin. With `is_last`, no other
    /// one is about to begin.
    fn end(&self, lease: &str, outcome: Option<&Outcome>, follow: &[NewTask], is_last: bool);

    /// None is about to begin after all.
    fn flush(&self);
}

/// An attempt to begin.
#[derive(Debug)]
pub struct StartedTask {
    /// Its number among all that this runner was ever given.
    pub number: u64,
    /// The name of its lease.
    pub lease: Arc<str>,
    pub task: Arc<TaskRecord>,
    pub attempt: u32,
}

/// What has happened to attempts; the reports of each come before its end.
#[derive(Debug, Default)]
pub struct RunnerUpdate {
    pub reports: Vec<(TaskId, Report)>,
    pub ends: Vec<EndedAttempt>,
    /// The ends that an observer was told of.
    pub observed: Vec<ObservedEnd>,
}

/// The end of an attempt that an observer was told of.
#[derive(Debug, Clone, Copy)]
pub struct ObservedEnd {
    pub number: u64,
    pub ran: Duration,
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
