//! Selects the tasks of a change of many tasks, a bounded number of rows at a time.

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::State;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

/// The number of rows that are looked at for each task of a step.
const ROWS_PER_TASK: usize = 4;

/// The place of a selection: tasks after one id and before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last id that was looked at; -1 before the first one.
    pub(super) after: i64,
    /// The first id that is not concerned: tasks that are accepted later are not.
    pub(super) before: TaskId,
}

/// Some of the selected tasks.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// Each with the state in which it has ended; `None` for those that have not.
    pub(super) tasks: Vec<(TaskId, Option<State>)>,
    /// The last id that was looked at.
    pub(super) last: i64,
    /// Whether there may be more.
    pub(super) has_more: bool,
}

/// One task, if it has ended.
pub(super) fn task(file: &Connection, id: TaskId) -> Result<Selected> {
    let sql = "SELECT task, state FROM ends WHERE task = ?1";
    let found =
        file.prepare_cached(sql)?.query_row([id as i64], |row| Ok((id, state(row, 1)?))).optional()?;
    Ok(Selected { tasks: found.into_iter().collect(), ..Selected::default() })
}

/// The tasks of a batch, in the order of their ids.
pub(super) fn of_batch(
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
    select(rows, cursor, limit, rows_max, wanted)
}

/// The failed tasks, of one queue or of all, in the order of their ids.
pub(super) fn failed(
    file: &Connection,
    queue: Option<&str>,
    cursor: Cursor,
    limit: usize,
) -> Result<Selected> {
    let sql = "SELECT e.task, e.state, CASE WHEN e.state = 'failed' THEN \
        EXISTS (SELECT 1 FROM tasks t WHERE t.id = e.task AND (?4 IS NULL OR t.queue = ?4)) ELSE 0 END \
        FROM ends e WHERE e.task > ?1 AND e.task < ?2 ORDER BY e.task LIMIT ?3";
    let mut read = file.prepare_cached(sql)?;
    let rows_max = limit * ROWS_PER_TASK;
    let values = params![cursor.after, cursor.before as i64, rows_max as i64, queue];
    let rows = read.query_map(values, |row| Ok((row.get(0)?, state(row, 1)?, row.get(2)?)))?;
    select(rows, cursor, limit, rows_max, |_| true)
}

fn select(
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
