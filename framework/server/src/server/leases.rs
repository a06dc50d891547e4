//! Renews the leases of attempts from the moment they are taken until they are settled.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::task::TaskId;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::store::{Lease, LeaseToken, Store};

/// The leases that this process holds.
pub(crate) struct Leases {
    store: Arc<dyn Store>,
    holds: Mutex<Holds>,
}

/// What is held, by numbers that are never used again.
#[derive(Default)]
struct Holds {
    next: u64,
    held: FxHashMap<u64, HeldLeases>,
}

struct HeldLeases {
    leases: Vec<(TaskId, LeaseToken)>,
    /// Never sent to: dropping it signals that a lease is lost.
    lost: Option<oneshot::Sender<()>>,
}

/// Leases that are renewed until this is dropped, once they are settled or returned.
pub(crate) struct LeaseHold {
    owner: Arc<Leases>,
    number: u64,
}

impl Leases {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, holds: Mutex::default() }
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().expect("no panic while the leases are locked")
    }

    /// Renews the leases of a batch together.
    pub(crate) fn hold_batch(self: &Arc<Self>, batch: &[Lease]) -> LeaseHold {
        let leases = batch.iter().map(|lease| (lease.task.id, lease.token)).collect();
        self.add(HeldLeases { leases, lost: None })
    }

    /// Renews one lease. The receiver fails when the store does not renew it; the settlement of the attempt
    /// would be refused then.
    pub(crate) fn hold(self: &Arc<Self>, lease: &Lease) -> (LeaseHold, oneshot::Receiver<()>) {
        let (sender, lost) = oneshot::channel();
        let leases = vec![(lease.task.id, lease.token)];
        (self.add(HeldLeases { leases, lost: Some(sender) }), lost)
    }

    fn add(self: &Arc<Self>, held: HeldLeases) -> LeaseHold {
        let mut holds = self.holds();
        let number = holds.next;
        holds.next += 1;
        holds.held.insert(number, held);
        LeaseHold { owner: self.clone(), number }
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
        let (numbers, leases): (Vec<_>, Vec<_>) = {
            let holds = self.holds();
            let all = holds.held.iter();
            all.flat_map(|(number, held)| held.leases.iter().map(|lease| (*number, *lease))).unzip()
        };
        // Also without any: the store ends the leases that nobody renews meanwhile.
        let renewed = self.store.renew(leases.clone()).await;
        let lost = numbers.into_iter().zip(leases).zip(renewed).filter(|(_, renewed)| !renewed);
        for ((number, (task, _)), _) in lost {
            let mut holds = self.holds();
            // An attempt that has ended meanwhile is no longer held, and one of a batch may be settled.
            let Some(lost) = holds.held.get_mut(&number).and_then(|held| held.lost.take()) else { continue };
            drop((holds, lost));
            tracing::warn!(task, "the lease of a running task is lost; its attempt is aborted");
        }
    }
}

impl Drop for LeaseHold {
    fn drop(&mut self) {
        let held = self.owner.holds().held.remove(&self.number);
        // Freed once the lock is.
        drop(held);
    }
}

#[cfg(test)]
mod tests {
    use framework_protocol::task::{Handlers, NewTask};
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::store::{Clock, Memory, StoreOptions};

    const LEASE: Duration = Duration::from_secs(60);

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
        let leases = Arc::new(Leases::new(store.clone()));
        let (hold, mut lost) = leases.hold(&lease);
        for _ in 0..10 {
            clock.advance(LEASE / 3);
            leases.renew().await;
            assert!(store.take(0, 1).await.is_empty());
        }
        assert_eq!(lost.try_recv(), Err(TryRecvError::Empty), "it is still held");
        drop(hold);
        clock.advance(LEASE * 2);
        leases.renew().await;
        assert_eq!(store.take(0, 1).await.len(), 1, "a released lease is not renewed");
    }

    #[tokio::test(start_paused = true)]
    async fn lease_is_renewed_often_enough_for_a_store_that_looks_all_the_time() {
        let (store, clock, lease) = leased().await;
        let leases = Arc::new(Leases::new(store.clone()));
        let _hold = leases.hold_batch(&[lease]);
        let renewals = tokio::spawn(leases.run(LEASE));
        let step = Duration::from_millis(500);
        for _ in 0..(LEASE * 5).as_millis() / step.as_millis() {
            tokio::time::sleep(step).await;
            clock.advance(step);
            store.renew(Vec::new()).await;
            assert!(store.take(0, 1).await.is_empty(), "it is held");
        }
        renewals.abort();
    }

    #[tokio::test]
    async fn lease_outlives_a_pause_of_the_process_that_holds_it() {
        let (store, clock, lease) = leased().await;
        let leases = Arc::new(Leases::new(store.clone()));
        let _hold = leases.hold_batch(&[lease]);
        clock.advance(LEASE * 10);
        assert!(store.take(0, 1).await.is_empty() && store.counts().await.ledger.running == 1);
        leases.renew().await;
        assert!(store.take(0, 1).await.is_empty(), "it is still held");
    }

    #[tokio::test]
    async fn lost_lease_is_signalled_to_its_attempt() {
        let (store, clock, lease) = leased().await;
        let leases = Arc::new(Leases::new(store.clone()));
        let (_hold, mut lost) = leases.hold(&lease);
        clock.advance(LEASE * 2);
        store.renew(Vec::new()).await;
        assert_eq!(store.take(0, 1).await.len(), 1, "another worker has it now");
        leases.renew().await;
        assert_eq!(lost.try_recv(), Err(TryRecvError::Closed));
    }
}
