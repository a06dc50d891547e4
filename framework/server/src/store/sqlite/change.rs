//! Changes of the file beside the groups.

use framework_protocol::task::TaskId;
use framework_protocol::views::{BatchInfo, FailureFilter, FunctionRecord, ScheduleNote};
use rusqlite::{Connection, Result, params};

use super::{ended_tasks, figure_history};
use crate::store::durable::journal::{JournalChange, StoredChange};

/// Makes a change.
pub(super) fn make(
    file: &Connection,
    change: &JournalChange<'_>,
    next_id: TaskId,
    now_ms: u64,
) -> Result<()> {
    match change {
        JournalChange::Pause { queue, paused } => {
            file.execute("INSERT OR REPLACE INTO queues VALUES (?1, ?2)", params![queue, paused]).map(drop)
        }
        JournalChange::OpenBatch(info) => open_batch(file, info),
        JournalChange::SealBatch(id) => {
            let sql = "UPDATE batches SET state = 'running' WHERE id = ?1";
            file.execute(sql, [*id as i64]).map(drop)
        }
        JournalChange::AbandonBatch(id) => {
            let sql = "UPDATE batches SET state = 'abandoned', then_function = NULL WHERE id = ?1";
            file.execute(sql, [*id as i64]).map(drop)
        }
        JournalChange::Schedule { name, note } => note_schedule(file, name, note),
        JournalChange::KeepFunction(FunctionRecord { name, registration, seen_ms }) => {
            let row = params![name, registration, *seen_ms as i64];
            file.execute("INSERT OR REPLACE INTO functions VALUES (?1, ?2, ?3)", row).map(drop)
        }
        JournalChange::ForgetFunction { name } => {
            file.execute("DELETE FROM functions WHERE name = ?1", [name]).map(drop)
        }
        JournalChange::RecordHistory(rows) => figure_history::record(file, rows, now_ms),
        JournalChange::CancelRunning(ids) => {
            let mut insert = file.prepare_cached("INSERT OR REPLACE INTO cancels VALUES (?1)")?;
            ids.iter().try_for_each(|id| insert.execute([*id as i64]).map(drop))
        }
        JournalChange::BeginBulk(StoredChange { id, kind, batch, filter, cursor }) => {
            let FailureFilter { queue, function, cause } = filter;
            let (batch, cause) = (batch.map(|batch| batch as i64), cause.map(|cause| cause.to_string()));
            let row = params![id, kind, batch, queue, function, cause, cursor.after, cursor.before as i64];
            let sql = "INSERT INTO changes (id, kind, batch, queue, function, cause, after, before) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            file.execute(sql, row).map(drop)
        }
        JournalChange::EndBulk { id } => file.execute("DELETE FROM changes WHERE id = ?1", [id]).map(drop),
        JournalChange::Retry { tasks, bulk, after } => {
            move_on(file, *bulk, *after)?;
            ended_tasks::retry(file, tasks)
        }
        JournalChange::Forget { tasks, bulk, after } => {
            move_on(file, *bulk, *after)?;
            ended_tasks::forget(file, tasks, next_id)
        }
    }
}

fn open_batch(file: &Connection, info: &BatchInfo) -> Result<()> {
    let sql = "INSERT INTO batches VALUES (?1, ?2, ?3, 'open', 0, 0, 0, 0, 0, ?4, NULL, ?5, NULL)";
    let row = params![info.id as i64, info.name, info.function, info.opened_ms as i64, info.then];
    file.execute(sql, row).map(drop)
}

fn note_schedule(file: &Connection, name: &str, note: &ScheduleNote) -> Result<()> {
    let sql = "INSERT INTO schedules VALUES (?1, ?2, ?3, ?4, coalesce(?5, 0)) ON CONFLICT (name) \
        DO UPDATE SET seen_ms = coalesce(?2, seen_ms), fired_ms = coalesce(?3, fired_ms), \
        task = coalesce(?4, task), paused = coalesce(?5, paused)";
    let number = |number: Option<u64>| number.map(|number| number as i64);
    let (seen_ms, fired_ms, task) = (number(note.seen_ms), number(note.fired_ms), number(note.task));
    file.execute(sql, params![name, seen_ms, fired_ms, task, note.paused]).map(drop)
}

/// Notes that a change of many tasks has dealt with those up to this one.
fn move_on(file: &Connection, bulk: Option<i64>, after: i64) -> Result<()> {
    let Some(id) = bulk else { return Ok(()) };
    file.prepare_cached("UPDATE changes SET after = ?2 WHERE id = ?1")?.execute([id, after]).map(drop)
}
