//! Reads the bodies of tasks from the file.

use framework_protocol::task::TaskId;
use rusqlite::{Connection, OptionalExtension};

use super::names::SharedNames;
use super::row;
use crate::store::durable::journal::LoadedTask;

/// Reads one task, if it is there.
pub(super) fn load_one(
    connection: &Connection,
    names: &SharedNames,
    id: TaskId,
    now_ms: u64,
) -> Result<Option<LoadedTask>, rusqlite::Error> {
    let mut tasks = load(connection, names, &[id], now_ms)?;
    Ok(tasks.pop())
}

/// Reads tasks in the order of their ids; those that are not there are left out.
///
/// # Errors
/// When the file cannot be read for the moment. A damaged row is none: it says so itself.
pub(super) fn load(
    connection: &Connection,
    names: &SharedNames,
    ids: &[TaskId],
    now_ms: u64,
) -> Result<Vec<LoadedTask>, rusqlite::Error> {
    let sql = format!(
        "SELECT {} FROM tasks t LEFT JOIN retries r ON r.task = t.id WHERE t.id BETWEEN ?1 AND ?2",
        row::COLUMNS
    );
    let mut read = connection.prepare_cached(&sql)?;
    let mut range = |first: TaskId, last: TaskId| -> Result<Vec<_>, rusqlite::Error> {
        read.query_map([first as i64, last as i64], |row| row::task(row, names, now_ms))?.collect()
    };
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut tasks = Vec::with_capacity(sorted.len());
    // Neighbours are read in one go, unless one of them stands on a damaged page.
    for run in sorted.chunk_by(|a, b| a + 1 == *b) {
        match range(run[0], run[run.len() - 1]) {
            Ok(read) => tasks.extend(read),
            Err(error) if is_damage(&error) => {
                for id in run {
                    match range(*id, *id) {
                        Ok(read) => tasks.extend(read),
                        Err(error) if is_damage(&error) => {
                            tasks.push(LoadedTask::unreadable(*id, error.to_string()));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(tasks)
}

/// Whether a part of the file is damaged, so that another try would meet the same error.
fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt)
}

/// Reads one value, if its row is there.
pub(super) fn one<T: rusqlite::types::FromSql>(
    connection: &Connection,
    sql: &str,
    id: u64,
) -> rusqlite::Result<Option<T>> {
    connection.prepare_cached(sql)?.query_row([id as i64], |row| row.get(0)).optional()
}
