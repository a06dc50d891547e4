//! Commands of administration: changes of tasks, queues, batches and schedules.

use framework_protocol::task::BatchId;
use framework_protocol::views::{ChangeId, FunctionRecord, HistoryRow, ScheduleNote, TaskSelector};

/// A command of administration.
#[derive(Debug, Clone)]
pub enum AdminCommand {
    /// Ends waiting tasks, and asks running ones to stop.
    Cancel(TaskSelector),
    /// Lets ended tasks wait again, with all their attempts before them; done ones stay as they are.
    Retry(TaskSelector),
    /// Removes ended tasks and all that is kept of them; the ledger goes on counting them.
    Forget(TaskSelector),
    /// Cancels the waiting tasks of this queue, or of all, and keeps nothing of them.
    Flush { queue: Option<String> },
    /// Pauses a queue, from which nothing is taken then, also after a restart, or resumes it.
    Pause { queue: String, paused: bool },
    /// Lets a change of many tasks end soon. What is changed by then stays so.
    StopChange(ChangeId),
    /// Opens a batch, whose tasks are held back until it is sealed. `then` is the function that runs when the
    /// last of them has ended.
    OpenBatch { name: String, function: String, then: Option<String> },
    /// Seals a batch: it takes no further tasks, and those it has may run.
    SealBatch(BatchId),
    /// Notes something about a schedule.
    Schedule { name: String, note: ScheduleNote },
    /// Keeps a function that workers have registered, instead of what was kept of it before.
    KeepFunction(FunctionRecord),
    /// Forgets a function that workers have registered.
    ForgetFunction { name: String },
    /// Adds rows to the history of figures, which forgets what is too old.
    RecordHistory(Vec<HistoryRow>),
}

impl AdminCommand {
    /// The batch that takes no more tasks from this command on.
    pub(super) fn closes(&self) -> Option<BatchId> {
        match self {
            Self::SealBatch(id) | Self::Cancel(TaskSelector::Batch(id)) => Some(*id),
            _ => None,
        }
    }
}
