//! Publishes the ends of tasks: first to the clients that wait, then to `on_finish`.

use std::sync::Arc;

use framework_console::log::{EndedTask, outcomes};
use framework_protocol::task::Outcome;
use framework_protocol::{ErrorCode, RequestError};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::events::{DynEvents, Finished};
use super::poll::at_once;
use super::subscriptions::Subscriptions;
use super::waiters::Waiters;
use crate::store::Store;

/// The most batches whose `on_finish` may be running before the stages in front have to wait.
const MAX_CALLBACKS: usize = 1024;

/// The clients that receive the ends of tasks. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReplyTargets {
    pub(super) waiters: Arc<Waiters>,
    pub(super) subscriptions: Arc<Subscriptions>,
}

impl ReplyTargets {
    pub(super) fn new(store: &Arc<dyn Store>) -> Self {
        Self { waiters: Arc::default(), subscriptions: Arc::new(Subscriptions::new(store.clone())) }
    }

    /// Sends an error to all clients that are still waiting.
    pub(super) fn close_all(&self, reason: &str) {
        let error = RequestError::new(ErrorCode::ShuttingDown, reason);
        self.waiters.close_all(&error);
        self.subscriptions.close_all(&error);
    }
}

/// Publishes what the finisher sends, until that has ended.
pub(super) async fn run(
    events: Arc<dyn DynEvents>,
    replies: ReplyTargets,
    mut inbox: mpsc::Receiver<Vec<Finished>>,
) {
    let bound = Arc::new(Semaphore::new(MAX_CALLBACKS));
    let mut running = JoinSet::new();
    while let Some(batch) = inbox.recv().await {
        replies.waiters.answer(&batch);
        replies.subscriptions.ended(&batch);
        log(&batch);
        // A slow callback delays neither the next answers nor the next callbacks.
        let mut callbacks = events.clone().finish(batch);
        if at_once(&mut callbacks).await.is_some() {
            continue;
        }
        while running.try_join_next().is_some() {}
        let Ok(permit) = bound.clone().acquire_owned().await else { return };
        running.spawn(async move {
            callbacks.await;
            drop(permit);
        });
    }
    while running.join_next().await.is_some() {}
}

/// Logs the ends; called after the clients have their replies, which must not wait for the log.
fn log(batch: &[Finished]) {
    let Some(outcomes) = outcomes() else { return };
    outcomes.log(batch.iter().map(|finished| EndedTask {
        id: finished.id(),
        function: finished.function(),
        attempts: finished.attempts(),
        ran: finished.running(),
        outcome: finished.state().name(),
        error: match finished.outcome() {
            Outcome::Done(_) => None,
            Outcome::Failed(failure) => Some(&failure.message),
        },
    }));
}
