//! Changes beside the groups: those that people ask for, and the steps of changes of many tasks.

use framework_protocol::task::{BatchId, TaskId, TaskRecord};
use framework_protocol::views::{BatchInfo, FailureFilter, FunctionRecord, HistoryRow, ScheduleNote, State};

/// A change of a journal in a transaction of its own.
#[derive(Debug)]
pub enum JournalChange<'a> {
    /// Pauses a queue or lets it go on.
    Pause {
        queue: &'a str,
        paused: bool,
    },
    /// Writes a batch that has no task yet.
    OpenBatch(&'a BatchInfo),
    /// Lets a batch run whose tasks are all there.
    SealBatch(BatchId),
    /// Lets the tasks of a batch never run, and none follow its end.
    AbandonBatch(BatchId),
    /// Notes what is `Some` about a schedule.
    Schedule {
        name: &'a str,
        note: &'a ScheduleNote,
    },
    /// Writes the registration of a function by a worker, in place of an earlier one.
    KeepFunction(&'a FunctionRecord),
    ForgetFunction {
        name: &'a str,
    },
    /// Adds figures to the history, and deletes what is too old of it.
    RecordHistory(&'a [HistoryRow]),
    /// Notes that these tasks were cancelled while they run: should nobody see their ends, they are over.
    CancelRunning(&'a [TaskId]),
    /// Writes a change of many tasks before its first step.
    BeginBulk(&'a StoredChange),
    /// Deletes a change of many tasks after its last step.
    EndBulk {
        id: i64,
    },
    /// Lets ended tasks wait again, the last attempt of each among those before, and sets how many these are.
    /// The change of many tasks has dealt with those up to `after`.
    Retry {
        tasks: &'a [RetriedTask],
        bulk: Option<i64>,
        after: i64,
    },
    /// Deletes all that is kept of tasks, likewise. The ledger goes on counting those that have ended.
    Forget {
        tasks: &'a [(TaskId, Option<State>)],
        bulk: Option<i64>,
        after: i64,
    },
}

/// A change of many tasks as it is written, so that another process can go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    pub id: i64,
    /// `cancel`, `retry`, `forget` or `flush`.
    pub kind: String,
    /// Of this batch; otherwise of what the filter says, of which only the queue counts for a flush.
    pub batch: Option<BatchId>,
    pub filter: FailureFilter,
    pub cursor: Cursor,
}

/// The place of a selection: tasks after one id and before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The last id that was looked at; -1 before the first one.
    pub after: i64,
    /// The first id that is not concerned: tasks that are accepted later are not.
    pub before: TaskId,
}

/// The tasks that a change of many tasks concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskSelection {
    /// One task, if it has ended.
    Ended(TaskId),
    /// The tasks of a batch that have not ended.
    OpenOfBatch(BatchId),
    /// The tasks of a batch that have ended, or of these only those that are not done.
    EndedOfBatch { batch: BatchId, with_done: bool },
    /// These of the failed tasks.
    Failed(FailureFilter),
}

/// Some of the selected tasks.
#[derive(Debug, Default)]
pub struct Selected {
    /// Each with the state in which it has ended; `None` for those that have not.
    pub tasks: Vec<(TaskId, Option<State>)>,
    /// The last id that was looked at.
    pub last: i64,
    /// Whether there may be more.
    pub has_more: bool,
}

/// An ended task that is to wait again.
#[derive(Debug)]
pub struct RetriedTask {
    pub task: TaskRecord,
    /// The state in which it had ended.
    pub from: State,
    /// Its batch, if that has not ended.
    pub batch: Option<BatchId>,
    /// Whether its batch has ended, to which it does not belong any more.
    pub is_alone: bool,
    /// Whether its batch is being cancelled, so that it stays as it is.
    pub(in crate::store::durable) is_abandoned: bool,
}

impl TaskSelection {
    /// Whether a task of a batch is among them, by the state in which it has ended.
    pub fn wants(&self, state: Option<State>) -> bool {
        match self {
            Self::OpenOfBatch(_) => state.is_none(),
            Self::EndedOfBatch { with_done, .. } => {
                state.is_some_and(|state| *with_done || state != State::Done)
            }
            Self::Ended(_) => state.is_some(),
            Self::Failed(_) => state == Some(State::Failed),
        }
    }
}

impl RetriedTask {
    /// The task as it waits.
    pub(in crate::store::durable) fn again(&self) -> TaskRecord {
        let mut task = TaskRecord::again(&self.task);
        if let Some(extra) = task.new.extra.as_mut().filter(|_| self.is_alone) {
            extra.batch = None;
        }
        task
    }
}
