//! What people change about tasks, queues, batches and schedules.

use framework_protocol::task::{BatchId, Handler};
use framework_protocol::views::{ScheduleNote, TaskSelector};

/// A change on behalf of people.
#[derive(Debug, Clone)]
pub enum AdminCommand {
    /// Ends what waits; asks what runs to stop.
    Cancel(TaskSelector),
    /// Lets ended tasks wait again, with all their attempts before them; done ones are left as they are.
    Retry(TaskSelector),
    /// Removes ended tasks with all that is kept of them; the ledger goes on counting them.
    Forget(TaskSelector),
    /// Cancels what waits in this queue, or in all; nothing of those tasks is kept.
    Flush { queue: Option<String> },
    /// Nothing is taken from this queue until it is resumed, also after a restart.
    Pause { queue: String, paused: bool },
    /// A new batch, whose tasks are held back until it is sealed.
    OpenBatch { name: String, function: String, then: Option<&'static Handler> },
    /// The batch is complete: its tasks may run, and when the last of them has ended, `then` runs.
    SealBatch(BatchId),
    /// Notes something about a schedule.
    Schedule { name: String, note: ScheduleNote },
}
