//! Fills the index from the journal at the start: the tasks that wait, that have ended, and that ran when
//! their process died.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use framework_protocol::task::{TaskId, TaskOptions, TaskRecord};
use rustc_hash::FxHashSet;

use super::inheritance::{InheritedTask, inherited_tasks};
use super::journal::{Journal, Snapshot, StoredChange, WaitingRow};
use super::retention::{Retention, count_in};
use crate::store::StoreOptions;
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::index::{AttemptRun, Insertion, Record, TakenTask, TaskIndex};
use crate::store::running_marks::{AssignedTask, LastProcess};

/// The parts of a store that were read from the journal.
pub(super) struct Recovered {
    pub(super) retention: Retention,
    pub(super) next_id: TaskId,
    /// To be written before anything else.
    pub(super) records: Vec<Record>,
    /// The tasks that workers elsewhere may still run.
    pub(super) inherited: Vec<(AssignedTask, TakenTask)>,
    /// The changes of many tasks that are unfinished.
    pub(super) changes: Vec<StoredChange>,
}

/// Fills the index. `last` has the tasks that were running when the last process ended, here and elsewhere.
pub(super) fn recover(
    journal: &mut impl Journal,
    index: &mut TaskIndex,
    options: &StoreOptions,
    last: &LastProcess,
    now: Now,
) -> Result<Recovered> {
    let mut retention = Retention::new(options);
    let Snapshot { mut ledger, next_id, ends, cancelled, batches, paused_queues, changes } =
        journal.snapshot(retention.has_functions())?;
    ends.iter().for_each(|(end, _)| count_in(&mut ledger, end.state));
    let mut over: Vec<_> = ends.iter().map(|(end, _)| end.id).collect();
    ends.into_iter().for_each(|(end, function)| retention.restore(&function, end));
    over.sort_unstable();
    batches.into_iter().for_each(|batch| index.batches().restore(batch, now));
    let is_open = |id: &TaskId| over.binary_search(id).is_err();
    let cancelled: FxHashSet<_> = cancelled.into_iter().filter(is_open).collect();
    let suspects = last.running.iter().filter(|id| is_open(id)).count();
    let died: FxHashSet<_> = last.running.iter().copied().filter(|id| !cancelled.contains(id)).collect();
    let mut apart: FxHashSet<_> = died.union(&cancelled).copied().collect();
    let is_apart = |id| apart.contains(&id) || !is_open(&id);
    let inherited = inherited_tasks(journal, &last.assigned, is_apart, now)?;
    apart.extend(inherited.iter().map(InheritedTask::id));
    let (waiting, last_id) = insert_waiting(journal, index, &over, &apart, now)?;
    ledger.accepted = ledger.ended() + waiting;
    index.resume(ledger);
    let mut records = Vec::new();
    for id in died.iter().filter(|id| is_open(id)) {
        if let Some(task) = journal.tasks(&[*id], now.wall_ms)?.pop() {
            restore_crashed(index, Arc::new(task.record), suspects == 1, now, &mut records);
        }
    }
    for id in cancelled {
        if let Some(task) = journal.tasks(&[id], now.wall_ms)?.pop() {
            index.restore_cancelled(Arc::new(task.record), now, &mut records);
        }
    }
    let inherited = inherited.into_iter().filter_map(|task| task.lease(index, now)).collect();
    index.note_batches(now, &mut records);
    paused_queues.iter().for_each(|queue| index.order().pause(queue, true));
    let next_id = next_id.max(last_id.map_or(0, |last| last + 1)).max(over.last().map_or(0, |last| last + 1));
    Ok(Recovered { retention, next_id, records, inherited, changes })
}

/// Counts the attempt in which the process died, alone or among others.
fn restore_crashed(
    index: &mut TaskIndex,
    task: Arc<TaskRecord>,
    was_alone: bool,
    now: Now,
    records: &mut Vec<Record>,
) {
    const REASON: &str = "The process died while it ran.";
    let run = AttemptRun { number: task.attempts() + 1, started_ms: now.wall_ms, ran: None, worker: None };
    index.restore_crashed(task, run, (REASON, was_alone), now, records);
}

/// Inserts every waiting task that is not `apart`, in the order of the ids; returns the number of all, and
/// the last id.
fn insert_waiting(
    journal: &mut impl Journal,
    index: &mut TaskIndex,
    over: &[TaskId],
    apart: &FxHashSet<TaskId>,
    now: Now,
) -> Result<(u64, Option<TaskId>)> {
    let (mut waiting, mut last) = (0, None);
    journal.waiting(over, |row| {
        (waiting, last) = (waiting + 1, Some(row.id));
        if !apart.contains(&row.id) {
            let insertion = insertion(row, index, now);
            index.insert(insertion);
        }
    })?;
    Ok((waiting, last))
}

/// A damaged task waits as far as its row can be read, and is set aside when its turn comes.
fn insertion(row: WaitingRow, index: &mut TaskIndex, now: Now) -> Insertion {
    let WaitingRow { id, function, queue, priority, due_ms, batch, options, pause, is_damaged } = row;
    let place = if is_damaged {
        index.local_place(TaskOptions::DEFAULT.queue, priority)
    } else {
        index.place(queue, function, priority)
    };
    let ready_at = match pause {
        Some(pause) => when(pause.due_ms, Some(pause.length_ms), now),
        None => when(due_ms, options.delay_ms, now),
    };
    let concurrency = options.concurrency();
    Insertion {
        id,
        task: None,
        place,
        when: ready_at,
        expires: options
            .expires_ms
            .filter(|_| pause.is_none())
            .map(|at_ms| when(Some(at_ms), options.expires_in_ms, now)),
        concurrency: options.concurrency_key.map(|key| (key, concurrency)),
        batch,
        crashes: pause.map_or(0, |pause| pause.crashes),
    }
}

/// A due time of an earlier process. A pause goes on by the wall clock, the only one that ran meanwhile;
/// should that have been set back, the pause is no longer than it was at its beginning.
fn when(at_ms: Option<u64>, pause_ms: Option<u64>, now: Now) -> ReadyAt {
    match (at_ms, pause_ms) {
        (None, _) => ReadyAt::Now,
        (Some(at_ms), None) => ReadyAt::Wall(at_ms),
        (Some(at_ms), Some(pause_ms)) => match at_ms.saturating_sub(now.wall_ms).min(pause_ms) {
            0 => ReadyAt::Now,
            rest => ReadyAt::Steady(now.steady + Duration::from_millis(rest)),
        },
    }
}
