//! Who follows which batch: they hear how far it is, a few times a second at most, and of its end.
//!
//! What happens only marks a batch as changed; the store is asked for its state once for all that has happened
//! within a [`PAUSE`], and for all who follow it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::task::BatchId;
use framework_protocol::views::{BatchInfo, BatchState, TaskSelector};
use framework_protocol::{ErrorCode, ReplyWriter, RequestError, Status};
use futures_util::FutureExt;
use futures_util::stream::{StreamExt, iter};
use rustc_hash::FxHashSet;
use tokio::sync::Notify;

use super::map::{self, SubscriptionMap};
use crate::server::events::Finished;
use crate::server::outbox::{Outbox, ReplyOrder};
use crate::server::waiters::Waiter;
use crate::store::{AdminCommand, Query, QueryResult, Store};

/// How long a batch stays as it was told.
const PAUSE: Duration = Duration::from_millis(100);
/// How many batches the store is asked for at once.
const QUESTIONS: usize = 32;

/// The followers of all batches. A follower goes with the end of its batch, or with its connection.
pub(crate) struct BatchSubscriptions {
    store: Arc<dyn Store>,
    /// How many there are, for the many moments when there are none.
    count: AtomicUsize,
    circle: Mutex<BatchWatch>,
    changed: Notify,
}

#[derive(Default)]
struct BatchWatch {
    seats: SubscriptionMap<BatchSubscriberState>,
    /// Those to be told of anew.
    changed: FxHashSet<BatchId>,
    /// How often the store was asked for what has changed.
    rounds: u64,
}

type BatchSubscriber = map::Follower<BatchSubscriberState>;

struct BatchSubscriberState {
    /// The round before which it began to follow.
    round: u64,
    /// What it was told last; `None` while the store is still asked for what there is before.
    told: Option<Arc<BatchInfo>>,
}

/// A change that is under way: when it is over, however that comes, the followers are told of what it has done.
pub(crate) struct BatchChangeGuard<'a> {
    batches: &'a BatchSubscriptions,
    affected: AffectedBatches,
}

/// Which batches a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AffectedBatches {
    None,
    One(BatchId),
    Any,
}

impl BatchSubscriptions {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, count: AtomicUsize::new(0), circle: Mutex::default(), changed: Notify::new() }
    }

    fn circle(&self) -> MutexGuard<'_, BatchWatch> {
        self.circle.lock().expect("no one panics while holding the circle")
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Lets a connection follow a batch: it is sent a line with the batch's state, further ones while that changes,
    /// and a last one when the batch has ended, all of them with this `id`. Counts as a request in flight.
    ///
    /// # Errors
    /// When there is no such batch, or it is not kept any more.
    pub(crate) async fn subscribe(
        &self,
        outbox: &Arc<Outbox>,
        batch: BatchId,
        id: Option<&str>,
    ) -> Result<(), RequestError> {
        outbox.reserve(1);
        let place = ReplyOrder::Anywhere;
        let waiter = Waiter { outbox: outbox.clone(), id: id.map(Into::into), place, result_only: false };
        // Seated first and asked then what there is, so that nothing falls in between.
        let number = {
            let mut circle = self.circle();
            let round = circle.rounds;
            circle.seats.insert(batch, waiter, BatchSubscriberState { round, told: None })
        };
        self.count.fetch_add(1, Ordering::SeqCst);
        match self.info(batch).await {
            Ok(story) => {
                self.begin(number, story);
                Ok(())
            }
            Err(refusal) => match self.remove(batch, number) {
                Some(_) => {
                    outbox.cancel_reservation();
                    Err(refusal)
                }
                // Who is not there any more has had an answer.
                None => Ok(()),
            },
        }
    }

    async fn info(&self, batch: BatchId) -> Result<Arc<BatchInfo>, RequestError> {
        match self.store.query(Query::Batch(batch)).await? {
            QueryResult::Batch(story) => Ok(Arc::from(story)),
            _ => {
                let message = format!("There is no batch {batch}, or it is not kept any more.");
                Err(RequestError::new(ErrorCode::UnknownTask, message))
            }
        }
    }

    /// Sends what there is; whatever else was told meanwhile is asked for again.
    fn begin(&self, number: u64, story: Arc<BatchInfo>) {
        let mut circle = self.circle();
        let BatchWatch { seats, changed, rounds } = &mut *circle;
        let Some(follower) = seats.find(story.id, number) else { return };
        let mut bytes = line(&follower.waiter, Status::Watching, &story);
        if story.state == BatchState::Ended {
            bytes.extend(line(&follower.waiter, Status::Ended, &story));
            drop(circle);
            if let Some(BatchSubscriber { waiter, .. }) = self.remove(story.id, number) {
                waiter.send(&bytes);
            }
            return;
        }
        // Within the lock, so that no later line comes before this one.
        follower.waiter.outbox.write(None, &bytes);
        let has_missed = follower.notes.round < *rounds;
        let batch = story.id;
        follower.notes = BatchSubscriberState { round: *rounds, told: Some(story) };
        if has_missed {
            changed.insert(batch);
            self.changed.notify_one();
        }
    }

    fn remove(&self, batch: BatchId, number: u64) -> Option<BatchSubscriber> {
        let follower = self.circle().seats.take(batch, number);
        self.count.fetch_sub(usize::from(follower.is_some()), Ordering::SeqCst);
        follower
    }

    /// Tasks have ended; those who follow their batches hear of it soon.
    pub(super) fn ended(&self, tasks: &[Finished]) {
        if self.is_empty() {
            return;
        }
        let mut last = None;
        let mut circle = self.circle();
        for batch in tasks.iter().filter_map(|finished| finished.task.new.batch()) {
            if last.replace(batch) != Some(batch) {
                circle.mark(batch);
            }
        }
        self.wake(&circle);
    }

    /// To be held while somebody makes a change.
    pub(crate) fn changing(&self, change: &AdminCommand) -> BatchChangeGuard<'_> {
        BatchChangeGuard { batches: self, affected: AffectedBatches::by(change) }
    }

    fn mark(&self, affected: AffectedBatches) {
        if affected == AffectedBatches::None || self.is_empty() {
            return;
        }
        let mut circle = self.circle();
        match affected {
            AffectedBatches::None => {}
            AffectedBatches::One(batch) => circle.mark(batch),
            AffectedBatches::Any => {
                let BatchWatch { seats, changed, .. } = &mut *circle;
                changed.extend(seats.subjects());
            }
        }
        self.wake(&circle);
    }

    fn wake(&self, circle: &BatchWatch) {
        if !circle.changed.is_empty() {
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

    /// Tells of what has changed by now.
    async fn publish_changed(&self) {
        let (round, changed) = {
            let mut circle = self.circle();
            circle.rounds += 1;
            (circle.rounds, std::mem::take(&mut circle.changed))
        };
        let ask = |batch| async move { (batch, self.info(batch).await) };
        let mut stories = iter(changed).map(ask).buffer_unordered(QUESTIONS);
        while let Some((batch, story)) = stories.next().await {
            match story {
                Ok(story) => self.publish(round, story),
                Err(refusal) => self.let_go(batch, |waiter| waiter.send_error(&refusal)),
            }
        }
    }

    /// Sends the state that a batch had in this round to those who began to follow before.
    fn publish(&self, round: u64, story: Arc<BatchInfo>) {
        if story.state == BatchState::Ended {
            return self.conclude(&story);
        }
        let mut circle = self.circle();
        let BatchWatch { seats, changed, .. } = &mut *circle;
        for follower in seats.of(story.id) {
            let Some(told) = &follower.notes.told else { continue };
            if follower.notes.round >= round {
                // It may have heard of something newer, and hears of this the next time.
                changed.insert(story.id);
            } else if *told != story {
                // Who does not read misses it.
                follower.waiter.outbox.try_send(&line(&follower.waiter, Status::Progress, &story));
                follower.notes.told = Some(story.clone());
            }
        }
        self.wake(&circle);
    }

    /// A batch has ended, and its followers go.
    fn conclude(&self, story: &BatchInfo) {
        self.let_go(story.id, |waiter| waiter.send(&line(waiter, Status::Ended, story)));
    }

    /// Lets go of those who follow a batch and were told their first line; the others find out themselves.
    fn let_go(&self, batch: BatchId, tell: impl Fn(&Waiter)) {
        let gone = self.circle().seats.remove(batch, |follower| follower.notes.told.is_some());
        self.count.fetch_sub(gone.len(), Ordering::SeqCst);
        gone.iter().for_each(|follower| tell(&follower.waiter));
    }

    /// The connection of this outbox has ended.
    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        if !self.is_empty() {
            let gone = self.circle().seats.remove_connection(outbox);
            self.count.fetch_sub(gone, Ordering::SeqCst);
        }
    }

    /// Tells everybody who is left that nothing more comes, or the end, if that is known without a wait.
    pub(super) fn close_all(&self, refusal: &RequestError) {
        let batches: Vec<_> = self.circle().seats.subjects().collect();
        for batch in batches {
            if let Some(Ok(story)) = self.info(batch).now_or_never() {
                if story.state == BatchState::Ended {
                    self.conclude(&story);
                }
            }
        }
        let left = self.circle().seats.clear();
        self.count.store(0, Ordering::SeqCst);
        left.for_each(|(_, follower)| follower.waiter.send_error(refusal));
    }
}

impl BatchWatch {
    fn mark(&mut self, batch: BatchId) {
        if self.seats.is_followed(batch) {
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
    /// Ends of tasks are told anyway.
    fn by(change: &AdminCommand) -> Self {
        match change {
            AdminCommand::SealBatch(batch) | AdminCommand::Cancel(TaskSelector::Batch(batch)) => {
                Self::One(*batch)
            }
            // Tasks that wait again are of any batch.
            AdminCommand::Retry(_) => Self::Any,
            AdminCommand::Cancel(_)
            | AdminCommand::Forget(_)
            | AdminCommand::Flush { .. }
            | AdminCommand::Pause { .. }
            | AdminCommand::OpenBatch { .. }
            | AdminCommand::Schedule { .. } => Self::None,
        }
    }
}

fn line(waiter: &Waiter, status: Status, story: &BatchInfo) -> Vec<u8> {
    let mut bytes = Vec::new();
    ReplyWriter::new(&mut bytes).batch(waiter.id.as_deref(), status, story);
    bytes
}

#[cfg(test)]
mod tests;
