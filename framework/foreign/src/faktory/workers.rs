//! The workers that are connected, each by one or more connections, and the jobs that they have fetched.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};
use std::time::Instant;

use framework_protocol::task::TaskId;
use framework_server::server::ForeignTasks;

/// Entries of jobs that are over are looked for when there are so many, and twice as many as after the last
/// look.
const SWEEP_MIN: usize = 1_024;

/// What all connections share.
pub(super) struct WorkerRegistry {
    state: Mutex<RegistryState>,
    pub(super) started: Instant,
}

#[derive(Default)]
struct RegistryState {
    /// By the names that they have given themselves.
    workers: HashMap<String, Weak<Worker>>,
    /// The fetched jobs, by the ids of their clients.
    fetched: HashMap<String, (Weak<Worker>, TaskId)>,
    next_sweep: usize,
    pushed: u64,
    done: u64,
    failed: u64,
    commands: u64,
    /// The queues that clients have named.
    queues: Vec<String>,
}

/// A worker. What it has fetched goes back when its last connection is gone.
pub(super) struct Worker {
    pub(super) tasks: ForeignTasks,
}

/// The numbers since the start of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) pushed: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) commands: u64,
}

impl WorkerRegistry {
    /// That of the process.
    pub(super) fn get() -> &'static Self {
        static SHARED: LazyLock<WorkerRegistry> =
            LazyLock::new(|| WorkerRegistry { state: Mutex::default(), started: Instant::now() });
        &SHARED
    }

    fn state(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().expect("no panic while the workers are locked")
    }

    /// The worker of this name, which is new if it has no other connection.
    pub(super) fn worker(&self, wid: &str, tasks: impl FnOnce() -> ForeignTasks) -> Arc<Worker> {
        let mut state = self.state();
        if let Some(worker) = state.workers.get(wid).and_then(Weak::upgrade) {
            return worker;
        }
        state.workers.retain(|_, worker| worker.strong_count() > 0);
        let worker = Arc::new(Worker { tasks: tasks() });
        state.workers.insert(wid.to_owned(), Arc::downgrade(&worker));
        worker
    }

    /// Notes that a worker has fetched a job.
    pub(super) fn note_fetched(&self, jid: String, worker: &Arc<Worker>, task: TaskId) {
        let mut state = self.state();
        if state.fetched.len() >= state.next_sweep.max(SWEEP_MIN) {
            let is_held = |(worker, task): &(Weak<Worker>, TaskId)| {
                worker
                    .upgrade()
                    .is_some_and(|worker| worker.tasks.find(*task).is_some_and(|held| held.is_own))
            };
            state.fetched.retain(|_, entry| is_held(entry));
            state.next_sweep = 2 * state.fetched.len();
        }
        state.fetched.insert(jid, (Arc::downgrade(worker), task));
    }

    /// Removes a fetched job, whichever worker has it; `None` if none has.
    pub(super) fn take_fetched(&self, jid: &str) -> Option<(Arc<Worker>, TaskId)> {
        let (worker, task) = self.state().fetched.remove(jid)?;
        worker.upgrade().map(|worker| (worker, task))
    }

    /// Notes a queue; `false` if it would be one too many.
    pub(super) fn note_queue(&self, name: &str, most: usize) -> bool {
        let mut state = self.state();
        if state.queues.iter().any(|known| known == name) {
            return true;
        }
        let has_room = state.queues.len() < most;
        if has_room {
            state.queues.push(name.to_owned());
        }
        has_room
    }

    pub(super) fn knows_queue(&self, name: &str) -> bool {
        self.state().queues.iter().any(|known| known == name)
    }

    pub(super) fn count_command(&self) {
        self.state().commands += 1;
    }

    pub(super) fn count_pushed(&self, count: u64) {
        self.state().pushed += count;
    }

    pub(super) fn count_end(&self, is_done: bool) {
        let mut state = self.state();
        state.done += u64::from(is_done);
        state.failed += u64::from(!is_done);
    }

    pub(super) fn totals(&self) -> Totals {
        let RegistryState { pushed, done, failed, commands, .. } = &*self.state();
        Totals { pushed: *pushed, done: *done, failed: *failed, commands: *commands }
    }
}
