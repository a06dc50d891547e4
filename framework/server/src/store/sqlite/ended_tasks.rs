//! Changes of ended tasks in the file: they wait again, or are forgotten; many of them by a few statements.

use std::sync::atomic::Ordering;

use framework_protocol::task::TaskId;
use framework_protocol::views::{Ledger, State};
use rusqlite::{Connection, Result, Row, params};
use rustc_hash::FxHashMap;

use super::attempts::bound_attempts;
use super::batch_counts::BatchCounts;
use super::chosen::ChosenTasks;
use super::row;
use crate::store::durable::count_in;
use crate::store::durable::journal::RetriedTask;

/// Lets ended tasks wait again: the last attempt of each joins those before.
pub(super) fn retry(file: &Connection, retried: &[RetriedTask]) -> Result<()> {
    let ids = |one: &RetriedTask| one.task.id;
    let alone = retried.iter().filter(|one| one.is_alone).map(ids).collect();
    ChosenTasks::new(file, alone)?.execute("UPDATE tasks SET batch = NULL WHERE id {chosen}")?;
    let chosen = ChosenTasks::new(file, retried.iter().map(ids).collect())?;
    for sql in [
        "INSERT OR REPLACE INTO attempts SELECT task, attempt, coalesce(started_ms, ended_ms), ran_us, \
            coalesce(pid, 0), error, worker FROM ends WHERE task {chosen} AND attempt IS NOT NULL",
        "DELETE FROM ends WHERE task {chosen}",
        "DELETE FROM cancels WHERE task {chosen}",
        "INSERT OR REPLACE INTO retries SELECT id, \
            coalesce((SELECT max(number) FROM attempts WHERE task = id), 0), 0, 0, NULL, 0 \
            FROM tasks WHERE id {chosen}",
    ] {
        chosen.execute(sql)?;
    }
    let attempts = attempts(&chosen)?;
    let mut counts = BatchCounts::default();
    for RetriedTask { task, from, batch, .. } in retried {
        let attempts = attempts.get(&task.id).copied().unwrap_or(0);
        bound_attempts(file, task.id, attempts)?;
        task.attempts.store(attempts, Ordering::Relaxed);
        batch.iter().for_each(|batch| counts.again(*batch, *from));
    }
    counts.write(file)
}

/// The number of attempts that each of the chosen tasks has behind it.
fn attempts(chosen: &ChosenTasks) -> Result<FxHashMap<TaskId, u32>> {
    let mut attempts = FxHashMap::default();
    let read = |row: &Row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?));
    chosen.query("SELECT task, attempts FROM retries WHERE task {chosen}", read, &mut attempts)?;
    Ok(attempts)
}

/// The functions of tasks.
pub(super) fn functions(file: &Connection, ids: Vec<TaskId>) -> Result<FxHashMap<TaskId, String>> {
    let mut functions = FxHashMap::default();
    let read = |row: &Row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row::text(row, 1).unwrap_or_default()));
    let sql = "SELECT id, function FROM tasks WHERE id {chosen}";
    ChosenTasks::new(file, ids)?.query(sql, read, &mut functions)?;
    Ok(functions)
}

/// Deletes all that is kept of tasks; the ledger goes on counting those that have ended.
pub(super) fn forget(file: &Connection, tasks: &[(TaskId, Option<State>)], next_id: TaskId) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let mut ended = Ledger::default();
    tasks.iter().filter_map(|(_, state)| *state).for_each(|state| count_in(&mut ended, state));
    ChosenTasks::new(file, tasks.iter().map(|(id, _)| *id).collect())?.delete()?;
    note(file, &ended, next_id)
}

/// Counts ended tasks in the ledger of which nothing is kept.
fn note(file: &Connection, ended: &Ledger, next_id: TaskId) -> Result<()> {
    let sql = "UPDATE ledger SET next_id = ?1, done = done + ?2, failed = failed + ?3, \
        cancelled = cancelled + ?4, expired = expired + ?5";
    let Ledger { done, failed, cancelled, expired, .. } = *ended;
    let row = params![next_id as i64, done as i64, failed as i64, cancelled as i64, expired as i64];
    file.prepare_cached(sql)?.execute(row).map(drop)
}
