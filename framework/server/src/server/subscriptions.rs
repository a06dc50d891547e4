//! The subscribers of tasks: clients that receive progress, log lines and the end, or the end alone.
//!
//! The command `watch` calls [`Subscriptions::subscribe`]. A client whose request names the key of a task
//! that exists already is attached to that task with [`Subscriptions::attach`]. Subscribers of batches and of
//! all tasks have modules of their own.

mod batches;
mod firehose;
mod map;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use framework_protocol::task::{self, LogLine, Progress, TaskId};
use framework_protocol::views::{State, TaskDetails};
use framework_protocol::{ReplyWriter, RequestError, Status};

use self::batches::BatchSubscriptions;
use self::firehose::FirehoseSubscribers;
use self::map::SubscriptionMap;

use super::events::Finished;
use super::outbox::{Outbox, ReplyOrder};
use super::waiters::{EndFormat, Waiter, end_status};
use crate::store::{Query, QueryResult, Store};

/// The bytes of events buffered for a subscriber while the store is queried; further events are dropped.
const MAX_BUFFERED: usize = 256 * 1024;

/// The subscribers of all tasks. One is removed with the end of its task, or with its connection.
pub(super) struct Subscriptions {
    store: Arc<dyn Store>,
    /// The number of subscribers; tells without a lock that there are none, as most of the time.
    count: AtomicUsize,
    tasks: Mutex<SubscriptionMap<SubscriberState>>,
    /// The subscribers of batches.
    pub(super) batches: Arc<BatchSubscriptions>,
    /// The subscribers of everything.
    firehose: FirehoseSubscribers,
}

type TaskSubscriber = map::Subscriber<SubscriberState>;

struct SubscriberState {
    /// Progress and log lines are wanted as well as the end.
    wants_progress: bool,
    /// The events that arrived while the store was queried for the state before; `None` from then on.
    buffered: Option<Buffered>,
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
            tasks: Mutex::default(),
            batches,
            firehose: FirehoseSubscribers::default(),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, SubscriptionMap<SubscriberState>> {
        self.tasks.lock().expect("no panic while the subscribers are locked")
    }

    /// Subscribes a connection to a task. It receives a line with the task's state, the last progress, each
    /// further progress and log line, and at last the end, all of them with this `id`. Counts as a request in
    /// flight.
    ///
    /// # Errors
    /// The task does not exist, or is not kept any more.
    pub(super) async fn subscribe(
        &self,
        outbox: &Arc<Outbox>,
        task: TaskId,
        id: Option<&str>,
    ) -> Result<(), RequestError> {
        outbox.reserve(1);
        let place = ReplyOrder::Anywhere;
        let waiter =
            Waiter { outbox: outbox.clone(), id: id.map(Into::into), place, format: EndFormat::Reply };
        match self.insert(task, waiter, true).await {
            Err((error, Some(_))) => {
                outbox.cancel_reservation();
                Err(error)
            }
            // A subscriber that was removed meanwhile has had its reply.
            Err((_, None)) | Ok(()) => Ok(()),
        }
    }

    /// Subscribes a connection to all tasks. It receives each progress and each end from now on as far as it
    /// keeps up, and the number of lines that it has missed.
    pub(super) fn subscribe_all(&self, outbox: &Arc<Outbox>) {
        self.firehose.add(outbox);
    }

    /// Subscribes a client, whose reply is reserved, to the end of a task that existed already.
    pub(super) async fn attach(&self, task: TaskId, waiter: Waiter) {
        if let Err((error, Some(waiter))) = self.insert(task, waiter, false).await {
            waiter.send_error(&error);
        }
    }

    /// Subscribes a client that knows the state of the task already, as one of an old process does.
    pub(super) fn add_informed(&self, task: TaskId, waiter: Waiter, wants_progress: bool) {
        self.tasks().insert(task, waiter, SubscriberState { wants_progress, buffered: None });
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes all subscribers of tasks that know the state of theirs, with whether they want progress.
    pub(super) fn take_informed(&self) -> Vec<(TaskId, Waiter, bool)> {
        let mut tasks = self.tasks();
        let subjects: Vec<_> = tasks.subjects().collect();
        let mut taken = Vec::new();
        for task in subjects {
            let subscribers = tasks.remove(task, |subscriber| subscriber.state.buffered.is_none());
            let parts = |TaskSubscriber { waiter, state, .. }| (task, waiter, state.wants_progress);
            taken.extend(subscribers.into_iter().map(parts));
        }
        self.count.fetch_sub(taken.len(), Ordering::SeqCst);
        taken
    }

    /// Inserts the subscriber first and queries the state before after that, so that no event falls in
    /// between.
    async fn insert(
        &self,
        task: TaskId,
        waiter: Waiter,
        wants_progress: bool,
    ) -> Result<(), (RequestError, Option<Waiter>)> {
        let state = SubscriberState { wants_progress, buffered: Some(Buffered::default()) };
        let number = self.tasks().insert(task, waiter, state);
        self.count.fetch_add(1, Ordering::SeqCst);
        match self.details(task).await {
            Ok(details) => {
                self.send_initial(task, number, &details);
                Ok(())
            }
            Err(error) => Err((error, self.remove(task, number).map(|subscriber| subscriber.waiter))),
        }
    }

    async fn details(&self, task: TaskId) -> Result<Box<TaskDetails>, RequestError> {
        match self.store.query(Query::Task(task)).await? {
            QueryResult::Task(details) => Ok(details),
            _ => Err(RequestError::unknown_task(task)),
        }
    }

    /// Sends the state before, and the events that have arrived since.
    fn send_initial(&self, task: TaskId, number: u64, details: &TaskDetails) {
        let mut tasks = self.tasks();
        let Some(subscriber) = tasks.find(task, number) else { return };
        let buffered = subscriber.state.buffered.take().unwrap_or_default();
        let bytes = subscriber.render_initial(task, details, &buffered);
        let has_end = buffered.has_end || details.summary.state.is_terminal();
        if !has_end {
            // Within the lock, so that no later line comes before this one.
            return subscriber.waiter.outbox.write(None, &bytes);
        }
        drop(tasks);
        if let Some(TaskSubscriber { waiter, .. }) = self.remove(task, number) {
            waiter.send(&bytes);
        }
    }

    fn remove(&self, task: TaskId, number: u64) -> Option<TaskSubscriber> {
        let subscriber = self.tasks().take(task, number);
        self.count.fetch_sub(usize::from(subscriber.is_some()), Ordering::SeqCst);
        subscriber
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Sends the ends of tasks to their subscribers, and removes these.
    pub(super) fn ended(&self, batch: &[Finished]) {
        if !self.firehose.is_empty() {
            let lines = batch.iter().map(|finished| written(|bytes| render_end(finished, bytes)));
            self.firehose.publish(&lines.collect::<Vec<_>>());
        }
        self.batches.ended(batch);
        if self.is_empty() {
            return;
        }
        for finished in batch {
            let mut tasks = self.tasks();
            for subscriber in tasks.of(finished.id()) {
                if let Some(buffered) = &mut subscriber.state.buffered {
                    subscriber.waiter.render(finished, &mut buffered.bytes);
                    buffered.has_end = true;
                }
            }
            let removed = tasks.remove(finished.id(), |subscriber| subscriber.state.buffered.is_none());
            drop(tasks);
            self.count.fetch_sub(removed.len(), Ordering::SeqCst);
            for TaskSubscriber { waiter, .. } in removed {
                let mut bytes = Vec::new();
                waiter.render(finished, &mut bytes);
                waiter.send(&bytes);
            }
        }
    }

    /// Removes all subscriptions of a connection that has ended.
    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        self.firehose.remove_connection(outbox);
        self.batches.remove_connection(outbox);
        if !self.is_empty() {
            let removed = self.tasks().remove_connection(outbox);
            self.count.fetch_sub(removed, Ordering::SeqCst);
        }
    }

    /// Sends an error to all subscribers, and removes them.
    pub(super) fn close_all(&self, error: &RequestError) {
        self.close_shared(error);
        let left = self.tasks().clear();
        self.count.store(0, Ordering::SeqCst);
        left.for_each(|(_, subscriber)| subscriber.waiter.send_error(error));
    }

    /// Sends an error to the subscribers of batches and of all tasks, and removes them.
    pub(super) fn close_shared(&self, error: &RequestError) {
        self.firehose.close_all(error);
        self.batches.close_all(error);
    }

    /// Sends a line to the subscribers of a task that want progress; dropped for those that do not keep up.
    fn publish(&self, task: TaskId, is_progress: bool, write: impl Fn(ReplyWriter, Option<&str>)) {
        if self.is_empty() {
            return;
        }
        let mut tasks = self.tasks();
        for subscriber in tasks.of(task).filter(|subscriber| subscriber.state.wants_progress) {
            let mut bytes = Vec::new();
            write(ReplyWriter::new(&mut bytes), subscriber.waiter.id.as_deref());
            match &mut subscriber.state.buffered {
                Some(buffered) if buffered.bytes.len() > MAX_BUFFERED => {}
                Some(buffered) => {
                    buffered.has_progress |= is_progress;
                    buffered.bytes.append(&mut bytes);
                }
                None => {
                    subscriber.waiter.outbox.try_send(&bytes);
                }
            }
        }
    }
}

impl task::ProgressSink for Subscriptions {
    fn progress(&self, task: TaskId, progress: &Progress) {
        let write =
            |reply: ReplyWriter, id: Option<&str>| reply.progress(id, task, progress.percent, &progress.text);
        if !self.firehose.is_empty() {
            self.firehose.publish(&[written(|bytes| write(ReplyWriter::new(bytes), None))]);
        }
        self.publish(task, true, write);
    }

    fn line(&self, task: TaskId, line: &LogLine) {
        self.publish(task, false, |reply, id| reply.log(id, task, line.attempt, &line.text));
    }
}

impl TaskSubscriber {
    /// Renders the first lines of a subscription.
    fn render_initial(&self, task: TaskId, details: &TaskDetails, buffered: &Buffered) -> Vec<u8> {
        let mut bytes = Vec::new();
        let id = self.waiter.id.as_deref();
        if self.state.wants_progress {
            ReplyWriter::new(&mut bytes).watching(id, task, details.summary.state.name());
            let progress = details.notes.progress.as_ref().filter(|_| !buffered.has_progress);
            if let Some(Progress { percent, text, .. }) = progress {
                ReplyWriter::new(&mut bytes).progress(id, task, *percent, text);
            }
        }
        bytes.extend_from_slice(&buffered.bytes);
        if !buffered.has_end {
            render_recorded_end(details, &self.waiter, &mut bytes);
        }
        bytes
    }
}

/// Appends the end of a task from its details; nothing if it has not ended.
fn render_recorded_end(details: &TaskDetails, waiter: &Waiter, bytes: &mut Vec<u8>) {
    let task = details.summary.id;
    let error = details.summary.error.as_deref().unwrap_or_default();
    match details.summary.state {
        State::Waiting | State::Running => {}
        State::Done => {
            let result = details.result.as_ref().map_or("null", |result| result.get());
            waiter.render_done(task, result.as_bytes(), bytes);
        }
        State::Failed => waiter.render_failed(task, Status::Failed, error, bytes),
        State::Cancelled => waiter.render_failed(task, Status::Cancelled, error, bytes),
        State::Expired => waiter.render_failed(task, Status::Expired, error, bytes),
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

/// Appends the event of the end of a task.
fn render_end(finished: &Finished, bytes: &mut Vec<u8>) {
    let reply = ReplyWriter::new(bytes);
    match finished.outcome() {
        task::Outcome::Done(result) => reply.done(None, finished.id(), result),
        task::Outcome::Failed(failure) => {
            reply.ended(None, finished.id(), end_status(finished), &failure.message)
        }
    }
}

#[cfg(test)]
mod tests;
