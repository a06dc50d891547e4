//! Selects the tasks of a change of many tasks, a bounded number of rows at a time.

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::{FailureFilter, State};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::failures::text;
use crate::store::durable::journal::{Cursor, Selected, TaskSelection};

/// The number of rows that are looked at for each task of a step.
const ROWS_PER_TASK: usize = 4;

/// Selects tasks behind the cursor.
pub(super) fn select(
    file: &Connection,
    wanted: &TaskSelection,
    cursor: Cursor,
    limit: usize,
) -> Result<Selected> {
    match wanted {
        TaskSelection::Ended(id) => task(file, *id),
        TaskSelection::OpenOfBatch(batch) | TaskSelection::EndedOfBatch { batch, .. } => {
            of_batch(file, *batch, cursor, limit, |state| wanted.wants(state))
        }
        TaskSelection::Failed(filter) => failed(file, filter, cursor, limit),
    }
}

/// One task, if it has ended.
fn task(file: &Connection, id: TaskId) -> Result<Selected> {
    let sql = "SELECT task, state FROM ends WHERE task = ?1";
    let found =
        file.prepare_cached(sql)?.query_row([id as i64], |row| Ok((id, state(row, 1)?))).optional()?;
    Ok(Selected { tasks: found.into_iter().collect(), ..Selected::default() })
}

/// The tasks of a batch, in the order of their ids.
fn of_batch(
    file: &Connection,
    batch: BatchId,
    cursor: Cursor,
    limit: usize,
    wanted: impl Fn(Option<State>) -> bool,
) -> Result<Selected> {
    let sql = "SELECT t.id, e.state FROM tasks t LEFT JOIN ends e ON e.task = t.id \
        WHERE t.batch = ?1 AND t.id > ?2 AND t.id < ?3 ORDER BY t.id LIMIT ?4";
    let mut read = file.prepare_cached(sql)?;
    let rows_max = limit * ROWS_PER_TASK;
    let values = params![batch as i64, cursor.after, cursor.before as i64, rows_max as i64];
    let rows = read.query_map(values, |row| Ok((row.get(0)?, state(row, 1)?, true)))?;
    choose(rows, cursor, limit, rows_max, wanted)
}

/// Those of the failed tasks that a filter selects, in the order of their ids.
fn failed(file: &Connection, filter: &FailureFilter, cursor: Cursor, limit: usize) -> Result<Selected> {
    let sql = "SELECT e.task, t.queue, t.function, e.error FROM ends e CROSS JOIN tasks t ON t.id = e.task \
        WHERE e.state = 'failed' AND e.task > ?1 AND e.task < ?2 ORDER BY e.task LIMIT ?3";
    let mut read = file.prepare_cached(sql)?;
    let rows_max = limit * ROWS_PER_TASK;
    let values = params![cursor.after, cursor.before as i64, rows_max as i64];
    let rows = read.query_map(values, |row| {
        let is_selected = filter.selects(text(row, 1), text(row, 2), text(row, 3));
        Ok((row.get(0)?, Some(State::Failed), is_selected))
    })?;
    choose(rows, cursor, limit, rows_max, |_| true)
}

fn choose(
    rows: impl Iterator<Item = Result<(i64, Option<State>, bool)>>,
    cursor: Cursor,
    limit: usize,
    rows_max: usize,
    wanted: impl Fn(Option<State>) -> bool,
) -> Result<Selected> {
    let mut selected = Selected { last: cursor.after, ..Selected::default() };
    let mut count = 0;
    for row in rows {
        let (id, state, is_selected) = row?;
        if selected.tasks.len() == limit {
            selected.has_more = true;
            return Ok(selected);
        }
        count += 1;
        selected.last = id;
        if is_selected && wanted(state) {
            selected.tasks.push((id.unsigned_abs(), state));
        }
    }
    selected.has_more = count == rows_max;
    Ok(selected)
}

fn state(row: &Row, column: usize) -> Result<Option<State>> {
    let state = row.get_ref(column)?.as_str_or_null()?;
    Ok(state.map(|state| state.parse().unwrap_or(State::Failed)))
}
