//! The attempts of a task that are kept.

use framework_protocol::task::TaskId;
use rusqlite::{Connection, Result, params};

use crate::store::{FIRST_ATTEMPTS, LAST_ATTEMPTS};

/// Deletes the attempts in the middle of a long history, of which `last` is the latest.
pub(super) fn bound_attempts(file: &Connection, task: TaskId, last: u32) -> Result<()> {
    let Some(surplus) = last.checked_sub(LAST_ATTEMPTS).filter(|surplus| *surplus > FIRST_ATTEMPTS) else {
        return Ok(());
    };
    let sql = "DELETE FROM attempts WHERE task = ?1 AND number > ?2 AND number <= ?3";
    file.prepare_cached(sql)?.execute(params![task as i64, FIRST_ATTEMPTS, surplus]).map(drop)
}
