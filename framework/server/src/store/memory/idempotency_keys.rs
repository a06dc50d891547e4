//! The idempotency keys of the memory store, each of which goes with its task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{NewTask, TaskRecord};
use rustc_hash::FxHashMap;

/// The keys of tasks that are kept, by function.
#[derive(Debug)]
pub(super) struct IdempotencyKeys {
    window_ms: u64,
    /// Clients choose the keys, so that the hash is seeded.
    owners: FxHashMap<Arc<str>, HashMap<Box<str>, KeyOwner>>,
}

/// The task of a key, and the end of the window.
type KeyOwner = (Arc<TaskRecord>, u64);

impl IdempotencyKeys {
    pub(super) fn new(window: Duration) -> Self {
        Self { window_ms: window.as_millis() as u64, owners: FxHashMap::default() }
    }

    /// The earlier task that the key of this one belongs to.
    pub(super) fn owner(&self, new: &NewTask, now_ms: u64) -> Option<&Arc<TaskRecord>> {
        let (owner, until) = self.owners.get(&new.function)?.get(key(new)?)?;
        (*until > now_ms).then_some(owner)
    }

    /// Adds the key of a task, if it has one.
    pub(super) fn add(&mut self, task: &Arc<TaskRecord>, now_ms: u64) {
        let Some(key) = key(&task.new) else { return };
        let owner = (task.clone(), now_ms.saturating_add(self.window_ms));
        self.owners.entry(task.new.function.clone()).or_default().insert(key.into(), owner);
    }

    /// Removes the key of a task; not if it belongs to a later one, as after its window.
    pub(super) fn remove(&mut self, task: &TaskRecord) {
        let (Some(key), Some(keys)) = (key(&task.new), self.owners.get_mut(&task.new.function)) else {
            return;
        };
        if keys.get(key).is_some_and(|(owner, _)| owner.id == task.id) {
            keys.remove(key);
        }
    }
}

fn key(new: &NewTask) -> Option<&str> {
    new.extra.as_ref()?.key.as_deref()
}
