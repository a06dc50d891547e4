//! The clients that wait for the end of a task they sent, and how its reply is rendered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use framework_protocol::task::{Outcome, TaskId};
use framework_protocol::views::State;
use framework_protocol::{ReplyWriter, RequestError, Status};
use rustc_hash::FxHashMap;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::events::Finished;
use super::outbox::{Outbox, ReplyOrder};

/// The waiting clients, by their task.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// The number of them, for the many tasks that end while there are none.
    count: AtomicUsize,
    waiting: Mutex<WaiterMap>,
}

/// Waiting clients by task and by connection.
#[derive(Debug, Default)]
struct WaiterMap {
    by_task: FxHashMap<TaskId, Waiter>,
    /// The tasks of each connection, by the address of its outbox.
    by_connection: FxHashMap<usize, AwaitedTasks>,
}

/// The tasks that one connection waits for.
#[derive(Debug, Default)]
struct AwaitedTasks {
    count: usize,
    /// All of them, and up to about as many that have ended meanwhile.
    tasks: Vec<TaskId>,
}

/// A waiting client, and the form of its reply.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) outbox: Arc<Outbox>,
    pub(super) id: Option<Box<str>>,
    pub(super) place: ReplyOrder,
    pub(super) format: EndFormat,
}

/// The form of the end of a task.
#[derive(Debug)]
pub(super) enum EndFormat {
    /// The reply of the wire.
    Reply,
    /// The result alone, as Workerman's clients expect it; everything else as [`EndFormat::Reply`].
    ResultOnly,
    /// A value, for a protocol with replies of its own; nothing is written to the outbox.
    Value(Arc<OnceLock<TaskEnd>>),
}

/// The end of a task.
#[derive(Debug)]
pub(super) struct TaskEnd {
    pub(super) task: TaskId,
    /// Done, failed, cancelled or expired.
    pub(super) status: Status,
    /// The result as JSON; of a task that is not done, the error.
    pub(super) text: Bytes,
}

impl Waiters {
    fn waiting(&self) -> MutexGuard<'_, WaiterMap> {
        self.waiting.lock().expect("no panic while the waiters are locked")
    }

    /// Registers clients, before their tasks can end. One whose connection has ended is dropped.
    pub(super) fn register(&self, waiters: impl Iterator<Item = (TaskId, Waiter)>) {
        let mut waiting = self.waiting();
        waiting.insert(waiters);
        self.count.store(waiting.by_task.len(), Ordering::Release);
    }

    /// Removes all clients that are still waiting.
    pub(super) fn take_all(&self) -> impl Iterator<Item = (TaskId, Waiter)> + use<> {
        let mut waiting = self.waiting();
        self.count.store(0, Ordering::Release);
        std::mem::take(&mut *waiting).by_task.into_iter()
    }

    /// Removes what a connection waits for, once its outbox is abandoned.
    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut waiting = self.waiting();
        waiting.remove_connection(outbox);
        self.count.store(waiting.by_task.len(), Ordering::Release);
    }

    /// Sends an error to all clients that are still waiting.
    pub(super) fn close_all(&self, error: &RequestError) {
        self.take_all().for_each(|(_, waiter)| waiter.send_error(error));
    }

    /// Sends the end of each task to the client that waits for it; one write per connection and batch.
    pub(super) fn answer(&self, batch: &[Finished]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let waiters: Vec<_> = {
            let mut waiting = self.waiting();
            let awaited: Vec<_> = batch
                .iter()
                .filter_map(|finished| Some((finished, waiting.by_task.remove(&finished.id())?)))
                .collect();
            for group in awaited.chunk_by(is_same_connection) {
                waiting.release(address(&group[0].1.outbox), group.len());
            }
            self.count.store(waiting.by_task.len(), Ordering::Release);
            awaited
        };
        for group in waiters.chunk_by(is_same_connection) {
            let mut bytes = Vec::with_capacity(group.len() * 64);
            let ends: Vec<_> = group
                .iter()
                .map(|(finished, waiter)| {
                    waiter.render(finished, &mut bytes);
                    bytes.len()
                })
                .collect();
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let parts = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]);
            group[0].1.outbox.fulfil(group.iter().map(|(_, waiter)| waiter.place).zip(parts));
        }
    }
}

impl WaiterMap {
    fn insert(&mut self, waiters: impl Iterator<Item = (TaskId, Waiter)>) {
        let mut waiters = waiters.peekable();
        while let Some((_, waiter)) = waiters.peek() {
            let (outbox, is_open) = (waiter.outbox.clone(), waiter.outbox.is_open());
            let mut awaited = is_open.then(|| self.by_connection.entry(address(&outbox)).or_default());
            while let Some((task, waiter)) =
                waiters.next_if(|(_, waiter)| Arc::ptr_eq(&waiter.outbox, &outbox))
            {
                if let Some(awaited) = &mut awaited {
                    awaited.count += 1;
                    awaited.tasks.push(task);
                    self.by_task.insert(task, waiter);
                }
            }
        }
    }

    /// Notes that so many tasks of a connection have ended.
    fn release(&mut self, connection: usize, count: usize) {
        let Some(awaited) = self.by_connection.get_mut(&connection) else { return };
        awaited.count -= count;
        if awaited.count == 0 {
            self.by_connection.remove(&connection);
        } else if awaited.tasks.len() > 2 * awaited.count + 64 {
            awaited.tasks.retain(|task| self.by_task.contains_key(task));
        }
    }

    fn remove_connection(&mut self, outbox: &Arc<Outbox>) {
        let Some(awaited) = self.by_connection.remove(&address(outbox)) else { return };
        for task in awaited.tasks {
            self.by_task.remove(&task);
        }
    }
}

fn address(outbox: &Arc<Outbox>) -> usize {
    Arc::as_ptr(outbox) as usize
}

fn is_same_connection(a: &(&Finished, Waiter), b: &(&Finished, Waiter)) -> bool {
    Arc::ptr_eq(&a.1.outbox, &b.1.outbox)
}

impl Waiter {
    /// Appends the reply for the end of a task.
    pub(super) fn render(&self, finished: &Finished, bytes: &mut Vec<u8>) {
        match finished.outcome() {
            Outcome::Done(result) => self.render_done(finished.id(), result, bytes),
            Outcome::Failed(failure) => {
                self.render_failed(finished.id(), end_status(finished), &failure.message, bytes);
            }
        }
    }

    /// Appends the reply with the result of a task. A result that could be taken for another reply is sent as
    /// the whole object even to a client that expects it alone.
    pub(super) fn render_done(&self, task: TaskId, result: &[u8], bytes: &mut Vec<u8>) {
        match &self.format {
            EndFormat::Value(end) => {
                let text = Bytes::copy_from_slice(result);
                let _ = end.set(TaskEnd { task, status: Status::Done, text });
            }
            _ if result.len() > self.outbox.limit() => self.render_too_long(task, result.len(), bytes),
            EndFormat::ResultOnly if !has_status(result) => {
                bytes.extend_from_slice(result);
                bytes.push(b'\n');
            }
            EndFormat::Reply | EndFormat::ResultOnly => {
                ReplyWriter::new(bytes).done(self.id.as_deref(), task, result);
            }
        }
    }

    /// Appends the error for a result that would end the connection.
    fn render_too_long(&self, task: TaskId, length: usize, bytes: &mut Vec<u8>) {
        let error = RequestError::too_long(format!(
            "Task {task} is done, and its result of {length} bytes is longer than {} (max_output_buffer): \
             GET /tasks/{task} has it.",
            self.outbox.limit()
        ));
        ReplyWriter::new(bytes).refused(self.id.as_deref(), &error);
    }

    /// Appends the reply for the end of a task that has no result.
    pub(super) fn render_failed(&self, task: TaskId, status: Status, error: &str, bytes: &mut Vec<u8>) {
        match &self.format {
            EndFormat::Value(end) => {
                let text = Bytes::copy_from_slice(error.as_bytes());
                let _ = end.set(TaskEnd { task, status, text });
            }
            EndFormat::Reply | EndFormat::ResultOnly => {
                ReplyWriter::new(bytes).ended(self.id.as_deref(), task, status, error);
            }
        }
    }

    /// Sends the reply that was reserved.
    pub(super) fn send(&self, bytes: &[u8]) {
        self.outbox.fulfil(std::iter::once((self.place, bytes)));
    }

    /// Sends an error instead of the reply that was reserved; as a value, that is none.
    pub(super) fn send_error(&self, error: &RequestError) {
        let mut bytes = Vec::new();
        if !matches!(self.format, EndFormat::Value(_)) {
            ReplyWriter::new(&mut bytes).refused(self.id.as_deref(), error);
        }
        self.send(&bytes);
    }
}

/// The status of the reply for a task that has ended.
pub(super) fn end_status(finished: &Finished) -> Status {
    match finished.state() {
        State::Done => Status::Done,
        State::Cancelled => Status::Cancelled,
        State::Expired => Status::Expired,
        _ => Status::Failed,
    }
}

/// `true` if a result looks like a reply: all replies are objects with the field `status`.
fn has_status(result: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default, deserialize_with = "found")]
        status: bool,
    }
    fn found<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
        IgnoredAny::deserialize(value).map(|_| true)
    }
    // An object with the field twice fails to parse here, and is not sent alone either.
    let has_field = || serde_json::from_slice(result).map_or(true, |fields: Fields| fields.status);
    result.trim_ascii_start().starts_with(b"{") && has_field()
}

#[cfg(test)]
mod tests;
