//! Reads the file at the start: the tasks that wait, that have ended, and that ran when their process died.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{BatchInfo, BatchState, Ledger, State};
use rusqlite::{Connection, OptionalExtension, Row};
use rustc_hash::{FxHashMap, FxHashSet};

use super::names::SharedNames;
use super::retention::{ExpiringRow, Retention, count_in};
use super::row::{self, RowOptions};
use crate::store::StoreOptions;
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::index::{AttemptRun, Insertion, Record, TaskIndex};

/// The parts of a store that were read from the file.
pub(super) struct Recovered {
    pub(super) retention: Retention,
    pub(super) next_id: TaskId,
    /// To be written before anything else.
    pub(super) records: Vec<Record>,
}

/// A row of `retries`.
struct Retry {
    crashes: u32,
    due_ms: Option<u64>,
    pause_ms: u64,
}

/// Fills the index from the file. `died` are the tasks that were running when the last process died.
pub(super) fn recover(
    connection: &Connection,
    index: &mut TaskIndex,
    options: &StoreOptions,
    names: &SharedNames,
    died: &[TaskId],
    now: Now,
) -> Result<Recovered> {
    let (mut ledger, noted_id) = ledger(connection)?;
    let ends = ends(connection)?;
    ends.iter().for_each(|end| count_in(&mut ledger, end.state));
    let mut over: Vec<_> = ends.iter().map(|end| end.id).collect();
    over.sort_unstable();
    batches(connection)?.into_iter().for_each(|batch| index.batches().restore(batch));
    let cancelled = cancelled(connection, &over)?;
    let died: FxHashSet<_> = died.iter().copied().filter(|id| !cancelled.contains(id)).collect();
    let apart = died.union(&cancelled).copied().collect();
    let mut reader = Reader { connection, retries: retries(connection)?, apart: &apart, now };
    let (waiting, last) = reader.waiting(index, &over)?;
    ledger.accepted = ledger.ended() + waiting;
    index.resume(ledger);
    let mut records = Vec::new();
    for id in died.iter().filter(|id| over.binary_search(id).is_err()) {
        if let Some(task) = load_one(connection, names, *id, now.wall_ms)? {
            restore_crashed(index, Arc::new(task), now, &mut records);
        }
    }
    for id in cancelled {
        if let Some(task) = load_one(connection, names, id, now.wall_ms)? {
            index.restore_cancelled(Arc::new(task), now, &mut records);
        }
    }
    index.note_batches(now, &mut records);
    let mut paused = connection.prepare("SELECT name FROM queues WHERE paused")?;
    for name in paused.query_map([], |row| row.get::<_, String>(0))? {
        index.order().pause(&name?, true);
    }
    let next_id = noted_id.max(last.map_or(0, |last| last + 1)).max(over.last().map_or(0, |last| last + 1));
    Ok(Recovered { retention: Retention::new(options, ends), next_id, records })
}

/// Counts the attempt in which the process died.
fn restore_crashed(index: &mut TaskIndex, task: Arc<TaskRecord>, now: Now, records: &mut Vec<Record>) {
    const REASON: &str = "The process died while it ran.";
    let run = AttemptRun { number: task.attempts() + 1, started_ms: now.wall_ms, ran: None };
    index.restore_crashed(task, run, REASON, now, records);
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

/// The ended tasks that are kept, in the order of their ends.
fn ends(connection: &Connection) -> Result<VecDeque<ExpiringRow>> {
    let mut read = connection.prepare("SELECT task, ended_ms, state FROM ends")?;
    let rows = read.query_map([], |row| {
        let state = row.get_ref(2)?.as_str()?;
        let state = state.parse().unwrap_or(State::Failed);
        Ok(ExpiringRow { id: id(row, 0)?, at_ms: id(row, 1)?, state })
    })?;
    let mut ends = rows.collect::<Result<Vec<_>, _>>()?;
    ends.sort_by_key(|end| (end.at_ms, end.id));
    Ok(ends.into())
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
        let due_ms = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
        Ok((id(row, 0)?, Retry { crashes: row.get(1)?, due_ms, pause_ms: id(row, 3)? }))
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
    Ok(BatchInfo {
        id: id(row, 0)?,
        name: row.get(1)?,
        function: row.get(2)?,
        state: row.get_ref(3)?.as_str()?.parse().unwrap_or(BatchState::Ended),
        total: id(row, 4)?,
        done: id(row, 5)?,
        failed: id(row, 6)?,
        cancelled: id(row, 7)?,
        expired: id(row, 8)?,
        opened_ms: id(row, 9)?,
        ended_ms: row.get::<_, Option<i64>>(10)?.map(i64::unsigned_abs),
        then: row.get(11)?,
        then_task: row.get::<_, Option<i64>>(12)?.map(i64::unsigned_abs),
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
        let sql = "SELECT id, queue, priority, due_ms, batch, options FROM tasks";
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
            let insertion = self.insertion(row, task, index)?;
            index.insert(insertion);
        }
        Ok((waiting, last))
    }

    fn insertion(&self, row: &Row, task: TaskId, index: &mut TaskIndex) -> Result<Insertion> {
        let options = RowOptions::read(row.get_ref(5)?.as_str_or_null()?);
        let retry = self.retries.get(&task);
        let due_ms = row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs);
        let when = match retry {
            Some(retry) => self.when(retry.due_ms, Some(retry.pause_ms)),
            None => self.when(due_ms, options.delay_ms),
        };
        let concurrency = options.concurrency();
        Ok(Insertion {
            id: task,
            task: None,
            place: index.place(row.get_ref(1)?.as_str()?, row.get::<_, u8>(2)?.min(9)),
            when,
            expires: options
                .expires_ms
                .filter(|_| retry.is_none())
                .map(|at_ms| self.when(Some(at_ms), options.expires_in_ms)),
            concurrency: options.concurrency_key.map(|key| (key, concurrency)),
            batch: row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
            crashes: retry.map_or(0, |retry| retry.crashes),
        })
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

/// Reads one task, if it is there.
pub(super) fn load_one(
    connection: &Connection,
    names: &SharedNames,
    id: TaskId,
    now_ms: u64,
) -> Result<Option<TaskRecord>, rusqlite::Error> {
    let mut tasks = load(connection, names, &[id], now_ms)?;
    Ok(tasks.pop())
}

/// Reads tasks in the order of their ids; those that are not there are left out.
pub(super) fn load(
    connection: &Connection,
    names: &SharedNames,
    ids: &[TaskId],
    now_ms: u64,
) -> Result<Vec<TaskRecord>, rusqlite::Error> {
    let sql = format!(
        "SELECT {} FROM tasks t LEFT JOIN retries r ON r.task = t.id WHERE t.id BETWEEN ?1 AND ?2",
        row::COLUMNS
    );
    let mut read = connection.prepare_cached(&sql)?;
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut tasks = Vec::with_capacity(sorted.len());
    // Neighbours are read in one go.
    for run in sorted.chunk_by(|a, b| a + 1 == *b) {
        let range = [run[0] as i64, run[run.len() - 1] as i64];
        let rows = read.query_map(range, |row| row::task(row, names, now_ms))?;
        for task in rows {
            tasks.push(task?);
        }
    }
    Ok(tasks)
}

/// Reads one value, if its row is there.
pub(super) fn one<T: rusqlite::types::FromSql>(
    connection: &Connection,
    sql: &str,
    id: u64,
) -> rusqlite::Result<Option<T>> {
    connection.prepare_cached(sql)?.query_row([id as i64], |row| row.get(0)).optional()
}
