//! Who follows which task: the clients that hear what its handlers tell, and those that wait for its end alone.
//!
//! The command `watch` comes in by [`Subscriptions::follow`]; a client that waits for a task which another request has
//! pushed, because both name one key, by [`Subscriptions::join`]. Who follows a batch, or everything, sits beside.

mod batches;
mod firehose;
mod map;
mod succession;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use framework_protocol::task::{self, LogLine, Progress, TaskId};
use framework_protocol::views::{State, TaskDetails};
use framework_protocol::{ErrorCode, ReplyWriter, RequestError, Status};

use self::batches::BatchSubscriptions;
use self::firehose::FirehoseSubscribers;
use self::map::SubscriptionMap;
pub use self::succession::PendingWaiter;
use super::events::Finished;
use super::outbox::{Outbox, ReplyOrder};
use super::waiters::Waiter;
use crate::store::{Query, QueryResult, Store};

/// How many bytes of news are held while the store is asked; more are missed.
const HELD_MAX: usize = 256 * 1024;

/// The followers of all tasks. A follower goes with the end of its task, or with its connection.
pub(super) struct Subscriptions {
    store: Arc<dyn Store>,
    /// How many there are, for the many moments when there are none.
    count: AtomicUsize,
    seats: Mutex<SubscriptionMap<SubscriberState>>,
    /// Those who follow batches.
    pub(super) batches: Arc<BatchSubscriptions>,
    /// Those who follow all tasks.
    firehose: FirehoseSubscribers,
}

type Subscriber = map::Follower<SubscriberState>;

struct SubscriberState {
    /// Whether it hears what handlers tell; otherwise the end alone.
    listens: bool,
    /// What has come while the store was still asked what there was before; `None` from then on.
    held: Option<Buffered>,
}

#[derive(Default)]
struct Buffered {
    bytes: Vec<u8>,
    has_progress: bool,
    has_end: bool,
}

impl Subscriptions {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let batches = Arc::new(BatchSubscriptions::new(store.clone()));
        Self {
            store,
            count: AtomicUsize::new(0),
            seats: Mutex::default(),
            batches,
            firehose: FirehoseSubscribers::default(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, SubscriptionMap<SubscriberState>> {
        self.seats.lock().expect("no one panics while holding the seats")
    }

    /// Lets a connection follow a task: it is sent a line with the task's state, the last progress, each further
    /// progress and log line, and at last the end, all of them with this `id`. Counts as a request in flight.
    ///
    /// # Errors
    /// When there is no such task, or it is not kept any more.
    pub(super) async fn subscribe(
        &self,
        outbox: &Arc<Outbox>,
        task: TaskId,
        id: Option<&str>,
    ) -> Result<(), RequestError> {
        outbox.reserve(1);
        let place = ReplyOrder::Anywhere;
        let waiter = Waiter { outbox: outbox.clone(), id: id.map(Into::into), place, result_only: false };
        match self.seat(task, waiter, true).await {
            Err((refusal, Some(_))) => {
                outbox.cancel_reservation();
                Err(refusal)
            }
            // Who is not there any more has had an answer.
            Err((_, None)) | Ok(()) => Ok(()),
        }
    }

    /// Lets a connection follow all tasks: it is sent each progress and each end from now on, as far as it reads
    /// them, and is told how many it has missed.
    pub(super) fn subscribe_all(&self, outbox: &Arc<Outbox>) {
        self.firehose.add(outbox);
    }

    /// Lets a client that was promised an outcome have that of a task which was there already.
    pub(super) async fn attach(&self, task: TaskId, waiter: Waiter) {
        if let Err((refusal, Some(waiter))) = self.seat(task, waiter, false).await {
            waiter.send_error(&refusal);
        }
    }

    /// Seats first and then asks what has happened before, so that nothing falls in between.
    async fn seat(
        &self,
        task: TaskId,
        waiter: Waiter,
        listens: bool,
    ) -> Result<(), (RequestError, Option<Waiter>)> {
        let notes = SubscriberState { listens, held: Some(Buffered::default()) };
        let number = self.seats().insert(task, waiter, notes);
        self.count.fetch_add(1, Ordering::SeqCst);
        match self.details(task).await {
            Ok(story) => {
                self.begin(task, number, &story);
                Ok(())
            }
            Err(refusal) => Err((refusal, self.remove(task, number).map(|follower| follower.waiter))),
        }
    }

    async fn details(&self, task: TaskId) -> Result<Box<TaskDetails>, RequestError> {
        match self.store.query(Query::Task(task)).await? {
            QueryResult::Task(story) => Ok(story),
            _ => {
                let message = format!("There is no task {task}, or it is not kept any more.");
                Err(RequestError::new(ErrorCode::UnknownTask, message))
            }
        }
    }

    /// Sends what there was before, and what has come since.
    fn begin(&self, task: TaskId, number: u64, story: &TaskDetails) {
        let mut seats = self.seats();
        let Some(follower) = seats.find(task, number) else { return };
        let held = follower.notes.held.take().unwrap_or_default();
        let bytes = follower.beginning(task, story, &held);
        let has_end = held.has_end || story.summary.state.is_terminal();
        if !has_end {
            // Within the lock, so that no later line comes before this one.
            return follower.waiter.outbox.write(None, &bytes);
        }
        drop(seats);
        if let Some(Subscriber { waiter, .. }) = self.remove(task, number) {
            waiter.send(&bytes);
        }
    }

    fn remove(&self, task: TaskId, number: u64) -> Option<Subscriber> {
        let follower = self.seats().take(task, number);
        self.count.fetch_sub(usize::from(follower.is_some()), Ordering::SeqCst);
        follower
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Tells the followers of tasks that have ended, and lets them go.
    pub(super) fn ended(&self, batch: &[Finished]) {
        if !self.firehose.is_empty() {
            let lines = batch.iter().map(|finished| written(|bytes| finished.render_reply(None, bytes)));
            self.firehose.publish(&lines.collect::<Vec<_>>());
        }
        self.batches.ended(batch);
        if self.is_empty() {
            return;
        }
        for finished in batch {
            let mut seats = self.seats();
            for follower in seats.of(finished.id()) {
                if let Some(held) = &mut follower.notes.held {
                    follower.waiter.render(finished, &mut held.bytes);
                    held.has_end = true;
                }
            }
            let gone = seats.remove(finished.id(), |follower| follower.notes.held.is_none());
            drop(seats);
            self.count.fetch_sub(gone.len(), Ordering::SeqCst);
            for Subscriber { waiter, .. } in gone {
                let mut bytes = Vec::new();
                waiter.render(finished, &mut bytes);
                waiter.send(&bytes);
            }
        }
    }

    /// The connection of this outbox has ended.
    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        self.firehose.remove_connection(outbox);
        self.batches.remove_connection(outbox);
        if !self.is_empty() {
            let gone = self.seats().remove_connection(outbox);
            self.count.fetch_sub(gone, Ordering::SeqCst);
        }
    }

    /// Tells everybody who is left that no end will come.
    pub(super) fn close_all(&self, refusal: &RequestError) {
        self.firehose.close_all(refusal);
        self.batches.close_all(refusal);
        let left = self.seats().clear();
        self.count.store(0, Ordering::SeqCst);
        left.for_each(|(_, follower)| follower.waiter.send_error(refusal));
    }

    /// Sends a line to all who listen to a task; one who does not read misses it.
    fn publish(&self, task: TaskId, is_progress: bool, write: impl Fn(ReplyWriter, Option<&str>)) {
        if self.is_empty() {
            return;
        }
        let mut seats = self.seats();
        for follower in seats.of(task).filter(|follower| follower.notes.listens) {
            let mut bytes = Vec::new();
            write(ReplyWriter::new(&mut bytes), follower.waiter.id.as_deref());
            match &mut follower.notes.held {
                Some(held) if held.bytes.len() > HELD_MAX => {}
                Some(held) => {
                    held.has_progress |= is_progress;
                    held.bytes.append(&mut bytes);
                }
                None => drop(follower.waiter.outbox.try_send(&bytes)),
            }
        }
    }
}

impl task::ProgressSink for Subscriptions {
    fn progress(&self, task: TaskId, progress: &Progress) {
        let tell =
            |reply: ReplyWriter, id: Option<&str>| reply.progress(id, task, progress.percent, &progress.text);
        if !self.firehose.is_empty() {
            self.firehose.publish(&[written(|bytes| tell(ReplyWriter::new(bytes), None))]);
        }
        self.publish(task, true, tell);
    }

    fn line(&self, task: TaskId, line: &LogLine) {
        self.publish(task, false, |reply, id| reply.log(id, task, line.attempt, &line.text));
    }
}

impl Subscriber {
    /// What a follower is sent first.
    fn beginning(&self, task: TaskId, story: &TaskDetails, held: &Buffered) -> Vec<u8> {
        let mut bytes = Vec::new();
        let id = self.waiter.id.as_deref();
        if self.notes.listens {
            ReplyWriter::new(&mut bytes).watching(id, task, story.summary.state.name());
            let progress = story.notes.progress.as_ref().filter(|_| !held.has_progress);
            if let Some(Progress { percent, text, .. }) = progress {
                ReplyWriter::new(&mut bytes).progress(id, task, *percent, text);
            }
        }
        bytes.extend_from_slice(&held.bytes);
        if !held.has_end {
            tell_end(story, &self.waiter, &mut bytes);
        }
        bytes
    }
}

/// The end of a task as its story has it; nothing if it has not ended.
fn tell_end(story: &TaskDetails, waiter: &Waiter, bytes: &mut Vec<u8>) {
    let id = waiter.id.as_deref();
    let task = story.summary.id;
    let error = story.summary.error.as_deref().unwrap_or_default();
    match story.summary.state {
        State::Waiting | State::Running => {}
        State::Done => {
            let result = story.result.as_ref().map_or("null", |result| result.get());
            waiter.render_done(task, result.as_bytes(), bytes);
        }
        State::Failed => ReplyWriter::new(bytes).ended(id, task, Status::Failed, error),
        State::Cancelled => ReplyWriter::new(bytes).ended(id, task, Status::Cancelled, error),
        State::Expired => ReplyWriter::new(bytes).ended(id, task, Status::Expired, error),
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
