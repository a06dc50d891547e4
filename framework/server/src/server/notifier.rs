//! Tells of the ends of tasks: first the clients that wait, then `on_finish`.

use std::sync::Arc;

use framework_console::log::{EndedTask, outcomes};
use framework_protocol::task::Outcome;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::events::{DynEvents, Finished};
use super::poll::at_once;
use super::subscriptions::Subscriptions;
use super::waiters::Waiters;

/// How many batches may wait for their `on_finish` before the rooms behind have to wait as well.
const CALLBACKS: usize = 1024;

/// Tells of what comes from the finisher until that is gone.
pub(super) async fn run(
    events: Arc<dyn DynEvents>,
    waiters: Arc<Waiters>,
    subscriptions: Arc<Subscriptions>,
    mut inbox: mpsc::Receiver<Vec<Finished>>,
) {
    let bound = Arc::new(Semaphore::new(CALLBACKS));
    let mut under_way = JoinSet::new();
    while let Some(batch) = inbox.recv().await {
        waiters.answer(&batch);
        subscriptions.ended(&batch);
        log(&batch);
        // A slow callback delays neither the next answers nor the next callbacks.
        let mut callbacks = events.clone().finish(batch);
        if at_once(&mut callbacks).await.is_some() {
            continue;
        }
        while under_way.try_join_next().is_some() {}
        let Ok(permit) = bound.clone().acquire_owned().await else { return };
        under_way.spawn(async move {
            callbacks.await;
            drop(permit);
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// After the clients have their answers: nobody waits for the log.
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
