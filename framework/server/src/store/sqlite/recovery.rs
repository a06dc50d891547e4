//! Reads the file at the start: the tasks that wait, that have ended, and that were cancelled.

use framework_protocol::task::TaskId;
use framework_protocol::views::{BatchInfo, BatchState, FailureFilter, Ledger, State};
use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::types::Type;
use rusqlite::{Connection, Result, Row};
use rustc_hash::FxHashMap;

use super::row::{self, Columns};
use crate::store::durable::ExpiringRow;
use crate::store::durable::journal::{Cursor, RetryPause, Snapshot, StoredChange, WaitingRow};

/// Reads all that earlier processes have left, except the waiting tasks.
pub(super) fn snapshot(file: &Connection, with_functions: bool) -> Result<Snapshot> {
    let (ledger, next_id) = ledger(file)?;
    Ok(Snapshot {
        ledger,
        next_id,
        ends: ends(file, with_functions)?,
        cancelled: cancelled(file)?,
        batches: batches(file)?,
        paused_queues: paused_queues(file)?,
        changes: changes(file).unwrap_or_else(|error| {
            tracing::error!("unfinished changes of tasks cannot be read: {error}");
            Vec::new()
        }),
    })
}

/// Calls `visit` with every task that is not among those that have `ended`, in the order of the ids. The
/// arguments stay on the disk.
pub(super) fn waiting(
    file: &Connection,
    ended: &[TaskId],
    mut visit: impl FnMut(WaitingRow<'_>),
) -> Result<()> {
    let pauses = pauses(file)?;
    let sql = "SELECT id, queue, priority, due_ms, batch, options, function FROM tasks";
    let mut read = file.prepare(sql)?;
    let mut rows = read.query([])?;
    let mut ended = ended.iter().copied().peekable();
    while let Some(row) = rows.next()? {
        let task = id(row, 0)?;
        while ended.next_if(|ended| *ended < task).is_some() {}
        if ended.next_if_eq(&task).is_some() {
            continue;
        }
        let mut columns = Columns::of(row);
        let queue = columns.text(1, "queue");
        let priority = columns.priority(2);
        let due_ms = columns.number(3, "due_ms");
        let batch = columns.number(4, "batch");
        let options = columns.options(5);
        let function = columns.text(6, "function");
        visit(WaitingRow {
            id: task,
            function: &function,
            queue: &queue,
            priority,
            due_ms,
            batch,
            options,
            pause: pauses.get(&task).copied(),
            is_damaged: columns.damage.is_some(),
        });
    }
    Ok(())
}

fn ledger(file: &Connection) -> Result<(Ledger, TaskId)> {
    let sql = "SELECT next_id, done, failed, cancelled, expired FROM ledger";
    file.query_row(sql, [], |row| {
        let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
        let ledger = Ledger {
            done: number(1)?,
            failed: number(2)?,
            cancelled: number(3)?,
            expired: number(4)?,
            ..Ledger::default()
        };
        Ok((ledger, number(0)?))
    })
}

/// The ended tasks that are kept, in the order of their ends, with their functions where these matter.
fn ends(file: &Connection, has_functions: bool) -> Result<Vec<(ExpiringRow, String)>> {
    let mut read = file.prepare(if has_functions {
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

/// The tasks that were cancelled while they ran.
fn cancelled(file: &Connection) -> Result<Vec<TaskId>> {
    let mut read = file.prepare("SELECT task FROM cancels")?;
    let rows = read.query_map([], |row| id(row, 0))?;
    rows.collect()
}

fn paused_queues(file: &Connection) -> Result<Vec<String>> {
    let mut read = file.prepare("SELECT name FROM queues WHERE paused")?;
    let rows = read.query_map([], |row| Ok(row::text(row, 0).unwrap_or_default()))?;
    rows.collect()
}

fn pauses(file: &Connection) -> Result<FxHashMap<TaskId, RetryPause>> {
    let mut read = file.prepare("SELECT task, crashes, due_ms, pause_ms FROM retries")?;
    let rows = read.query_map([], |row| {
        let number = |index| row::number(row, index);
        let crashes = number(1).and_then(|crashes| u32::try_from(crashes).ok()).unwrap_or(0);
        Ok((id(row, 0)?, RetryPause { crashes, due_ms: number(2), length_ms: number(3).unwrap_or(0) }))
    })?;
    rows.collect()
}

/// The changes of many tasks that an earlier process has begun.
fn changes(file: &Connection) -> Result<Vec<StoredChange>> {
    let sql = "SELECT id, kind, batch, queue, after, before, function, cause FROM changes ORDER BY id";
    let mut read = file.prepare(sql)?;
    let rows = read.query_map([], |row| {
        let cause = row.get::<_, Option<String>>(7)?.map(|cause| cause.parse()).transpose();
        let cause = cause.map_err(|error| FromSqlConversionFailure(7, Type::Text, Box::new(error)))?;
        Ok(StoredChange {
            id: row.get(0)?,
            kind: row.get(1)?,
            batch: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
            filter: FailureFilter { queue: row.get(3)?, function: row.get(6)?, cause },
            cursor: Cursor { after: row.get(4)?, before: row.get::<_, i64>(5)?.unsigned_abs() },
        })
    })?;
    rows.collect()
}

/// The batches that have not ended, and the last one of all.
fn batches(file: &Connection) -> Result<Vec<BatchInfo>> {
    let mut read =
        file.prepare("SELECT * FROM batches WHERE state <> 'ended' OR id = (SELECT max(id) FROM batches)")?;
    let rows = read.query_map([], batch)?;
    rows.collect()
}

/// A row of `batches`.
pub(super) fn batch(row: &Row) -> Result<BatchInfo> {
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

fn id(row: &Row, index: usize) -> Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}
