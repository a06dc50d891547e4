//! Takes tasks from the store of this server, and renews their leases.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::pool::LeaseSource;
use crate::server::leases::{LeaseHold, Leases};
use crate::store::{Lease, Store};

/// The store of this server.
pub(super) struct StoreSource {
    pub(super) store: Arc<dyn Store>,
    pub(super) leases: Arc<Leases>,
}

impl LeaseSource for StoreSource {
    fn ready(&self, group: usize) -> BoxFuture<'_, bool> {
        self.store.ready(group)
    }

    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        self.store.take(group, limit)
    }

    fn hold_batch(&self, leases: &[Lease]) -> Option<LeaseHold> {
        Some(self.leases.hold_batch(leases))
    }

    fn hold(&self, lease: &Lease) -> (Option<LeaseHold>, Option<oneshot::Receiver<()>>) {
        let (hold, lost) = self.leases.hold(lease);
        (Some(hold), Some(lost))
    }
}
