//! Reads the file at the start: the tasks that wait, that have ended, and that ran when their process died.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use framework_protocol::task::{TaskId, TaskOptions, TaskRecord};
use framework_protocol::views::{BatchInfo, BatchState, Ledger, State};
use rusqlite::{Connection, Row};
use rustc_hash::{FxHashMap, FxHashSet};

use super::ended_queue::ExpiringRow;
use super::inheritance::{InheritedTask, inherited_tasks};
use super::load::load_one;
use super::names::SharedNames;
use super::retention::{Retention, count_in};
use super::row::{self, Columns};
use super::running_slots::{AssignedTask, LastProcess};
use crate::store::StoreOptions;
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::index::{AttemptRun, Insertion, Record, TakenTask, TaskIndex};

/// The parts of a store that were read from the file.
pub(super) struct Recovered {
    pub(super) retention: Retention,
    pub(super) next_id: TaskId,
    /// To be written before anything else.
    pub(super) records: Vec<Record>,
    /// The tasks that workers elsewhere may still run.
    pub(super) inherited: Vec<(AssignedTask, TakenTask)>,
}

/// A row of `retries`.
struct Retry {
    crashes: u32,
    due_ms: Option<u64>,
    pause_ms: u64,
}

/// Fills the index from the file. `last` has the tasks that were running when the last process ended, here
/// and elsewhere.
pub(super) fn recover(
    connection: &Connection,
    index: &mut TaskIndex,
    options: &StoreOptions,
    names: &SharedNames,
    last: &LastProcess,
    now: Now,
) -> Result<Recovered> {
    let (mut ledger, noted_id) = ledger(connection)?;
    let mut retention = Retention::new(options);
    let ends = ends(connection, retention.has_functions())?;
    ends.iter().for_each(|(end, _)| count_in(&mut ledger, end.state));
    let mut over: Vec<_> = ends.iter().map(|(end, _)| end.id).collect();
    ends.into_iter().for_each(|(end, function)| retention.restore(&function, end));
    over.sort_unstable();
    batches(connection)?.into_iter().for_each(|batch| index.batches().restore(batch, now));
    let cancelled = cancelled(connection, &over)?;
    let suspects = last.running.iter().filter(|id| over.binary_search(id).is_err()).count();
    let died: FxHashSet<_> = last.running.iter().copied().filter(|id| !cancelled.contains(id)).collect();
    let mut apart: FxHashSet<_> = died.union(&cancelled).copied().collect();
    let is_apart = |id| apart.contains(&id) || over.binary_search(&id).is_ok();
    let inherited = inherited_tasks(connection, names, &last.assigned, is_apart, now)?;
    apart.extend(inherited.iter().map(InheritedTask::id));
    let mut reader = Reader { connection, retries: retries(connection)?, apart: &apart, now };
    let (waiting, last_id) = reader.waiting(index, &over)?;
    ledger.accepted = ledger.ended() + waiting;
    index.resume(ledger);
    let mut records = Vec::new();
    for id in died.iter().filter(|id| over.binary_search(id).is_err()) {
        if let Some(task) = load_one(connection, names, *id, now.wall_ms)? {
            restore_crashed(index, Arc::new(task.record), suspects == 1, now, &mut records);
        }
    }
    for id in cancelled {
        if let Some(task) = load_one(connection, names, id, now.wall_ms)? {
            index.restore_cancelled(Arc::new(task.record), now, &mut records);
        }
    }
    let inherited = inherited.into_iter().filter_map(|task| task.lease(index, now)).collect();
    index.note_batches(now, &mut records);
    let mut paused = connection.prepare("SELECT name FROM queues WHERE paused")?;
    for name in paused.query_map([], |row| Ok(row::text(row, 0).unwrap_or_default()))? {
        index.order().pause(&name?, true);
    }
    let next_id =
        noted_id.max(last_id.map_or(0, |last| last + 1)).max(over.last().map_or(0, |last| last + 1));
    Ok(Recovered { retention, next_id, records, inherited })
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

fn ledger(connection: &Connection) -> Result<(Ledger, TaskId)> {
    let sql = "SELECT next_id, done, failed, cancelled, expired FROM ledger";
    Ok(connection.query_row(sql, [], |row| {
        let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
        let ledger = Ledger {
            done: number(1)?,
            failed: number(2)?,
            cancelled: number(3)?,
            expired: number(4)?,
            ..Ledger::default()
        };
        Ok((ledger, number(0)?))
    })?)
}

/// The ended tasks that are kept, in the order of their ends, with their functions where these matter.
fn ends(connection: &Connection, has_functions: bool) -> Result<Vec<(ExpiringRow, String)>> {
    let mut read = connection.prepare(if has_functions {
        "SELECT e.task, e.ended_ms, e.state, t.function FROM ends e LEFT JOIN tasks t ON t.id = e.task"
    } else {
        "SELECT task, ended_ms, state, NULL FROM ends"
    })?;
    let rows = read.query_map([], |row| {
        let state = row::text(row, 2).and_then(|state| state.parse().ok()).unwrap_or(State::Failed);
        let end = ExpiringRow { id: id(row, 0)?, at_ms: row::number(row, 1).unwrap_or(0), state };
        Ok((end, row::text(row, 3).unwrap_or_default()))
    })?;
    let mut ends = rows.collect::<Result<Vec<_>, _>>()?;
    ends.sort_by_key(|(end, _)| (end.at_ms, end.id));
    Ok(ends)
}

/// The tasks that were cancelled while they ran, and whose end nobody saw.
fn cancelled(connection: &Connection, over: &[TaskId]) -> Result<FxHashSet<TaskId>> {
    let mut read = connection.prepare("SELECT task FROM cancels")?;
    let rows = read.query_map([], |row| id(row, 0))?;
    let mut all = rows.collect::<Result<FxHashSet<_>, _>>()?;
    all.retain(|id| over.binary_search(id).is_err());
    Ok(all)
}

fn retries(connection: &Connection) -> Result<FxHashMap<TaskId, Retry>> {
    let mut read = connection.prepare("SELECT task, crashes, due_ms, pause_ms FROM retries")?;
    let rows = read.query_map([], |row| {
        let number = |index| row::number(row, index);
        let crashes = number(1).and_then(|crashes| u32::try_from(crashes).ok()).unwrap_or(0);
        Ok((id(row, 0)?, Retry { crashes, due_ms: number(2), pause_ms: number(3).unwrap_or(0) }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The batches that have not ended, and the last one of all.
fn batches(connection: &Connection) -> Result<Vec<BatchInfo>> {
    let mut read = connection
        .prepare("SELECT * FROM batches WHERE state <> 'ended' OR id = (SELECT max(id) FROM batches)")?;
    let rows = read.query_map([], batch)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A row of `batches`.
pub(super) fn batch(row: &Row) -> rusqlite::Result<BatchInfo> {
    let number = |index| row::number(row, index);
    let count = |index| number(index).unwrap_or(0);
    let text = |index| row::text(row, index);
    Ok(BatchInfo {
        id: id(row, 0)?,
        name: text(1).unwrap_or_default(),
        function: text(2).unwrap_or_default(),
        state: text(3).and_then(|state| state.parse().ok()).unwrap_or(BatchState::Ended),
        total: count(4),
        done: count(5),
        failed: count(6),
        cancelled: count(7),
        expired: count(8),
        opened_ms: count(9),
        ended_ms: number(10),
        then: text(11),
        then_task: number(12),
    })
}

fn id(row: &Row, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}

struct Reader<'a> {
    connection: &'a Connection,
    retries: FxHashMap<TaskId, Retry>,
    /// The tasks that do not simply wait on.
    apart: &'a FxHashSet<TaskId>,
    now: Now,
}

impl Reader<'_> {
    /// Inserts every waiting task, in the order of the ids; returns their number, and the last id of all. The
    /// arguments stay on the disk.
    fn waiting(&mut self, index: &mut TaskIndex, over: &[TaskId]) -> Result<(u64, Option<TaskId>)> {
        let sql = "SELECT id, queue, priority, due_ms, batch, options, function FROM tasks";
        let mut read = self.connection.prepare(sql)?;
        let mut rows = read.query([])?;
        let (mut waiting, mut last) = (0, None);
        let mut over = over.iter().copied().peekable();
        while let Some(row) = rows.next()? {
            let task = id(row, 0)?;
            last = Some(task);
            while over.next_if(|ended| *ended < task).is_some() {}
            if over.next_if_eq(&task).is_some() {
                continue;
            }
            waiting += 1;
            if self.apart.contains(&task) {
                continue;
            }
            let insertion = self.insertion(row, task, index);
            index.insert(insertion);
        }
        Ok((waiting, last))
    }

    /// A damaged task waits as far as its row can be read, and is set aside when its turn comes.
    fn insertion(&self, row: &Row, task: TaskId, index: &mut TaskIndex) -> Insertion {
        let mut columns = Columns::of(row);
        let queue = columns.text(1, "queue");
        let priority = columns.priority(2);
        let due_ms = columns.number(3, "due_ms");
        let batch = columns.number(4, "batch");
        let options = columns.options(5);
        let function = columns.text(6, "function");
        let place = if columns.damage.is_some() {
            index.local_place(TaskOptions::DEFAULT.queue, priority)
        } else {
            index.place(&queue, &function, priority)
        };
        let retry = self.retries.get(&task);
        let when = match retry {
            Some(retry) => self.when(retry.due_ms, Some(retry.pause_ms)),
            None => self.when(due_ms, options.delay_ms),
        };
        let concurrency = options.concurrency();
        Insertion {
            id: task,
            task: None,
            place,
            when,
            expires: options
                .expires_ms
                .filter(|_| retry.is_none())
                .map(|at_ms| self.when(Some(at_ms), options.expires_in_ms)),
            concurrency: options.concurrency_key.map(|key| (key, concurrency)),
            batch,
            crashes: retry.map_or(0, |retry| retry.crashes),
        }
    }

    /// A due time of an earlier process. A pause goes on by the wall clock, the only one that ran meanwhile;
    /// should that have been set back, the pause is no longer than it was at its beginning.
    fn when(&self, at_ms: Option<u64>, pause_ms: Option<u64>) -> ReadyAt {
        match (at_ms, pause_ms) {
            (None, _) => ReadyAt::Now,
            (Some(at_ms), None) => ReadyAt::Wall(at_ms),
            (Some(at_ms), Some(pause_ms)) => match at_ms.saturating_sub(self.now.wall_ms).min(pause_ms) {
                0 => ReadyAt::Now,
                rest => ReadyAt::Steady(self.now.steady + Duration::from_millis(rest)),
            },
        }
    }
}
