//! Hands out tasks to workers, as far as they have credit.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::task::TaskRecord;
use framework_protocol::{ReplyWriter, TaskMessage};
use rustc_hash::FxHashMap;
use tokio::time::{MissedTickBehavior, interval};

use super::session::WorkerSession;
use super::{Dispatch, RemoteState, RemoteWorkers};
use crate::server::finisher::{AttemptEnd, BatchHold, EndedBatch, RemoteHold};
use crate::server::leases::LeaseHold;
use crate::store::{Lease, RemoteScope};

/// The most tasks that are leased at a time for workers with the same functions.
const BATCH_MAX: usize = 256;
/// The interval of looks at timeouts, cancelled tasks and silent workers.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// Workers with the same functions and queues, and how many tasks they could start together.
struct WorkerKind {
    scope: RemoteScope,
    room: usize,
}

impl RemoteWorkers {
    /// Hands out tasks, and looks after what was handed out; never ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_open = true;
        loop {
            self.send_lost().await;
            let (scopes, has_workers) = self.wanted();
            let ready = self.resources.store.ready_remote(scopes.clone());
            tokio::select! {
                biased;
                _ = sweep.tick(), if has_workers => self.sweep().await,
                () = self.changed.notified() => is_open = true,
                has_work = ready, if is_open && !scopes.is_empty() => {
                    is_open = has_work;
                    if has_work {
                        self.dispatch().await;
                    }
                }
            }
        }
    }

    /// The tasks that workers could start now, and whether anything is to be looked after.
    fn wanted(&self) -> (Arc<[RemoteScope]>, bool) {
        let state = self.state();
        let scopes = state.kinds().into_iter().map(|kind| kind.scope).collect();
        (scopes, !(state.workers.is_empty() && state.polls.is_empty() && state.detached.is_empty()))
    }

    /// Leases and hands out tasks until there are none, or no worker has credit. Must not be cancelled.
    pub(super) async fn dispatch(&self) {
        let _turn = self.dispatching.lock().await;
        loop {
            let kinds = self.state().kinds();
            let mut has_taken = false;
            for WorkerKind { scope, room } in kinds {
                let leases = self.resources.store.take_remote(&scope, room.min(BATCH_MAX)).await;
                has_taken |= !leases.is_empty();
                self.hand_out(leases).await;
            }
            if !has_taken {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Hands each task to the worker with the fewest that knows its function, by turns, and returns those for
    /// which there is none any more.
    async fn hand_out(&self, leases: Vec<Lease>) {
        let now = Instant::now();
        let (mut ends, mut holds) = (Vec::new(), Vec::new());
        {
            let mut state = self.state();
            let mut lines: FxHashMap<usize, Vec<u8>> = FxHashMap::default();
            for lease in leases {
                let hold = self.resources.leases.hold_batch(std::slice::from_ref(&lease));
                let is_wanted = !lease.task.is_cancel_requested();
                state.turn += 1;
                let turn = state.turn;
                let chosen = is_wanted.then(|| state.least_loaded(&lease.task)).flatten();
                match chosen {
                    Some((key, worker)) => {
                        worker.turn = turn;
                        self.write_task(worker, lease, hold, lines.entry(key).or_default());
                    }
                    None => {
                        ends.push(AttemptEnd::aborted(lease, now, now));
                        holds.push(hold);
                    }
                }
            }
            for (key, lines) in lines {
                state.workers.get(&key).into_iter().for_each(|worker| worker.outbox.write(None, &lines));
            }
        }
        if !ends.is_empty() {
            self.send(EndedBatch { ends, hold: BatchHold::Remote(RemoteHold::new(holds, None)) }).await;
        }
    }

    fn write_task(&self, worker: &mut WorkerSession, lease: Lease, hold: LeaseHold, lines: &mut Vec<u8>) {
        // Nothing here can abort it: it can only be asked to stop.
        lease.task.set_blocking(true);
        let start = lines.len();
        let name = self.lease_name(lease.token.0);
        let (task, new) = (&lease.task, &lease.task.new);
        let message = TaskMessage {
            task_id: task.id,
            function: &new.function,
            attempt: lease.attempt,
            timeout_ms: new.timeout.map(|timeout| timeout.as_millis() as u64),
            accepted_ms: task.accepted_ms,
            is_last: task.failures().saturating_add(1) >= new.attempts,
            args: &new.args,
        };
        let shown = |text: &mut Vec<u8>| match &worker.poll {
            Some(secret) => write!(text, "{name}.{secret}"),
            None => write!(text, "{name}"),
        };
        ReplyWriter::new(lines).task(|text| shown(text).expect("a vector takes every byte"), &message);
        worker.hold(name, lease, hold, lines.len() - start);
    }
}

impl RemoteState {
    /// The kinds of workers that could start a task now.
    fn kinds(&self) -> Vec<WorkerKind> {
        let mut kinds: Vec<WorkerKind> = Vec::new();
        for worker in self.workers.values() {
            match self.dispatch {
                Dispatch::All => {}
                Dispatch::Children if worker.child.is_some() => {}
                Dispatch::Children | Dispatch::Nobody => continue,
            }
            let room = worker.room() as usize;
            if room == 0 {
                continue;
            }
            match kinds.iter_mut().find(|kind| kind.scope == worker.scope) {
                Some(kind) => kind.room += room,
                None => kinds.push(WorkerKind { scope: worker.scope.clone(), room }),
            }
        }
        kinds
    }

    /// The worker with the fewest tasks among those that could start this one, and its key; of several, the
    /// one that has waited longest for its turn.
    fn least_loaded(&mut self, task: &TaskRecord) -> Option<(usize, &mut WorkerSession)> {
        let (function, queue) = (&task.new.function, &task.new.queue);
        self.workers
            .iter_mut()
            .filter(|(_, worker)| worker.room() > 0 && worker.scope.covers(function, queue))
            .min_by_key(|(_, worker)| (worker.held(), worker.turn))
            .map(|(key, worker)| (*key, worker))
    }
}
