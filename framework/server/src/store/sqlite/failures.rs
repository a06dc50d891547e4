//! The failed tasks by their causes, and what a change of many tasks would change, as the file has them.

use framework_protocol::task::TaskId;
use framework_protocol::views::{ChangePreview, FailureFilter, FailureReport, PreviewedTask, TaskSelector};
use rusqlite::{Connection, Result, Row, ToSql};

use super::load::one;
use crate::store::PlannedSelection;
use crate::store::failure_groups::{FailedTask, FailureGroups};

/// The failed tasks by their causes; the newest ones, if they are too many.
pub(super) fn report(file: &Connection, filter: FailureFilter, limit: usize) -> Result<FailureReport> {
    let mut groups = FailureGroups::new(filter);
    each_failed(file, |task| groups.add(task))?;
    Ok(groups.report(limit))
}

/// The tasks that a change would change. Those of a flush are not in the file.
pub(super) fn preview(file: &Connection, planned: &PlannedSelection) -> Result<ChangePreview> {
    const OF_BATCH: &str = "FROM tasks t LEFT JOIN ends e ON e.task = t.id WHERE t.batch = ?1 AND";
    const TASK: &str = "FROM ends e JOIN tasks t ON t.id = e.task WHERE t.id = ?1 AND";
    const WITH_END: &str = "e.task IS NOT NULL";
    const NOT_DONE: &str = "e.state <> 'done'";
    let (selector, state) = match planned {
        PlannedSelection::Flush { .. } => return Ok(ChangePreview::default()),
        PlannedSelection::Cancel(batch) => return counted(file, OF_BATCH, "e.task IS NULL", *batch),
        PlannedSelection::Retry(selector) => (selector, NOT_DONE),
        PlannedSelection::Forget(selector) => (selector, WITH_END),
    };
    match selector {
        TaskSelector::Task(id) => counted(file, TASK, state, *id),
        TaskSelector::Batch(id) => counted(file, OF_BATCH, state, *id),
        TaskSelector::Failed(filter) => {
            let (mut count, mut first, mut last) = (0, None, None);
            each_failed(file, |task| {
                if filter.selects(task.queue, task.function, task.error) {
                    count += 1;
                    // The newest ones come first.
                    (first, last) = (Some(task.id), last.or(Some(task.id)));
                }
                true
            })?;
            of_ids(file, count, first, last)
        }
    }
}

/// Calls this with each failed task, the newest first, as long as it returns `true`.
fn each_failed(file: &Connection, mut call: impl FnMut(&FailedTask) -> bool) -> Result<()> {
    let sql = "SELECT e.task, t.queue, t.function, e.error, e.ended_ms \
        FROM ends e CROSS JOIN tasks t ON t.id = e.task WHERE e.state = 'failed' ORDER BY e.task DESC";
    let mut read = file.prepare_cached(sql)?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let task = FailedTask {
            id: row.get::<_, i64>(0)?.unsigned_abs(),
            queue: text(row, 1),
            function: text(row, 2),
            error: text(row, 3),
            ended_ms: row.get::<_, i64>(4).map_or(0, i64::unsigned_abs),
        };
        if !call(&task) {
            break;
        }
    }
    Ok(())
}

/// A text; empty if it is damaged or missing.
pub(super) fn text<'r>(row: &'r Row, column: usize) -> &'r str {
    row.get_ref(column).ok().and_then(|value| value.as_str().ok()).unwrap_or_default()
}

fn counted(file: &Connection, from: &str, state: &str, id: TaskId) -> Result<ChangePreview> {
    let sql = format!("SELECT count(*), min(t.id), max(t.id) {from} {state}");
    let id = id as i64;
    let values: [&dyn ToSql; 1] = [&id];
    let (count, first, last) = file.prepare_cached(&sql)?.query_row(values, |row| {
        let id = |column| row.get::<_, Option<i64>>(column).map(|id| id.map(i64::unsigned_abs));
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), id(1)?, id(2)?))
    })?;
    of_ids(file, count, first, last)
}

fn of_ids(
    file: &Connection,
    count: u64,
    first: Option<TaskId>,
    last: Option<TaskId>,
) -> Result<ChangePreview> {
    let task = |id: Option<TaskId>| -> Result<Option<PreviewedTask>> {
        let Some(id) = id else { return Ok(None) };
        let accepted_ms: Option<i64> = one(file, "SELECT accepted_ms FROM tasks WHERE id = ?1", id)?;
        Ok(accepted_ms.map(|accepted_ms| PreviewedTask { id, accepted_ms: accepted_ms.unsigned_abs() }))
    };
    Ok(ChangePreview { tasks: count, oldest: task(first)?, newest: task(last)? })
}
