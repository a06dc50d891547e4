//! The failed tasks of some functions, as the file has them.

use framework_protocol::task::TaskId;
use rusqlite::{Connection, Result, params_from_iter};

/// The number of failed tasks of these functions, by queue.
pub(super) fn failed_by_queue(file: &Connection, functions: &[String]) -> Result<Vec<(String, u64)>> {
    let sql = format!(
        "SELECT t.queue, count(*) FROM ends e CROSS JOIN tasks t ON t.id = e.task \
         WHERE e.state = 'failed' AND t.function IN ({}) GROUP BY t.queue",
        places(functions.len(), 1)
    );
    let mut read = file.prepare_cached(&sql)?;
    let rows = read.query_map(params_from_iter(functions), |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    rows.collect()
}

/// The failed tasks of these functions in a queue; those that failed first are first.
pub(super) fn next_failed(
    file: &Connection,
    functions: &[String],
    queue: &str,
    limit: usize,
) -> Result<Vec<TaskId>> {
    let sql = format!(
        "SELECT e.task FROM ends e CROSS JOIN tasks t ON t.id = e.task \
         WHERE e.state = 'failed' AND t.queue = ?1 AND t.function IN ({}) \
         ORDER BY e.ended_ms, e.task LIMIT {limit}",
        places(functions.len(), 2)
    );
    let mut read = file.prepare_cached(&sql)?;
    let values = std::iter::once(queue).chain(functions.iter().map(String::as_str));
    let rows = read.query_map(params_from_iter(values), |row| row.get::<_, i64>(0).map(i64::unsigned_abs))?;
    rows.collect()
}

/// The places of so many values in a statement, of which the first is `first`.
fn places(count: usize, first: usize) -> String {
    (first..first + count).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ")
}
