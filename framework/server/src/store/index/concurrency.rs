//! Concurrency keys: the number of tasks of one key that run at once, and the tasks that wait for that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::store::ready_queues::Waiting;

#[derive(Debug, Default)]
pub(super) struct ConcurrencyKeys {
    /// The keys of tasks that have some, and how many may run at once for each.
    ties: FxHashMap<TaskId, Vec<(ConcurrencyKeyName, u32)>>,
    /// Clients choose the keys, so that the hash is seeded.
    keys: HashMap<ConcurrencyKeyName, ConcurrencyKey>,
    /// The tasks that wait for others of their key, and where.
    blocked: FxHashMap<TaskId, (ConcurrencyKeyName, Rank)>,
    /// The tasks with keys that run.
    running: FxHashSet<TaskId>,
}

/// The name of a concurrency key. Those of clients and those of the rules are apart, whatever a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ConcurrencyKeyName {
    Client(Arc<str>),
    Rule(&'static str),
}

/// A queue, a priority and an id.
type Rank = (u16, Reverse<u8>, TaskId);

#[derive(Debug, Default)]
struct ConcurrencyKey {
    running: u32,
    /// Tasks whose turn came while too many others ran: by queue, the most urgent and oldest first.
    blocked: BTreeMap<Rank, Waiting>,
    /// The number of tasks that have this key.
    tasks: usize,
}

impl ConcurrencyKeys {
    /// Ties a task to a key of which `limit` may run at once.
    pub(super) fn register(&mut self, id: TaskId, key: ConcurrencyKeyName, limit: u32) {
        let key = match self.keys.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => key,
        };
        self.keys.entry(key.clone()).or_default().tasks += 1;
        self.ties.entry(id).or_default().push((key, limit.max(1)));
    }

    /// Lets a task run, or keeps it until one of its key has ended: then [`ConcurrencyKeys::release`] returns
    /// it.
    pub(super) fn acquire(&mut self, waiting: Waiting) -> Option<Waiting> {
        if self.ties.is_empty() {
            return Some(waiting);
        }
        let Some(ties) = self.ties.get(&waiting.id) else { return Some(waiting) };
        let full =
            ties.iter().find(|(key, limit)| self.keys.get(key).is_some_and(|key| key.running >= *limit));
        if let Some((key, _)) = full {
            let rank = rank(&waiting);
            self.blocked.insert(waiting.id, (key.clone(), rank));
            self.keys.get_mut(key)?.blocked.insert(rank, waiting);
            return None;
        }
        self.running.insert(waiting.id);
        for (key, _) in ties {
            self.keys.entry(key.clone()).or_default().running += 1;
        }
        Some(waiting)
    }

    /// Notes that a task does not run any more; returns those whose turn it is now.
    pub(super) fn release(&mut self, id: TaskId) -> Vec<Waiting> {
        // A task that ends without having run may have been offered a turn, for which others would wait in
        // vain.
        let ran = self.running.remove(&id);
        let Some(ties) = self.ties.get(&id) else { return Vec::new() };
        let mut free = Vec::new();
        for (key, _) in ties {
            let Some(key) = self.keys.get_mut(key) else { continue };
            key.running -= u32::from(ran);
            // One of each queue: the first one taken has the turn, and a paused queue keeps no other from it.
            let mut queue = 0;
            while let Some((&first, _)) = key.blocked.range((queue, Reverse(u8::MAX), 0)..).next() {
                free.extend(key.blocked.remove(&first));
                queue = first.0 + 1;
            }
        }
        free.iter().for_each(|waiting| drop(self.blocked.remove(&waiting.id)));
        free
    }

    /// Removes a task that has ended.
    pub(super) fn unregister(&mut self, id: TaskId) {
        if self.ties.is_empty() {
            return;
        }
        for (name, _) in self.ties.remove(&id).unwrap_or_default() {
            let Some(key) = self.keys.get_mut(&name) else { continue };
            key.tasks -= 1;
            if key.tasks == 0 && key.running == 0 && key.blocked.is_empty() {
                self.keys.remove(&name);
            }
        }
    }

    /// Removes a task that waits for others of its key.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Waiting> {
        let (key, rank) = self.blocked.remove(&id)?;
        self.keys.get_mut(&key)?.blocked.remove(&rank)
    }

    /// The body of a task that waits for others of its key.
    pub(super) fn get(&self, id: TaskId) -> Option<Option<&Arc<TaskRecord>>> {
        let (key, rank) = self.blocked.get(&id)?;
        Some(self.keys.get(key)?.blocked.get(rank)?.task.as_ref())
    }

    /// The number of tasks that wait for others of their key.
    pub(super) fn blocked_count(&self) -> usize {
        self.blocked.len()
    }

    /// The tasks that wait for others of their key.
    pub(super) fn blocked(&self) -> impl Iterator<Item = &Waiting> {
        self.keys.values().flat_map(|key| key.blocked.values())
    }
}

fn rank(waiting: &Waiting) -> Rank {
    (waiting.place.queue, Reverse(waiting.place.priority), waiting.id)
}
