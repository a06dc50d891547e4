//! Moves the subscribers of tasks from the old process to the new one.

use std::sync::Arc;

use framework_protocol::RequestError;
use framework_protocol::task::TaskId;
use serde::{Deserialize, Serialize};

use crate::server::outbox::{Outbox, ReplyOrder};
use crate::server::subscriptions::Subscriptions;
use crate::server::waiters::{EndFormat, Waiter};

/// A task whose end is awaited by clients of the old process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingWaiter {
    pub task: TaskId,
    /// Progress and log lines are wanted as well as the end.
    pub listens: bool,
}

/// Subscribes `outbox` to the tasks that clients of the old process wait for; what was before, these know
/// already.
pub(super) fn import(subscriptions: &Subscriptions, awaited: &[PendingWaiter], outbox: &Arc<Outbox>) {
    for PendingWaiter { task, listens } in awaited {
        let place = ReplyOrder::Anywhere;
        let waiter = Waiter { outbox: outbox.clone(), id: None, place, format: EndFormat::Reply };
        subscriptions.add_informed(*task, waiter, *listens);
    }
}

/// Takes out the subscribers of single tasks, with whether they want progress; the others receive `error`,
/// and have to subscribe to the new process themselves.
pub(super) fn export(subscriptions: &Subscriptions, error: &RequestError) -> Vec<(TaskId, Waiter, bool)> {
    subscriptions.close_shared(error);
    subscriptions.take_informed()
}
