//! How the followers of tasks come from one server to the next.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use framework_protocol::RequestError;
use framework_protocol::task::TaskId;
use serde::{Deserialize, Serialize};

use super::{Subscriber, SubscriberState, Subscriptions};
use crate::server::outbox::{Outbox, ReplyOrder};
use crate::server::waiters::Waiter;

/// A task that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingWaiter {
    pub task: TaskId,
    /// Whether its progress and log lines are wanted as well as its end.
    pub listens: bool,
}

impl Subscriptions {
    /// Seats the followers of another server, who know already what was before.
    pub(crate) fn import(&self, awaited: &[PendingWaiter], outbox: &Arc<Outbox>) {
        let mut seats = self.seats();
        for PendingWaiter { task, listens } in awaited {
            let waiter =
                Waiter { outbox: outbox.clone(), id: None, place: ReplyOrder::Anywhere, result_only: false };
            seats.insert(*task, waiter, SubscriberState { listens: *listens, held: None });
        }
        self.count.fetch_add(awaited.len(), Ordering::SeqCst);
    }

    /// Lets the followers of single tasks go to the next server, with whether they listen; the others are told to ask
    /// there themselves.
    pub(crate) fn export(&self, refusal: &RequestError) -> Vec<(TaskId, Waiter, bool)> {
        self.firehose.close_all(refusal);
        self.batches.close_all(refusal);
        let mut seats = self.seats();
        let tasks: Vec<_> = seats.subjects().collect();
        let mut gone = Vec::new();
        for task in tasks {
            let followers = seats.remove(task, |follower| follower.notes.held.is_none());
            gone.extend(
                followers.into_iter().map(|Subscriber { waiter, notes, .. }| (task, waiter, notes.listens)),
            );
        }
        self.count.fetch_sub(gone.len(), Ordering::SeqCst);
        gone
    }
}
