//! Tasks in memory: as fast as it gets, and gone with the process.

use std::cmp::Reverse;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::order::{Order, Waiting};
use super::{Counts, Depth, Lease, Ledger, Settlement, Store, Token, Verdict};
use crate::protocol::{Code, Refusal};
use crate::task::{NewTask, Task, TaskId};

/// A store that lasts as long as the process.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    state: Mutex<State>,
    /// Rung when there is work for one more taker.
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    order: Order,
    running: FxHashMap<TaskId, Running>,
    next_id: TaskId,
    next_token: u64,
    ended: Ledger,
    /// Takers that wait for the bell.
    idle: usize,
    /// A task has become the next one to fall due: who sleeps until another one does is to look again.
    sooner: bool,
    closed: bool,
}

#[derive(Debug)]
struct Running {
    token: Token,
    attempts: u32,
    task: Arc<Task>,
}

impl Memory {
    /// A store that holds up to `limit` waiting tasks.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), bell: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding the books")
    }

    fn push_now(&self, batch: Vec<NewTask>) -> Vec<Result<TaskId, Refusal>> {
        let now = Instant::now();
        // All that needs no lock is done before taking it.
        let tasks: Vec<_> = batch.into_iter().map(|new| Arc::new(Task::new(0, new, now))).collect();
        let mut state = self.state();
        tasks.into_iter().map(|task| state.accept(task, self.limit)).collect()
    }

    fn ring_now(&self) {
        let mut state = self.state();
        let sooner = std::mem::take(&mut state.sooner);
        let wake = state.idle > 0 && (sooner || state.order.due() > 0);
        drop(state);
        if wake {
            self.bell.notify_one();
        }
    }

    fn take_now(&self, limit: usize) -> Vec<Lease> {
        let mut state = self.state();
        state.order.wake(Instant::now());
        let mut leases = Vec::with_capacity(limit.min(state.order.due()));
        let State { order, running, next_token, .. } = &mut *state;
        order.take(limit, |Waiting { task, attempts }| {
            let token = Token(*next_token);
            *next_token += 1;
            running.insert(task.id, Running { token, attempts, task: task.clone() });
            leases.push(Lease { task, attempt: attempts + 1, token });
        });
        drop(state);
        // Each taker wakes the next one, so that one push does not wake them all for nothing.
        self.ring_now();
        leases
    }

    fn settle_now(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = Instant::now();
        let mut settled = Vec::with_capacity(batch.len());
        // The last reference to a task frees it: outside of the lock.
        let mut gone = Vec::with_capacity(batch.len());
        let mut returned = Vec::new();
        let mut state = self.state();
        for settlement in batch {
            settled.push(state.settle(settlement, now, &mut gone, &mut returned));
        }
        // The last one first, so that the first one ends up in front.
        returned.sort_unstable_by_key(|waiting: &Waiting| Reverse(waiting.task.id));
        for waiting in returned {
            state.order.push_front(waiting);
        }
        drop(state);
        self.ring_now();
        settled
    }

    /// What a taker waits for: `Some(whether there is work)`, or when to look again.
    fn look(&self, state: &mut State) -> Result<bool, Option<Instant>> {
        state.order.wake(Instant::now());
        match state.order.due() {
            0 if state.closed => Ok(false),
            0 => Err(state.order.next_due()),
            _ => Ok(true),
        }
    }

    async fn wait(&self) -> bool {
        loop {
            let mut bell = std::pin::pin!(self.bell.notified());
            let next_due = {
                let mut state = self.state();
                match self.look(&mut state) {
                    Ok(work) => return work,
                    Err(next_due) => {
                        // Enlisted before the lock goes: a push from now on rings for this taker.
                        bell.as_mut().enable();
                        state.idle += 1;
                        next_due
                    }
                }
            };
            let _idle = Idle(self);
            match next_due {
                None => bell.await,
                Some(at) => drop(tokio::time::timeout_at(at.into(), bell).await),
            }
        }
    }
}

/// A taker that waits, counted as long as it does.
struct Idle<'a>(&'a Memory);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.state().idle -= 1;
    }
}

impl State {
    fn accept(&mut self, mut task: Arc<Task>, limit: usize) -> Result<TaskId, Refusal> {
        if self.closed {
            return Err(Refusal::new(Code::ShuttingDown, "The server is shutting down."));
        }
        if self.order.len() >= limit {
            let message = format!("The queue is full: {limit} tasks are waiting (queue_max_length).");
            return Err(Refusal::new(Code::Busy, message));
        }
        let id = self.next_id;
        self.next_id += 1;
        Arc::get_mut(&mut task).expect("nobody else has seen the task").id = id;
        self.ended.accepted += 1;
        let (delay, accepted) = (task.new.delay, task.accepted);
        let waiting = Waiting { task, attempts: 0 };
        match delay.is_zero() {
            true => self.order.push(waiting),
            false => self.sooner |= self.order.push_later(waiting, accepted + delay),
        }
        Ok(id)
    }

    fn settle(
        &mut self,
        settlement: Settlement,
        now: Instant,
        gone: &mut Vec<Arc<Task>>,
        returned: &mut Vec<Waiting>,
    ) -> bool {
        let Settlement { task, token, verdict } = settlement;
        if self.running.get(&task).is_none_or(|running| running.token != token) {
            return false;
        }
        let Some(Running { attempts, task, .. }) = self.running.remove(&task) else { return false };
        match verdict {
            Verdict::Done(_) => {
                self.ended.done += 1;
                gone.push(task);
            }
            Verdict::Failed(_) => {
                self.ended.failed += 1;
                gone.push(task);
            }
            Verdict::Retry(pause) => {
                let waiting = Waiting { task, attempts: attempts + 1 };
                self.sooner |= self.order.push_later(waiting, now + pause);
            }
            Verdict::Return => returned.push(Waiting { task, attempts }),
        }
        true
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts {
            ledger: Ledger {
                waiting: self.order.len() as u64,
                running: self.running.len() as u64,
                ..self.ended
            },
            oldest_waiting_ms: self.order.oldest().map(|oldest| oldest.elapsed().as_millis() as u64),
            ..Counts::default()
        };
        for (name, due, delayed) in self.order.depths() {
            let depth = Depth { waiting: due as u64, delayed: delayed as u64, running: 0 };
            counts.queues.insert(name.to_owned(), depth);
        }
        for running in self.running.values() {
            counts.queues.entry(running.task.new.queue.to_owned()).or_default().running += 1;
        }
        counts
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn push(&self, batch: Vec<NewTask>) -> BoxFuture<'_, Vec<Result<TaskId, Refusal>>> {
        ready(self.push_now(batch)).boxed()
    }

    fn ring(&self) {
        self.ring_now();
    }

    fn ready(&self) -> BoxFuture<'_, bool> {
        self.wait().boxed()
    }

    fn take(&self, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        ready(self.take_now(limit)).boxed()
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>> {
        ready(self.settle_now(batch)).boxed()
    }

    fn counts(&self) -> BoxFuture<'_, Counts> {
        ready(self.state().counts()).boxed()
    }

    fn close(&self) {
        self.state().closed = true;
        self.bell.notify_waiters();
    }
}
