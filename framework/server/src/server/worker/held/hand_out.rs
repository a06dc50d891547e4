//! Hands tasks to those who wait for one, and takes back those whose time is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::state::{HeldTask, WaitingHolder};
use super::{HeldTasks, ReservedTask, send};
use crate::server::finisher::AttemptEnd;
use crate::server::leases::LeaseHold;
use crate::store::{Lease, RemoteScope};

impl HeldTasks {
    /// Hands out tasks, and looks after what is held; never ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut is_open = true;
        loop {
            let (queues, next_look, over) = self.look();
            self.send_over(over).await;
            let scopes: Arc<[RemoteScope]> = match queues.is_empty() {
                true => Arc::new([]),
                false => [self.scope_of(queues)].into(),
            };
            let next_look = next_look.map(tokio::time::Instant::from_std);
            tokio::select! {
                biased;
                () = self.changed.notified() => is_open = true,
                () = tokio::time::sleep_until(next_look.unwrap_or_else(tokio::time::Instant::now)),
                    if next_look.is_some() => {}
                has_work = self.store.ready_remote(scopes.clone()), if is_open && !scopes.is_empty() => {
                    is_open = has_work;
                    if has_work {
                        self.hand_out(&scopes[0]).await;
                    }
                }
            }
        }
    }

    fn scope_of(&self, queues: Arc<[Box<str>]>) -> RemoteScope {
        RemoteScope { functions: self.functions.clone(), queues: Some(queues) }
    }

    /// The queues that somebody waits for, when to look next, and the attempts that are over.
    #[expect(clippy::type_complexity, reason = "it is used once")]
    fn look(&self) -> (Arc<[Box<str>]>, Option<Instant>, Vec<(AttemptEnd, LeaseHold)>) {
        let now = Instant::now();
        let mut state = self.state();
        let overdue = state.end_overdue(now);
        self.timeouts.fetch_add(overdue, Ordering::Relaxed);
        (state.wanted(now), state.next_look(), std::mem::take(&mut state.over))
    }

    async fn send_over(&self, over: Vec<(AttemptEnd, LeaseHold)>) {
        if over.is_empty() {
            return;
        }
        let (ends, holds) = over.into_iter().unzip();
        if let Some(finisher) = self.finisher() {
            send(&finisher, ends, holds).await;
        }
    }

    /// Hands out tasks one by one until there are none, or nobody waits for one.
    async fn hand_out(&self, scope: &RemoteScope) {
        while let Some(lease) = self.store.take_remote(scope, 1).await.pop() {
            if !self.assign(lease) {
                return;
            }
        }
    }

    /// Gives a task to who has waited longest for one of its queue; `false` if nobody does any more.
    fn assign(&self, lease: Lease) -> bool {
        lease.task.set_blocking(true);
        let hold = self.leases.hold_batch(std::slice::from_ref(&lease));
        let taken = ReservedTask { task: lease.task.clone(), attempt: lease.attempt };
        let mut state = self.state();
        let waiter = if state.is_open { state.next_waiter(&lease.task.new.queue) } else { None };
        let Some(WaitingHolder { holder, sender, .. }) = waiter else {
            let now = Instant::now();
            state.over.push((AttemptEnd::aborted(lease, now, now), hold));
            return false;
        };
        let (number, id) = (holder.number, lease.task.id);
        state.hold(HeldTask::new(holder, lease, hold, Instant::now()));
        // Within the lock, as the waiter is removed: it has the task, or it is not there.
        if sender.send(taken).is_err() {
            state.give_back(number, id);
        }
        state.has_waiters()
    }
}
