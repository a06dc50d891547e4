//! The tables of the fake journal, and what a store reads of them at its start and for its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::task::{BatchId, ProgressLog, TaskId};
use framework_protocol::views::{
    AttemptInfo, BatchInfo, BatchState, FunctionRecord, Ledger, ScheduleInfo, State,
};
use rustc_hash::FxHashMap;

use crate::store::durable::ExpiringRow;
use crate::store::durable::journal::{
    Cursor, LoadedTask, RetryPause, Selected, Snapshot, StoredChange, StoredOptions, StoredTask,
    TaskSelection, WaitingRow,
};
use crate::store::figure_history::FigureHistory;

/// Everything that is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeTables {
    pub(super) tasks: BTreeMap<TaskId, FakeTask>,
    pub(super) ends: BTreeMap<TaskId, FakeEnd>,
    pub(super) attempts: BTreeMap<(TaskId, u32), AttemptInfo>,
    pub(super) retries: BTreeMap<TaskId, FakeRetry>,
    pub(super) cancels: BTreeSet<TaskId>,
    pub(super) notes: BTreeMap<TaskId, ProgressLog>,
    /// By function and key: the task, and the end of the window.
    pub(super) keys: BTreeMap<(String, String), (TaskId, u64)>,
    pub(super) batches: BTreeMap<BatchId, BatchInfo>,
    pub(super) queues: BTreeMap<String, bool>,
    pub(super) schedules: BTreeMap<String, ScheduleInfo>,
    pub(super) functions: BTreeMap<String, FunctionRecord>,
    pub(super) history: FigureHistory,
    pub(super) changes: BTreeMap<i64, StoredChange>,
    /// What has ended and is not kept.
    pub(super) ledger: Ledger,
    pub(super) next_id: TaskId,
}

/// A task as it was accepted.
#[derive(Debug, Clone)]
pub(super) struct FakeTask {
    pub(super) function: Arc<str>,
    pub(super) queue: Arc<str>,
    pub(super) priority: u8,
    pub(super) accepted_ms: u64,
    pub(super) due_ms: Option<u64>,
    pub(super) batch: Option<BatchId>,
    /// JSON; `None` for the defaults.
    pub(super) options: Option<String>,
    pub(super) args: Bytes,
}

#[derive(Debug, Clone)]
pub(super) struct FakeEnd {
    pub(super) state: State,
    pub(super) ended_ms: u64,
    pub(super) last: Option<AttemptInfo>,
    /// The result, or the error.
    pub(super) outcome: Result<Bytes, String>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FakeRetry {
    pub(super) attempts: u32,
    pub(super) failures: u32,
    pub(super) crashes: u32,
    pub(super) due_ms: Option<u64>,
    pub(super) pause_ms: u64,
}

impl FakeTask {
    fn options(&self) -> StoredOptions {
        let parse = |text: &String| serde_json::from_str(text).expect("it was written by the program");
        self.options.as_ref().map(parse).unwrap_or_default()
    }
}

impl FakeTables {
    pub(super) fn snapshot(&self) -> Snapshot {
        let end = |(id, end): (&TaskId, &FakeEnd)| {
            let function = self.tasks.get(id).map(|task| task.function.to_string()).unwrap_or_default();
            (ExpiringRow { id: *id, at_ms: end.ended_ms, state: end.state }, function)
        };
        let mut ends: Vec<_> = self.ends.iter().map(end).collect();
        ends.sort_by_key(|(end, _)| (end.at_ms, end.id));
        let last = self.batches.keys().last().copied();
        let is_known = |batch: &&BatchInfo| batch.state != BatchState::Ended || Some(batch.id) == last;
        let paused = self.queues.iter().filter(|(_, paused)| **paused);
        Snapshot {
            ledger: self.ledger,
            next_id: self.next_id,
            ends,
            cancelled: self.cancels.iter().copied().collect(),
            batches: self.batches.values().filter(is_known).cloned().collect(),
            paused_queues: paused.map(|(queue, _)| queue.clone()).collect(),
            changes: self.changes.values().cloned().collect(),
        }
    }

    pub(super) fn waiting(&self, mut visit: impl FnMut(WaitingRow<'_>)) {
        for (id, task) in self.tasks.iter().filter(|(id, _)| !self.ends.contains_key(id)) {
            let pause = self.retries.get(id).map(|retry| RetryPause {
                crashes: retry.crashes,
                due_ms: retry.due_ms,
                length_ms: retry.pause_ms,
            });
            visit(WaitingRow {
                id: *id,
                function: &task.function,
                queue: &task.queue,
                priority: task.priority,
                due_ms: task.due_ms,
                batch: task.batch,
                options: task.options(),
                pause,
                is_damaged: false,
            });
        }
    }

    pub(super) fn load(&self, ids: &[TaskId], now_ms: u64) -> Vec<LoadedTask> {
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        ids.into_iter().filter_map(|id| self.load_one(id, now_ms)).collect()
    }

    pub(super) fn load_one(&self, id: TaskId, now_ms: u64) -> Option<LoadedTask> {
        let task = self.tasks.get(&id)?;
        let FakeRetry { attempts, failures, crashes, .. } =
            self.retries.get(&id).copied().unwrap_or_default();
        let FakeTask { function, queue, priority, accepted_ms, due_ms, batch, args, .. } = task.clone();
        let stored = StoredTask {
            id,
            function,
            queue,
            priority,
            accepted_ms,
            due_ms,
            batch,
            options: task.options(),
            args,
            attempts,
            failures,
            crashes,
        };
        Some(LoadedTask { record: stored.into_record(now_ms), damage: None })
    }

    pub(super) fn state(&self, id: TaskId) -> Option<State> {
        let state = self.ends.get(&id).map(|end| end.state);
        state.or_else(|| self.tasks.contains_key(&id).then_some(State::Waiting))
    }

    pub(super) fn functions(&self, ids: &[TaskId]) -> FxHashMap<TaskId, String> {
        let function = |id: &TaskId| Some((*id, self.tasks.get(id)?.function.to_string()));
        ids.iter().filter_map(function).collect()
    }

    pub(super) fn accepted_ms(&self, ids: &[TaskId]) -> FxHashMap<TaskId, u64> {
        ids.iter().filter_map(|id| Some((*id, self.tasks.get(id)?.accepted_ms))).collect()
    }

    /// The error of a task that has failed.
    pub(super) fn error(&self, id: TaskId) -> &str {
        let outcome = self.ends.get(&id).and_then(|end| end.outcome.as_ref().err());
        outcome.map_or("", String::as_str)
    }

    pub(super) fn select(&self, wanted: &TaskSelection, cursor: Cursor, limit: usize) -> Selected {
        if let TaskSelection::Ended(id) = wanted {
            let found = self.ends.get(id).map(|end| (*id, Some(end.state)));
            return Selected { tasks: found.into_iter().collect(), ..Selected::default() };
        }
        let mut selected = Selected { last: cursor.after, ..Selected::default() };
        let first = (cursor.after + 1).unsigned_abs();
        for (id, task) in self.tasks.range(first..cursor.before.max(first)) {
            if selected.tasks.len() == limit {
                selected.has_more = true;
                break;
            }
            let state = self.ends.get(id).map(|end| end.state);
            let is_among = match wanted {
                TaskSelection::Ended(_) => false,
                TaskSelection::OpenOfBatch(batch) | TaskSelection::EndedOfBatch { batch, .. } => {
                    task.batch == Some(*batch)
                }
                TaskSelection::Failed(filter) => filter.selects(&task.queue, &task.function, self.error(*id)),
            };
            selected.last = *id as i64;
            if is_among && wanted.wants(state) {
                selected.tasks.push((*id, state));
            }
        }
        selected
    }
}
