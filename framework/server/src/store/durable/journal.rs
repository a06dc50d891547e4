//! The journal under a durable store: the place where everything is written that has to survive.
//!
//! A journal knows how rows are written and read, and nothing about the order of work, leases, callers or
//! groups: these are the same over every journal.

mod change;
mod error;
mod group;
mod snapshot;
mod stored_task;

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use framework_protocol::Durability;
use framework_protocol::task::TaskId;
use framework_protocol::views::{Filter, State, TaskSummary};
use rustc_hash::FxHashMap;

pub use self::change::{Cursor, JournalChange, RetriedTask, Selected, StoredChange, TaskSelection};
pub use self::error::{JournalError, JournalErrorKind, ReadError};
pub use self::group::{Entry, WriteGroup, Written};
pub use self::snapshot::{RetryPause, Snapshot, WaitingRow};
pub use self::stored_task::{LoadedTask, OptionsEncoder, StoredOptions, StoredTask};
pub use crate::store::failure_groups::{FailedTask, FailureGroups};
pub use crate::store::figure_history::{
    STEPS as HISTORY_STEPS, first_step as first_history_step, merge as merge_history,
    points as history_points,
};
pub use crate::store::idempotency::check_duplicate;
pub use crate::store::index::{AttemptRun, EndRecord, FollowUp, Record};
pub use crate::store::running_marks::{AssignedTask, LastProcess, RunningMarks};
pub use crate::store::view_parts::{TaskViewParts, details, ms_of, summary};
use crate::store::{Clock, DiskFigures, Query, QueryResult, StoreOptions};
pub use crate::store::{FIRST_ATTEMPTS, LAST_ATTEMPTS};

/// The place where the tasks of a durable store are written, and what becomes of them.
///
/// All calls come from one thread, which may block in them, one after the other. A journal that reaches its
/// place over a network bounds the time of each call.
///
/// # Errors
/// After an error nothing of the call is there, unless its kind is [`JournalErrorKind::InDoubt`]: then the
/// same call, with the same content, is the next one that writes. The journal finds out first whether it was
/// carried out, returns what it would have returned if so, and carries it out otherwise.
pub trait Journal: Send + Sized + 'static {
    /// The name of the kind of store, such as `sqlite`.
    const NAME: &'static str;
    /// The place of the journal and how it is to be used.
    type Options;
    type Reader: JournalReader;

    /// Opens the journal for this process alone, and makes it if it is not there.
    ///
    /// # Errors
    /// When another process uses it, when it is damaged, of another program or of a newer version, or cannot
    /// be reached. Nothing has been changed then.
    fn open(options: Self::Options, store: &StoreOptions) -> anyhow::Result<OpenedJournal<Self>>;

    /// Reads what earlier processes have left, except the waiting tasks: with the functions of ended tasks if
    /// they matter.
    ///
    /// # Errors
    /// When it cannot be read.
    fn snapshot(&mut self, with_functions: bool) -> anyhow::Result<Snapshot>;

    /// Calls `visit` with every task that has not ended, in the order of the ids. The ids of those that have
    /// ended and are kept are given in their order, for a journal that has to pass over them itself.
    ///
    /// # Errors
    /// When they cannot be read. A damaged row is none: it says so itself.
    fn waiting(&mut self, ended: &[TaskId], visit: impl FnMut(WaitingRow<'_>)) -> anyhow::Result<()>;

    /// Begins to give ids, from this one on; called once, before the first write. Returns the reason if no
    /// task can be accepted for the time being.
    ///
    /// # Errors
    /// When the journal cannot be used at all.
    fn begin(&mut self, next_id: TaskId) -> anyhow::Result<Option<JournalError>>;

    /// The id of the next task.
    fn next_id(&self) -> TaskId;

    /// Writes a group in one transaction, which is as durable as the journal says when this returns.
    fn write(&mut self, group: &WriteGroup<'_>) -> Result<Written, JournalError>;

    /// Makes a change in a transaction of its own, as durable likewise. To make it twice is to make it once,
    /// but for figures that are added.
    fn change(&mut self, change: &JournalChange<'_>, now_ms: u64) -> Result<(), JournalError>;

    /// Reads tasks as [`JournalReader::tasks`] does, and all that was written.
    fn tasks(&mut self, ids: &[TaskId], now_ms: u64) -> Result<Vec<LoadedTask>, ReadError>;

    /// The state of a task: [`State::Waiting`] if it has not ended, `None` if nothing is kept of it.
    fn state(&mut self, id: TaskId) -> Result<Option<State>, ReadError>;

    /// The functions of tasks, as far as these are kept.
    fn functions(&mut self, ids: &[TaskId]) -> Result<FxHashMap<TaskId, String>, ReadError>;

    /// Selects up to `limit` tasks behind the cursor, in the order of their ids. It may look at a bounded
    /// number of others meanwhile, and return fewer.
    fn select(&mut self, wanted: &TaskSelection, cursor: Cursor, limit: usize)
    -> Result<Selected, ReadError>;

    /// Checks, before each group and at least once a second, that the journal is still where it was and
    /// belongs to this process. An error of the kind [`JournalErrorKind::Unavailable`] lasts until this
    /// returns none any more.
    fn check(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Does what is to be done after a group, once all answers are out, and sooner while a change of many
    /// tasks is under way; returns what is wrong although tasks are accepted.
    fn maintain(&mut self, is_changing: bool) -> Option<&str> {
        let _ = is_changing;
        None
    }

    /// Does what can wait until there is nothing to write; some at a time.
    fn tidy(&mut self) {}

    /// Looks for room after an error of the kind [`JournalErrorKind::Full`].
    fn make_room(&mut self) -> Room {
        Room::Unknown
    }
}

/// A task that was looked at for a list.
#[derive(Debug)]
pub enum Listed {
    Task(TaskSummary),
    /// One that the filter does not let pass.
    Other(TaskId),
}

/// What a journal that was full has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The next write tells.
    Unknown,
    /// There is some for the ends of tasks, and none for tasks.
    ForEnds,
    ForAll,
}

/// A journal that was opened, and what is known of it.
#[derive(Debug)]
pub struct OpenedJournal<J: Journal> {
    pub journal: J,
    pub reader: J::Reader,
    pub clock: Clock,
    /// The failures that a written group survives.
    pub durability: Durability,
    /// Where running attempts are marked; `None` where the end of the process leaves no trace of them.
    pub marks: Option<Arc<dyn RunningMarks>>,
    /// What these say about the process before this one.
    pub last: LastProcess,
    /// What is wrong although the journal can be used, for people.
    pub damage: Option<String>,
}

/// Reads a journal beside the thread that writes it, from any thread, and sees what was written before the
/// call.
pub trait JournalReader: Debug + Send + Sync + 'static {
    /// What people call the place of the journal, such as `the queue's file`.
    const PLACE: &'static str;

    /// Reads tasks in the order of their ids; those that are not there are left out.
    ///
    /// # Errors
    /// When they cannot be read for the moment. A damaged task is none: it says so itself.
    fn tasks(
        &self,
        ids: &[TaskId],
        now_ms: u64,
    ) -> impl Future<Output = Result<Vec<LoadedTask>, ReadError>> + Send;

    /// When tasks were accepted, as far as they are there.
    fn accepted_ms(&self, ids: &[TaskId]) -> impl Future<Output = FxHashMap<TaskId, u64>> + Send;

    /// Answers a query as far as the journal knows the answer: a task that has not ended waits, and of a
    /// [`Query::Backlog`] it counts the failed tasks. Others add what is in memory, and answer for tasks that
    /// are to be flushed. May block.
    fn query(&self, query: &Query, now_ms: u64) -> Result<QueryResult, ReadError>;

    /// Calls `visit` with the tasks of the filter, but for its limit, and with others that were looked at,
    /// the newest first, until it breaks. May block.
    fn list(
        &self,
        filter: &Filter,
        visit: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), ReadError>;

    /// Adds what the place of the journal takes to the figures. May block.
    fn measure(&self, figures: &mut DiskFigures) {
        let _ = figures;
    }

    /// Whether this process may hand out tasks at the moment: `false` for one that cannot be sure that the
    /// journal is still its own. It is asked for each batch of tasks, and looks at no more than a clock; as
    /// long as it is `false`, [`Journal::check`] returns an error.
    fn is_owner(&self) -> bool {
        true
    }

    /// Leaves the journal to another process, once nothing more is written. May block.
    fn release(&self);
}
