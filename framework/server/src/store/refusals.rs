//! The errors with which both stores refuse commands of administration.

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::State;
use framework_protocol::{ErrorCode, RequestError};

fn conflict(message: String) -> RequestError {
    RequestError::new(ErrorCode::Conflict, message)
}

/// There is no such task, or nothing is kept of it any more.
pub(super) fn no_task(id: TaskId) -> RequestError {
    RequestError::unknown_task(id)
}

/// A task that is to be cancelled has ended.
pub(super) fn has_ended(id: TaskId, state: State) -> RequestError {
    conflict(format!("Task {id} has ended already: it is {}.", state.name()))
}

/// A task that is to be retried or forgotten still waits or runs.
pub(super) fn has_not_ended(id: TaskId) -> RequestError {
    conflict(format!("Task {id} has not ended yet."))
}

/// A task that is to be retried is done.
pub(super) fn is_done(id: TaskId) -> RequestError {
    conflict(format!("Task {id} is done: there is nothing to try again."))
}

/// A batch that is to be sealed is sealed.
pub(super) fn is_sealed(batch: BatchId) -> RequestError {
    conflict(format!("Batch {batch} is sealed already."))
}

/// A batch whose tasks are to run was cancelled.
pub(super) fn being_cancelled(batch: BatchId) -> RequestError {
    conflict(format!("Batch {batch} was cancelled before it was sealed, and its tasks never run."))
}

/// Failed tasks are to be cancelled.
pub(super) fn nothing_to_cancel() -> RequestError {
    RequestError::bad_request("Failed tasks have ended: there is nothing to cancel.")
}
