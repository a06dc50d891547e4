//! Renews the leases of running attempts.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::task::TaskId;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::store::{Lease, LeaseToken, Store};

/// The leases of the running attempts.
pub(crate) struct Leases {
    store: Arc<dyn Store>,
    held: Mutex<FxHashMap<LeaseToken, HeldLease>>,
}

struct HeldLease {
    task: TaskId,
    /// Never sent to: dropping it signals that the lease is lost.
    _lost: oneshot::Sender<()>,
}

impl Leases {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, FxHashMap<LeaseToken, HeldLease>> {
        self.held.lock().expect("no panic while the leases are locked")
    }

    /// Renews this lease until it is released. The receiver fails when the store does not renew it; the
    /// settlement of the attempt would be refused then.
    pub(super) fn hold(&self, lease: &Lease) -> oneshot::Receiver<()> {
        let (sender, lost) = oneshot::channel();
        self.held().insert(lease.token, HeldLease { task: lease.task.id, _lost: sender });
        lost
    }

    pub(super) fn release(&self, token: LeaseToken) {
        self.held().remove(&token);
    }

    /// Renews all leases, three times within the duration of one; never ends.
    pub(crate) async fn run(self: Arc<Self>, lease: Duration) {
        let mut clock = interval((lease / 3).max(Duration::from_millis(1)));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.renew().await;
        }
    }

    async fn renew(&self) {
        let leases: Vec<_> = self.held().iter().map(|(token, held)| (held.task, *token)).collect();
        if leases.is_empty() {
            return;
        }
        let renewed = self.store.renew(leases.clone()).await;
        for ((task, token), _) in leases.into_iter().zip(renewed).filter(|(_, renewed)| !renewed) {
            // An attempt that has ended meanwhile released its lease, which is then not lost.
            if self.held().remove(&token).is_some() {
                tracing::warn!("the lease of task {task} is lost; its attempt is aborted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use framework_protocol::task::{Handlers, NewTask};

    use super::*;
    use crate::store::{Clock, Memory, StoreOptions};

    /// A store with one task, which is leased, and its clock.
    async fn leased() -> (Arc<Memory>, Clock, Lease) {
        let clock = Clock::fake(0);
        let store = Memory::new(StoreOptions::default(), Arc::new(Handlers::default()), clock.clone());
        store.push(vec![NewTask::without_handler("slow", "null".into())]).await[0].clone().unwrap();
        let lease = store.take(0, 1).await.remove(0);
        (Arc::new(store), clock, lease)
    }

    #[tokio::test]
    async fn lease_is_renewed_until_it_is_released() {
        let (store, clock, lease) = leased().await;
        let leases = Leases::new(store.clone());
        let mut lost = leases.hold(&lease);
        for _ in 0..10 {
            clock.advance(StoreOptions::default().lease / 3);
            leases.renew().await;
            assert!(store.take(0, 1).await.is_empty());
        }
        assert_eq!(lost.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it is still held");
        leases.release(lease.token);
        clock.advance(StoreOptions::default().lease * 2);
        leases.renew().await;
        assert_eq!(store.take(0, 1).await.len(), 1, "a released lease is not renewed");
    }

    #[tokio::test]
    async fn lost_lease_is_signalled_to_its_attempt() {
        let (store, clock, lease) = leased().await;
        let leases = Leases::new(store.clone());
        let lost = leases.hold(&lease);
        clock.advance(StoreOptions::default().lease * 2);
        assert_eq!(store.take(0, 1).await.len(), 1, "another worker has it now");
        leases.renew().await;
        assert!(lost.await.is_err());
    }
}
