//! The workers of one group, and how many of them are free.

use std::sync::Arc;

use framework_protocol::views::Workers;
use tokio::sync::Semaphore;

/// The workers of one group.
#[derive(Clone)]
pub(crate) struct WorkerGroupStats {
    /// The name in the status: a queue, or `*`.
    pub(crate) name: String,
    pub(crate) count: usize,
    /// One permit per free worker.
    pub(crate) free: Arc<Semaphore>,
}

impl WorkerGroupStats {
    pub(crate) fn new(name: impl Into<String>, count: usize) -> Self {
        Self { name: name.into(), count, free: Arc::new(Semaphore::new(count)) }
    }

    /// The workers as the status shows them.
    pub(crate) fn workers(&self) -> Workers {
        let idle = self.free.available_permits();
        Workers { total: self.count, busy: self.count.saturating_sub(idle), idle }
    }
}
