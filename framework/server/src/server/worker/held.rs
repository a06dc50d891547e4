//! The tasks that clients of other systems' protocols hold: each was taken by a connection, for a time.
//!
//! ```text
//! session ── take, wait ──> HeldTasks ── ends, lost connections, time over ──> finisher
//!                               ^
//! store ── leases ── hand_out, as far as somebody waits
//! ```
//!
//! A holder is a number that the session has chosen. What it holds goes back when its time is over, or when
//! the holder is removed; nothing of it is written to the disk but the ends of attempts.

mod hand_out;
mod state;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use framework_protocol::task::{Outcome, TaskId, TaskRecord};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::state::{HeldState, HeldTask, WaitingHolder};
use super::super::finisher::{AttemptEnd, BatchHold, EndedBatch};
use super::super::leases::{LeaseHold, Leases};
use crate::store::{Lease, Release, RemoteScope, Store};

/// The interval of looks at whether the last held tasks have ended.
const IDLE_CHECK: Duration = Duration::from_millis(10);

/// All tasks that clients of other systems' protocols hold.
pub(crate) struct HeldTasks {
    store: Arc<dyn Store>,
    leases: Arc<Leases>,
    /// The functions whose tasks these clients take; none where no listener speaks such a protocol.
    functions: Arc<[Arc<str>]>,
    state: Mutex<HeldState>,
    /// Rung when somebody waits anew, or something is over.
    changed: Notify,
    /// `None` once the stages end.
    finisher: Mutex<Option<mpsc::Sender<EndedBatch>>>,
    /// True once nothing can be ended any more.
    closed: watch::Sender<bool>,
    timeouts: AtomicU64,
}

/// Who takes a task, and under which name it is noted in the task's history.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) number: u64,
    pub(crate) name: Arc<str>,
}

/// A task that a holder has been given.
#[derive(Debug, Clone)]
pub struct ReservedTask {
    pub task: Arc<TaskRecord>,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// A task that somebody holds.
#[derive(Debug, Clone)]
pub struct HeldInfo {
    pub taken: ReservedTask,
    /// Whether it is the asking holder that has it.
    pub is_own: bool,
    /// When its time to run is over; `None` is never.
    pub until: Option<Instant>,
}

/// How its holder ends an attempt.
#[derive(Debug)]
pub enum HeldEnd {
    Ended(Outcome),
    /// It goes back as [`Release`] says.
    Released(Release),
    /// It goes back as if it had not been taken.
    Returned,
}

impl HeldEnd {
    /// It is done, and has no result.
    pub fn done() -> Self {
        Self::Ended(Outcome::Done(Bytes::from_static(b"null")))
    }
}

impl HeldTasks {
    /// Nothing is held yet, and nothing can be taken before [`HeldTasks::resume`]; ends go to `finisher`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        leases: Arc<Leases>,
        functions: Arc<[Arc<str>]>,
        finisher: mpsc::Sender<EndedBatch>,
    ) -> Self {
        Self {
            store,
            leases,
            functions,
            state: Mutex::default(),
            changed: Notify::new(),
            finisher: Mutex::new(Some(finisher)),
            closed: watch::Sender::new(false),
            timeouts: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, HeldState> {
        self.state.lock().expect("no panic while the held tasks are locked")
    }

    /// The functions whose tasks may be taken.
    pub(crate) fn functions(&self) -> Vec<String> {
        self.functions.iter().map(|name| name.as_ref().to_owned()).collect()
    }

    /// All tasks that may be taken.
    pub(crate) fn scope(&self) -> Option<RemoteScope> {
        let scope = RemoteScope { functions: self.functions.clone(), queues: None };
        (!self.functions.is_empty()).then_some(scope)
    }

    /// Gives a holder up to `limit` tasks of these queues that are due.
    pub(crate) async fn take(
        &self,
        holder: &Holder,
        queues: &Arc<[Box<str>]>,
        limit: usize,
    ) -> Vec<ReservedTask> {
        let Some(queues) = self.state().open_queues(queues, Instant::now()) else { return Vec::new() };
        let scope = RemoteScope { functions: self.functions.clone(), queues: Some(queues) };
        let leases = self.store.take_remote(&scope, limit).await;
        leases.into_iter().map(|lease| self.hold(holder, lease)).collect()
    }

    /// Gives a holder one waiting task, due or not; `None` when it does not wait.
    pub(crate) async fn take_task(&self, holder: &Holder, id: TaskId) -> Option<ReservedTask> {
        let scope = self.scope().filter(|_| self.state().is_open)?;
        let lease = self.store.take_task(id, &scope).await?;
        Some(self.hold(holder, lease))
    }

    /// Waits for the next task of these queues.
    pub(crate) fn wait(self: &Arc<Self>, holder: &Holder, queues: &Arc<[Box<str>]>) -> TaskWaiter {
        let (sender, receiver) = oneshot::channel();
        let waiter = WaitingHolder { holder: holder.clone(), queues: queues.clone(), sender };
        let number = self.state().add_waiter(waiter);
        self.changed.notify_one();
        TaskWaiter { owner: self.clone(), holder: holder.clone(), number, receiver }
    }

    fn hold(&self, holder: &Holder, lease: Lease) -> ReservedTask {
        // Nothing here can abort it: a cancel is heard when it ends.
        lease.task.set_blocking(true);
        let hold = self.leases.hold_batch(std::slice::from_ref(&lease));
        let taken = ReservedTask { task: lease.task.clone(), attempt: lease.attempt };
        let is_first = self.state().hold(HeldTask::new(holder.clone(), lease, hold, Instant::now()));
        if is_first {
            // Its time is over before that of all others.
            self.changed.notify_one();
        }
        taken
    }

    /// Ends attempts of a holder, and returns once they are settled; `false` for a task that it does not
    /// hold.
    pub(crate) async fn end(&self, holder: &Holder, ends: Vec<(TaskId, HeldEnd)>) -> Vec<bool> {
        let (mut ended, mut holds, mut is_held) = (Vec::new(), Vec::new(), Vec::with_capacity(ends.len()));
        // Before anything is taken from the holder: what is taken reaches it.
        let finisher = self.finisher();
        {
            let mut state = self.state();
            for (id, end) in ends {
                let held = finisher.as_ref().and_then(|_| state.release(holder.number, id));
                is_held.push(held.is_some());
                let Some(held) = held else { continue };
                let (end, hold) = held.end(end);
                ended.push(end);
                holds.push(hold);
            }
        }
        if let Some(finisher) = finisher.filter(|_| !ended.is_empty()) {
            send(&finisher, ended, holds).await;
        }
        is_held
    }

    /// Begins the time to run of a task anew; `false` for one that the holder does not have.
    pub(crate) fn touch(&self, holder: &Holder, id: TaskId) -> bool {
        self.state().touch(holder.number, id, Instant::now())
    }

    /// A task that somebody holds.
    pub(crate) fn find(&self, holder: &Holder, id: TaskId) -> Option<HeldInfo> {
        self.state().find(holder.number, id)
    }

    /// The number of tasks that a holder has, and when the time of the first of them is over.
    pub(crate) fn held_by(&self, holder: &Holder) -> (usize, Option<Instant>) {
        self.state().held_by(holder.number)
    }

    /// Gives back what a holder has, counted as attempts that ended for this reason.
    pub(crate) fn remove_holder(&self, holder: &Holder, reason: &str) {
        let is_changed = self.state().remove_holder(holder.number, reason);
        if is_changed {
            self.changed.notify_one();
        }
    }

    /// Hands out nothing of a queue until this time; `None` is at once again.
    pub(crate) fn pause_queue(&self, queue: &str, until: Option<Instant>) {
        self.state().pause_queue(queue, until);
        self.changed.notify_one();
    }

    /// The number of attempts whose time was over, since the start.
    pub(crate) fn timeouts(&self) -> u64 {
        self.timeouts.load(Ordering::Relaxed)
    }

    /// Lets tasks be taken from now on.
    pub(crate) fn resume(&self) {
        self.state().set_open(true);
        self.changed.notify_one();
    }

    /// Lets nothing be taken from now on.
    pub(crate) fn pause(&self) {
        self.state().set_open(false);
    }

    /// Waits until nobody holds a task. May be cancelled.
    pub(crate) async fn wait_idle(&self) {
        while !self.state().is_idle() {
            tokio::time::sleep(IDLE_CHECK).await;
        }
    }

    /// Gives back all that is held, without counting the attempts.
    pub(crate) fn abort_running(&self) {
        self.state().give_back_all();
        self.changed.notify_one();
    }

    /// Nothing more goes to the finisher, and the connections need not stay open.
    pub(crate) fn close(&self) {
        self.finisher.lock().expect("no panic while the finisher is locked").take();
        self.state().set_open(false);
        self.closed.send_replace(true);
    }

    /// Becomes true once nothing can be ended any more.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    fn finisher(&self) -> Option<mpsc::Sender<EndedBatch>> {
        self.finisher.lock().expect("no panic while the finisher is locked").clone()
    }
}

/// Sends ended attempts to the finisher, and waits until they are settled.
async fn send(finisher: &mpsc::Sender<EndedBatch>, ends: Vec<AttemptEnd>, holds: Vec<LeaseHold>) {
    let (settled, is_settled) = oneshot::channel();
    let batch = EndedBatch { ends, hold: BatchHold::Held(holds, settled) };
    if finisher.send(batch).await.is_err() {
        tracing::warn!("the end of a held task came after the end of the server; its task runs again");
    }
    // Dropped, not sent: the hold ends with the settlement.
    let _ = is_settled.await;
}

/// A wait for a task; dropped, a task that came meanwhile goes back.
pub(crate) struct TaskWaiter {
    owner: Arc<HeldTasks>,
    holder: Holder,
    number: u64,
    receiver: oneshot::Receiver<ReservedTask>,
}

impl TaskWaiter {
    /// The task; `None` when there never will be one. May be cancelled.
    pub(crate) async fn taken(&mut self) -> Option<ReservedTask> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for TaskWaiter {
    fn drop(&mut self) {
        let mut state = self.owner.state();
        state.remove_waiter(self.number);
        let Ok(taken) = self.receiver.try_recv() else { return };
        state.give_back(self.holder.number, taken.task.id);
        drop(state);
        self.owner.changed.notify_one();
    }
}
