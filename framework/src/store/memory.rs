//! Tasks in memory: as fast as it gets, and gone with the process.

mod archive;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustc_hash::FxHashSet;

use self::archive::Archive;
pub(super) use self::archive::{conflict, no_task, queues};
use super::bell::{Bell, Stir};
use super::books::{Arrival, Books, Record};
use super::story::State;
use super::{
    Accepted, Cancelled, Change, Changed, Clock, Counts, Departed, Found, Lease, Mark, Now, Policy, Question,
    Settlement, Store, Target, Token,
};
use crate::protocol::{Code, Durability, Refusal};
use crate::task::{Handlers, NewTask, Task, TaskId, Ticket};

/// A store that lasts as long as the process.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    handlers: Arc<Handlers>,
    state: Mutex<Desk>,
    bell: Bell,
}

/// The books with all that is kept beside them.
#[derive(Debug)]
struct Desk {
    books: Books,
    archive: Archive,
    next_id: TaskId,
}

impl Memory {
    /// An empty store.
    pub fn new(policy: Policy, handlers: Arc<Handlers>, clock: Clock) -> Self {
        let bell = Bell::new(policy.lines.len());
        let archive = Archive::new(&policy);
        let state = Mutex::new(Desk { books: Books::new(policy, usize::MAX), archive, next_id: 0 });
        Self { clock, handlers, state, bell }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().expect("no one panics while holding the books")
    }

    fn push_now(&self, batch: Vec<NewTask>) -> Vec<Result<Accepted, Refusal>> {
        let (now, at) = (self.clock.now(), Instant::now());
        // All that needs no lock is done before taking it.
        let tasks: Vec<_> =
            batch.into_iter().map(|new| Arc::new(Task::new(0, new, at, now.wall_ms))).collect();
        let mut desk = self.desk();
        tasks.into_iter().map(|task| desk.accept(task, now)).collect()
    }

    fn take_now(&self, line: usize, limit: usize) -> Vec<Lease> {
        let now = self.clock.now();
        let mut desk = self.desk();
        desk.wake(now);
        let taken = desk.books.take(line, limit, now);
        // Each taker wakes the next one, so that one push does not wake them all for nothing.
        let stir = if desk.books.is_due(line, now) { Stir::line(line) } else { Stir::default() };
        drop(desk);
        self.bell.ring(stir);
        let lease = |taken: super::books::Taken| {
            let task = taken.task?;
            Some(Lease { attempt: task.attempts() + 1, token: taken.token, mark: Mark::default(), task })
        };
        taken.into_iter().filter_map(lease).collect()
    }

    fn settle_now(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::new();
        let mut desk = self.desk();
        let (settled, leftovers) = desk.books.settle(batch, &self.handlers, now, &mut records);
        let gone = desk.file(records, now);
        let stir = desk.books.stir(now);
        drop(desk);
        self.bell.ring(stir);
        // The last reference to a task frees it: outside of the lock.
        drop((leftovers, gone));
        settled
    }

    fn change_now(&self, change: Change) -> Result<Changed, Refusal> {
        let now = self.clock.now();
        let mut desk = self.desk();
        let changed = desk.change(change, &self.handlers, now);
        let stir = desk.books.stir(now);
        drop(desk);
        self.bell.ring(stir);
        changed
    }
}

impl Desk {
    fn accept(&mut self, mut task: Arc<Task>, now: Now) -> Result<Accepted, Refusal> {
        if let Some(id) = self.archive.known(&task.new, now) {
            return Ok(Accepted { id, is_new: false });
        }
        self.books.admits(&task.new, 0)?;
        let id = self.next_id;
        self.next_id += 1;
        Arc::get_mut(&mut task).expect("nobody else has seen the task").id = id;
        self.archive.remember(&task.new, id, now);
        let arrival = self.books.arrival(task, now);
        self.books.accept(arrival);
        Ok(Accepted { id, is_new: true })
    }

    /// Moves on with the time.
    fn wake(&mut self, now: Now) {
        let mut records = Vec::new();
        let expired = self.books.wake(now, &mut records);
        if !expired.is_empty() {
            let ids = expired.into_iter().collect();
            self.depart(&ids, State::Expired, "Nobody started it in time.", true, now, &mut records);
        }
        if !records.is_empty() {
            drop(self.file(records, now));
        }
    }

    /// Ends waiting tasks; how many of these there were.
    fn depart(
        &mut self,
        ids: &FxHashSet<TaskId>,
        state: State,
        error: &str,
        keep: bool,
        now: Now,
        records: &mut Vec<Record>,
    ) -> u64 {
        let withdrawn = self.books.withdraw(ids);
        let count = withdrawn.len() as u64;
        for task in withdrawn.into_iter().filter_map(|waiting| waiting.task) {
            self.books.depart(task, state, error, keep, now, records);
        }
        self.books.note_batches(now, records);
        count
    }

    /// Puts away what has happened; gives what nobody needs any more.
    fn file(&mut self, records: Vec<Record>, now: Now) -> Vec<Arc<Task>> {
        let mut gone = Vec::new();
        for record in records {
            match record {
                Record::Ended(ended) => self.archive.keep(ended, &mut gone),
                Record::Retry { task, run, error, .. } => self.archive.note(task.id, run, error),
                Record::Batch(story) => self.archive.batch(story),
                Record::Follow(follow) => {
                    let task = Task::new(self.next_id, follow.new, Instant::now(), now.wall_ms);
                    self.next_id += 1;
                    if let Some(batch) = follow.completes {
                        self.archive.complete(batch, task.id);
                    }
                    let arrival: Arrival = self.books.arrival(Arc::new(task), now);
                    self.books.accept(arrival);
                }
            }
        }
        self.archive.trim(now, &mut gone);
        gone
    }

    fn change(&mut self, change: Change, handlers: &Handlers, now: Now) -> Result<Changed, Refusal> {
        self.wake(now);
        let mut records = Vec::new();
        let changed = match change {
            Change::Cancel(target) => self.cancel(&target, now, &mut records),
            Change::Retry(target) => self.retry(&target, now),
            Change::Forget(target) => self.archive.forget(&target, &self.books).map(Changed::Tasks),
            Change::Flush { queue } => {
                let ids = self.books.waiting_ids(queue.as_deref()).into_iter().collect();
                let count =
                    self.depart(&ids, State::Cancelled, "The queue was flushed.", false, now, &mut records);
                Ok(Changed::Tasks(count))
            }
            Change::Pause { queue, paused } => {
                let known = self.books.order().known(&queue);
                let queue = known.map_or_else(|| handlers.queue(&queue), Ok)?;
                self.books.order().pause(queue, paused);
                Ok(Changed::Done)
            }
            Change::OpenBatch { name, function, then } => {
                let story = self.books.batches().open(name, function, then, now.wall_ms);
                Ok(Changed::Batch(story.id))
            }
            Change::SealBatch(id) => self.books.seal(id, now, &mut records).map(|()| Changed::Done),
            Change::Schedule { name, note } => {
                self.archive.schedule(name, note);
                Ok(Changed::Done)
            }
        };
        drop(self.file(records, now));
        changed
    }

    fn cancel(&mut self, target: &Target, now: Now, records: &mut Vec<Record>) -> Result<Changed, Refusal> {
        const WHY: &str = "It was cancelled before it ran.";
        match target {
            Target::Task(id) => {
                if let Some(cancelled) = self.books.cancel_running(*id) {
                    return Ok(Changed::Cancelled(cancelled));
                }
                let ids = std::iter::once(*id).collect();
                match self.depart(&ids, State::Cancelled, WHY, true, now, records) {
                    0 => Err(self.archive.has_ended(*id)),
                    _ => Ok(Changed::Cancelled(Cancelled::AtOnce)),
                }
            }
            Target::Batch(batch) => {
                if self.books.batches().get(*batch).is_none() {
                    return Err(self.archive.batch_has_ended(*batch));
                }
                let of_batch =
                    |task: Option<&Arc<Task>>| task.is_some_and(|task| task.new.batch() == Some(*batch));
                let running = self.books.running().filter(|(_, task)| of_batch(*task));
                let running: Vec<_> = running.map(|(id, _)| id).collect();
                let waiting = self.books.iter().filter(|(_, task, ..)| of_batch(*task));
                let waiting = waiting.map(|(id, ..)| id).collect();
                let asked = running.iter().filter_map(|id| self.books.cancel_running(*id)).count();
                self.books.batches().give_up(*batch);
                let ended = self.depart(&waiting, State::Cancelled, WHY, true, now, records);
                Ok(Changed::Tasks(ended + asked as u64))
            }
            Target::Failed { .. } => Err(nothing_to_cancel()),
        }
    }

    fn retry(&mut self, target: &Target, now: Now) -> Result<Changed, Refusal> {
        let again = self.archive.take_back(target, &self.books)?;
        let count = again.len() as u64;
        self.books.readmit(again, now);
        Ok(Changed::Tasks(count))
    }
}

pub(super) fn nothing_to_cancel() -> Refusal {
    Refusal::new(Code::BadRequest, "Failed tasks have ended: there is nothing to cancel.")
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn push(&self, batch: Vec<NewTask>) -> BoxFuture<'_, Vec<Result<Accepted, Refusal>>> {
        ready(self.push_now(batch)).boxed()
    }

    fn ring(&self) {
        let now = self.clock.now();
        let stir = self.desk().books.stir(now);
        self.bell.ring(stir);
    }

    fn ready(&self, line: usize) -> BoxFuture<'_, bool> {
        let look = move || {
            let now = self.clock.now();
            let mut desk = self.desk();
            desk.wake(now);
            match desk.books.is_due(line, now) {
                true => Ok(true),
                false if desk.books.is_closed() => Ok(false),
                false => Err(desk.books.next_due(line, now)),
            }
        };
        self.bell.wait(line, look).boxed()
    }

    fn take(&self, line: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        ready(self.take_now(line, limit)).boxed()
    }

    fn renew(&self, leases: Vec<(TaskId, Token)>) -> BoxFuture<'_, Vec<bool>> {
        let now = self.clock.now();
        let mut desk = self.desk();
        ready(leases.into_iter().map(|(id, token)| desk.books.renew(id, token, now)).collect()).boxed()
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>> {
        ready(self.settle_now(batch)).boxed()
    }

    fn departed(&self) -> BoxFuture<'_, Vec<Departed>> {
        let look = move || {
            let now = self.clock.now();
            let mut desk = self.desk();
            desk.wake(now);
            let departed = desk.books.departed();
            match departed.is_empty() {
                true => Err(desk.books.next_expiry(now)),
                false => Ok(departed),
            }
        };
        self.bell.wait_departed(look).boxed()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, Refusal>> {
        ready(self.change_now(change)).boxed()
    }

    fn find(&self, question: Question) -> BoxFuture<'_, Result<Found, Refusal>> {
        let now = self.clock.now();
        let mut desk = self.desk();
        desk.wake(now);
        let Desk { books, archive, .. } = &mut *desk;
        ready(Ok(archive.find(question, books, now))).boxed()
    }

    fn counts(&self) -> BoxFuture<'_, Counts> {
        let now = self.clock.now();
        let mut desk = self.desk();
        desk.wake(now);
        let mut counts = desk.books.counts();
        let oldest = desk.books.oldest().and_then(|(_, task)| task);
        counts.oldest_waiting_ms = oldest.map(|task| now.wall_ms.saturating_sub(task.accepted_ms));
        ready(counts).boxed()
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn close(&self) {
        self.desk().books.close();
        self.bell.ring_all();
    }

    /// Nothing survives this process, and nobody can have it.
    fn release(&self) -> BoxFuture<'_, Vec<(TaskId, Ticket)>> {
        std::future::ready(Vec::new()).boxed()
    }
}
