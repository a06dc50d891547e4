//! The subscribers of batches: they receive its progress, a few times a second at most, and its end.
//!
//! A change only marks its batch; the store is queried for the state once for all changes within a [`PAUSE`],
//! and for all subscribers of the batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::task::BatchId;
use framework_protocol::views::{BatchInfo, BatchState, TaskSelector};
use framework_protocol::{ReplyWriter, RequestError, Status};
use futures_util::FutureExt;
use futures_util::stream::{StreamExt, iter};
use rustc_hash::FxHashSet;
use tokio::sync::Notify;

use super::map::{self, SubscriptionMap};
use crate::server::events::Finished;
use crate::server::outbox::{Outbox, ReplyOrder};
use crate::server::waiters::{EndFormat, Waiter};
use crate::store::{AdminCommand, Query, QueryResult, Store};

/// The shortest time between two updates of a batch.
const PAUSE: Duration = Duration::from_millis(100);
/// The number of concurrent queries of the store.
const MAX_QUERIES: usize = 32;

/// The subscribers of all batches. One is removed with the end of its batch, or with its connection.
pub(crate) struct BatchSubscriptions {
    store: Arc<dyn Store>,
    /// The number of subscribers; tells without a lock that there are none, as most of the time.
    count: AtomicUsize,
    watch: Mutex<BatchWatch>,
    changed: Notify,
}

#[derive(Default)]
struct BatchWatch {
    subscribers: SubscriptionMap<BatchSubscriberState>,
    /// The batches whose subscribers are to receive an update.
    changed: FxHashSet<BatchId>,
    /// The number of rounds in which the changed batches were queried.
    rounds: u64,
}

type BatchSubscriber = map::Subscriber<BatchSubscriberState>;

struct BatchSubscriberState {
    /// The round before which the subscription began.
    round: u64,
    /// The state sent last; `None` while the store is queried for the first one.
    sent: Option<Arc<BatchInfo>>,
}

/// A change in progress: when it is dropped, however that comes, the affected batches are marked as changed.
pub(crate) struct BatchChangeGuard<'a> {
    batches: &'a BatchSubscriptions,
    affected: AffectedBatches,
}

/// The batches that a change affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AffectedBatches {
    None,
    One(BatchId),
    Any,
}

impl BatchSubscriptions {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, count: AtomicUsize::new(0), watch: Mutex::default(), changed: Notify::new() }
    }

    fn watch(&self) -> MutexGuard<'_, BatchWatch> {
        self.watch.lock().expect("no panic while the subscribers are locked")
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Subscribes a connection to a batch. It receives a line with the batch's state, further ones while that
    /// changes, and a last one when the batch has ended, all of them with this `id`. Counts as a request in
    /// flight.
    ///
    /// # Errors
    /// The batch does not exist, or is not kept any more.
    pub(crate) async fn subscribe(
        &self,
        outbox: &Arc<Outbox>,
        batch: BatchId,
        id: Option<&str>,
    ) -> Result<(), RequestError> {
        outbox.reserve(1);
        let place = ReplyOrder::Anywhere;
        let waiter =
            Waiter { outbox: outbox.clone(), id: id.map(Into::into), place, format: EndFormat::Reply };
        // Inserted first and queried then, so that no change falls in between.
        let number = {
            let mut watch = self.watch();
            let round = watch.rounds;
            watch.subscribers.insert(batch, waiter, BatchSubscriberState { round, sent: None })
        };
        self.count.fetch_add(1, Ordering::SeqCst);
        match self.info(batch).await {
            Ok(info) => {
                self.send_initial(number, info);
                Ok(())
            }
            Err(error) => match self.remove(batch, number) {
                Some(_) => {
                    outbox.cancel_reservation();
                    Err(error)
                }
                // A subscriber that was removed meanwhile has had its reply.
                None => Ok(()),
            },
        }
    }

    async fn info(&self, batch: BatchId) -> Result<Arc<BatchInfo>, RequestError> {
        match self.store.query(Query::Batch(batch)).await? {
            QueryResult::Batch(info) => Ok(Arc::from(info)),
            _ => Err(RequestError::unknown_batch(batch)),
        }
    }

    /// Sends the first state; if a round has passed since the subscription began, the batch is queried again.
    fn send_initial(&self, number: u64, info: Arc<BatchInfo>) {
        let mut watch = self.watch();
        let BatchWatch { subscribers, changed, rounds } = &mut *watch;
        let Some(subscriber) = subscribers.find(info.id, number) else { return };
        let mut bytes = line(&subscriber.waiter, Status::Watching, &info);
        if info.state == BatchState::Ended {
            bytes.extend(line(&subscriber.waiter, Status::Ended, &info));
            drop(watch);
            if let Some(BatchSubscriber { waiter, .. }) = self.remove(info.id, number) {
                waiter.send(&bytes);
            }
            return;
        }
        // Within the lock, so that no later line comes before this one.
        subscriber.waiter.outbox.write(None, &bytes);
        let has_missed = subscriber.state.round < *rounds;
        let batch = info.id;
        subscriber.state = BatchSubscriberState { round: *rounds, sent: Some(info) };
        if has_missed {
            changed.insert(batch);
            self.changed.notify_one();
        }
    }

    fn remove(&self, batch: BatchId, number: u64) -> Option<BatchSubscriber> {
        let subscriber = self.watch().subscribers.take(batch, number);
        self.count.fetch_sub(usize::from(subscriber.is_some()), Ordering::SeqCst);
        subscriber
    }

    /// Marks the batches of tasks that have ended.
    pub(super) fn ended(&self, tasks: &[Finished]) {
        if self.is_empty() {
            return;
        }
        let mut last = None;
        let mut watch = self.watch();
        for batch in tasks.iter().filter_map(|finished| finished.task.new.batch()) {
            if last.replace(batch) != Some(batch) {
                watch.mark(batch);
            }
        }
        self.wake(&watch);
    }

    /// A guard to hold while `change` is applied.
    pub(crate) fn changing(&self, change: &AdminCommand) -> BatchChangeGuard<'_> {
        BatchChangeGuard { batches: self, affected: AffectedBatches::by(change) }
    }

    fn mark(&self, affected: AffectedBatches) {
        if affected == AffectedBatches::None || self.is_empty() {
            return;
        }
        let mut watch = self.watch();
        match affected {
            AffectedBatches::None => {}
            AffectedBatches::One(batch) => watch.mark(batch),
            AffectedBatches::Any => {
                let BatchWatch { subscribers, changed, .. } = &mut *watch;
                changed.extend(subscribers.subjects());
            }
        }
        self.wake(&watch);
    }

    fn wake(&self, watch: &BatchWatch) {
        if !watch.changed.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Tells of what has changed, for as long as this is polled.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            self.publish_changed().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Queries the batches that have changed by now, and publishes their states.
    async fn publish_changed(&self) {
        let (round, changed) = {
            let mut watch = self.watch();
            watch.rounds += 1;
            (watch.rounds, std::mem::take(&mut watch.changed))
        };
        let query = |batch| async move { (batch, self.info(batch).await) };
        let mut infos = iter(changed).map(query).buffer_unordered(MAX_QUERIES);
        while let Some((batch, info)) = infos.next().await {
            match info {
                Ok(info) => self.publish(round, info),
                Err(error) => self.release(batch, |waiter| waiter.send_error(&error)),
            }
        }
    }

    /// Sends the state that a batch had in this round to the subscribers from before it.
    fn publish(&self, round: u64, info: Arc<BatchInfo>) {
        if info.state == BatchState::Ended {
            return self.finish(&info);
        }
        let mut watch = self.watch();
        let BatchWatch { subscribers, changed, .. } = &mut *watch;
        for subscriber in subscribers.of(info.id) {
            let Some(sent) = &subscriber.state.sent else { continue };
            if subscriber.state.round >= round {
                // It may have received a newer state, and receives this one with the next round.
                changed.insert(info.id);
            } else if *sent != info {
                // Dropped for a connection that does not keep up.
                subscriber.waiter.outbox.try_send(&line(&subscriber.waiter, Status::Progress, &info));
                subscriber.state.sent = Some(info.clone());
            }
        }
        self.wake(&watch);
    }

    /// Sends the end of a batch to its subscribers, and removes these.
    fn finish(&self, info: &BatchInfo) {
        self.release(info.id, |waiter| waiter.send(&line(waiter, Status::Ended, info)));
    }

    /// Removes the subscribers of a batch that have received their first line, with a last one; the others
    /// find out themselves.
    fn release(&self, batch: BatchId, send: impl Fn(&Waiter)) {
        let removed = self.watch().subscribers.remove(batch, |subscriber| subscriber.state.sent.is_some());
        self.count.fetch_sub(removed.len(), Ordering::SeqCst);
        removed.iter().for_each(|subscriber| send(&subscriber.waiter));
    }

    /// Removes all subscriptions of a connection that has ended.
    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        if !self.is_empty() {
            let removed = self.watch().subscribers.remove_connection(outbox);
            self.count.fetch_sub(removed, Ordering::SeqCst);
        }
    }

    /// Sends all subscribers an error, or the end where that is known without a wait, and removes them.
    pub(super) fn close_all(&self, error: &RequestError) {
        let batches: Vec<_> = self.watch().subscribers.subjects().collect();
        for batch in batches {
            if let Some(Ok(info)) = self.info(batch).now_or_never() {
                if info.state == BatchState::Ended {
                    self.finish(&info);
                }
            }
        }
        let left = self.watch().subscribers.clear();
        self.count.store(0, Ordering::SeqCst);
        left.for_each(|(_, subscriber)| subscriber.waiter.send_error(error));
    }
}

impl BatchWatch {
    fn mark(&mut self, batch: BatchId) {
        if self.subscribers.is_followed(batch) {
            self.changed.insert(batch);
        }
    }
}

impl Drop for BatchChangeGuard<'_> {
    fn drop(&mut self) {
        self.batches.mark(self.affected);
    }
}

impl AffectedBatches {
    /// The batches that `change` affects otherwise than by ends of tasks, which are marked anyway.
    fn by(change: &AdminCommand) -> Self {
        match change {
            AdminCommand::SealBatch(batch) | AdminCommand::Cancel(TaskSelector::Batch(batch)) => {
                Self::One(*batch)
            }
            // The retried tasks may belong to any batch.
            AdminCommand::Retry(_) => Self::Any,
            AdminCommand::Cancel(_)
            | AdminCommand::Forget(_)
            | AdminCommand::Flush { .. }
            | AdminCommand::Pause { .. }
            | AdminCommand::StopChange(_)
            | AdminCommand::OpenBatch { .. }
            | AdminCommand::Schedule { .. }
            | AdminCommand::KeepFunction(_)
            | AdminCommand::RecordHistory(_)
            | AdminCommand::ForgetFunction { .. } => Self::None,
        }
    }
}

fn line(waiter: &Waiter, status: Status, info: &BatchInfo) -> Vec<u8> {
    let mut bytes = Vec::new();
    ReplyWriter::new(&mut bytes).batch(waiter.id.as_deref(), status, info);
    bytes
}

#[cfg(test)]
mod tests;
