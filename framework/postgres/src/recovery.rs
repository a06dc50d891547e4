//! Reads the database at the start: the tasks that wait, that have ended, and that were cancelled.

use framework_protocol::task::TaskId;
use framework_protocol::views::{BatchInfo, BatchState, FailureCause, FailureFilter, Ledger, State};
use framework_server::store::durable::ExpiringRow;
use framework_server::store::durable::journal::{Cursor, RetryPause, Snapshot, StoredChange, WaitingRow};
use tokio_postgres::Row;

use crate::error::CallError;
use crate::link::{Call, Link};

/// The number of rows that are read at a time.
const PAGE: i64 = 10_000;

pub(crate) fn number(row: &Row, column: usize) -> Option<u64> {
    row.get::<_, Option<i64>>(column).map(i64::unsigned_abs)
}

pub(crate) fn id(row: &Row, column: usize) -> TaskId {
    row.get::<_, i64>(column).unsigned_abs()
}

/// Reads all that earlier processes have left, except the waiting tasks.
pub(crate) async fn snapshot(link: &Link, with_functions: bool) -> Result<Snapshot, CallError> {
    let (ledger, next_id) = ledger(link).await?;
    let cancelled = link.query(Call::new("SELECT task FROM cancels")).await?;
    let batches = Call::new(
        "SELECT * FROM batches WHERE state <> 'ended' OR id = (SELECT max(id) FROM batches) ORDER BY id",
    );
    let paused = link.query(Call::new("SELECT name FROM queues WHERE paused")).await?;
    let changes =
        Call::new("SELECT id, kind, batch, queue, after, before, function, cause FROM changes ORDER BY id");
    let change = |row: &Row| StoredChange {
        id: row.get(0),
        kind: row.get(1),
        batch: number(row, 2),
        filter: FailureFilter { queue: row.get(3), function: row.get(6), cause: cause(row) },
        cursor: Cursor { after: row.get(4), before: id(row, 5) },
    };
    Ok(Snapshot {
        ledger,
        next_id,
        ends: ends(link, with_functions).await?,
        cancelled: cancelled.iter().map(|row| id(row, 0)).collect(),
        batches: link.query(batches).await?.iter().map(batch).collect(),
        paused_queues: paused.iter().map(|row| row.get(0)).collect(),
        changes: link.query(changes).await?.iter().map(change).collect(),
    })
}

/// The cause of a change; one that cannot be read is that of no task.
fn cause(row: &Row) -> Option<FailureCause> {
    let cause: Option<&str> = row.get(7);
    cause.map(|cause| cause.parse().unwrap_or_else(|_| FailureCause::new("", "")))
}

async fn ledger(link: &Link) -> Result<(Ledger, TaskId), CallError> {
    let sums = Call::new(
        "SELECT coalesce(sum(done), 0)::bigint, coalesce(sum(failed), 0)::bigint, \
         coalesce(sum(cancelled), 0)::bigint, coalesce(sum(expired), 0)::bigint, \
         coalesce(max(next_id), 0) FROM ledger",
    );
    let rows = link.query(sums).await?;
    let Some(row) = rows.first() else { return Ok((Ledger::default(), 0)) };
    let ledger = Ledger {
        done: id(row, 0),
        failed: id(row, 1),
        cancelled: id(row, 2),
        expired: id(row, 3),
        ..Ledger::default()
    };
    Ok((ledger, id(row, 4)))
}

/// The ended tasks in the order of their ends, with their functions where these matter.
async fn ends(link: &Link, with_functions: bool) -> Result<Vec<(ExpiringRow, String)>, CallError> {
    let sql = if with_functions {
        "SELECT e.task, e.ended_ms, e.state, coalesce(t.function, '') FROM ends e \
         LEFT JOIN tasks t ON t.id = e.task WHERE e.task > $1 ORDER BY e.task LIMIT $2"
    } else {
        "SELECT task, ended_ms, state, '' FROM ends WHERE task > $1 ORDER BY task LIMIT $2"
    };
    let mut ends = Vec::new();
    let mut after = -1_i64;
    loop {
        let rows = link.query(Call::new(sql).with(after).with(PAGE)).await?;
        let Some(last) = rows.last() else { break };
        after = last.get(0);
        ends.extend(rows.iter().map(|row| {
            let state = row.get::<_, &str>(2).parse().unwrap_or(State::Failed);
            (ExpiringRow { id: id(row, 0), at_ms: id(row, 1), state }, row.get(3))
        }));
    }
    ends.sort_by_key(|(end, _)| (end.at_ms, end.id));
    Ok(ends)
}

/// Reads the next tasks that have not ended, in the order of the ids.
pub(crate) async fn waiting_page(link: &Link, after: Option<TaskId>) -> Result<Vec<Row>, CallError> {
    let page = Call::new(
        "SELECT t.id, t.function, t.queue, t.priority, t.due_ms, t.batch, t.options, r.crashes, r.due_ms, \
         r.pause_ms FROM tasks t LEFT JOIN retries r ON r.task = t.id WHERE t.id > $1 \
         AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.task = t.id) ORDER BY t.id LIMIT $2",
    );
    link.query(page.with(after.map_or(-1, |after| after as i64)).with(PAGE)).await
}

pub(crate) fn waiting_row(row: &Row) -> WaitingRow<'_> {
    let options = row.get::<_, Option<&str>>(6).map(serde_json::from_str).transpose();
    let priority = u8::try_from(row.get::<_, i16>(3)).ok().filter(|priority| *priority <= 9);
    let pause = row.get::<_, Option<i32>>(7).map(|crashes| RetryPause {
        crashes: u32::try_from(crashes).unwrap_or(0),
        due_ms: number(row, 8),
        length_ms: number(row, 9).unwrap_or(0),
    });
    WaitingRow {
        id: id(row, 0),
        function: row.get(1),
        queue: row.get(2),
        priority: priority.unwrap_or(0),
        due_ms: number(row, 4),
        batch: number(row, 5),
        is_damaged: options.is_err() || priority.is_none(),
        options: options.ok().flatten().unwrap_or_default(),
        pause,
    }
}

/// A row of `batches`.
pub(crate) fn batch(row: &Row) -> BatchInfo {
    BatchInfo {
        id: id(row, 0),
        name: row.get(1),
        function: row.get(2),
        state: row.get::<_, &str>(3).parse().unwrap_or(BatchState::Ended),
        total: id(row, 4),
        done: id(row, 5),
        failed: id(row, 6),
        cancelled: id(row, 7),
        expired: id(row, 8),
        opened_ms: id(row, 9),
        ended_ms: number(row, 10),
        then: row.get(11),
        then_task: number(row, 12),
    }
}
