//! Reads tasks, and selects those of changes of many tasks.

use bytes::Bytes;
use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::State;
use framework_server::store::durable::journal::{Cursor, LoadedTask, Selected, StoredTask, TaskSelection};
use rustc_hash::FxHashMap;
use tokio_postgres::Row;

use crate::error::CallError;
use crate::group::{KnownKey, KnownKeys};
use crate::link::{Call, Link};
use crate::recovery::{id, number};

/// The number of rows that are looked at for each task of a step.
const ROWS_PER_TASK: usize = 4;

fn ids_of(ids: &[TaskId]) -> Vec<i64> {
    ids.iter().map(|id| *id as i64).collect()
}

/// Reads tasks in the order of their ids; those that are not there are left out.
pub(crate) async fn tasks(link: &Link, ids: &[TaskId], now_ms: u64) -> Result<Vec<LoadedTask>, CallError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let read = Call::new(
        "SELECT t.id, t.function, t.queue, t.priority, t.accepted_ms, t.due_ms, t.batch, t.options, t.args, \
         r.attempts, r.failures, r.crashes FROM tasks t LEFT JOIN retries r ON r.task = t.id \
         WHERE t.id = ANY($1) ORDER BY t.id",
    );
    let rows = link.query(read.with(ids_of(ids))).await?;
    Ok(rows.iter().map(|row| task(row, now_ms)).collect())
}

fn task(row: &Row, now_ms: u64) -> LoadedTask {
    let mut damage = None;
    let mut note = |column: &str, what: &str| {
        damage.get_or_insert_with(|| format!("its column {column} {what}"));
    };
    let options = match row.get::<_, Option<&str>>(7).map(serde_json::from_str).transpose() {
        Ok(options) => options.unwrap_or_default(),
        Err(_) => {
            note("options", "is not what the program writes there");
            Default::default()
        }
    };
    let priority = u8::try_from(row.get::<_, i16>(3)).ok().filter(|priority| *priority <= 9);
    if priority.is_none() {
        note("priority", "is not a number from 0 to 9");
    }
    let counter = |column| row.get::<_, Option<i32>>(column).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let stored = StoredTask {
        id: id(row, 0),
        function: row.get::<_, &str>(1).into(),
        queue: row.get::<_, &str>(2).into(),
        priority: priority.unwrap_or(0),
        accepted_ms: id(row, 4),
        due_ms: number(row, 5),
        batch: number(row, 6),
        options,
        args: Bytes::copy_from_slice(row.get::<_, &str>(8).as_bytes()),
        attempts: counter(9),
        failures: counter(10),
        crashes: counter(11),
    };
    LoadedTask { record: stored.into_record(now_ms), damage }
}

/// When tasks were accepted, as far as they are there.
pub(crate) async fn accepted_ms(link: &Link, ids: &[TaskId]) -> Result<FxHashMap<TaskId, u64>, CallError> {
    let read = Call::new("SELECT id, accepted_ms FROM tasks WHERE id = ANY($1)");
    let rows = link.query(read.with(ids_of(ids))).await?;
    Ok(rows.iter().map(|row| (id(row, 0), id(row, 1))).collect())
}

/// The state of a task; [`State::Waiting`] if it has not ended.
pub(crate) async fn state(link: &Link, task: TaskId) -> Result<Option<State>, CallError> {
    let read = Call::new(
        "SELECT e.state FROM (SELECT $1::bigint AS id) w LEFT JOIN ends e ON e.task = w.id \
         WHERE e.task IS NOT NULL OR EXISTS (SELECT 1 FROM tasks t WHERE t.id = w.id)",
    );
    let row = link.query(read.with(task as i64)).await?.pop();
    Ok(row.map(|row| ended(&row, 0).unwrap_or(State::Waiting)))
}

fn ended(row: &Row, column: usize) -> Option<State> {
    row.get::<_, Option<&str>>(column).map(|state| state.parse().unwrap_or(State::Failed))
}

/// The functions of tasks, as far as these are kept.
pub(crate) async fn functions(link: &Link, ids: &[TaskId]) -> Result<FxHashMap<TaskId, String>, CallError> {
    let read = Call::new("SELECT id, function FROM tasks WHERE id = ANY($1)");
    let rows = link.query(read.with(ids_of(ids))).await?;
    Ok(rows.iter().map(|row| (id(row, 0), row.get(1))).collect())
}

/// The tasks to which the keys of new ones belong.
pub(crate) async fn known_keys(
    link: &Link,
    keyed: &[(&NewTask, &str)],
    now_ms: u64,
) -> Result<KnownKeys, CallError> {
    if keyed.is_empty() {
        return Ok(KnownKeys::default());
    }
    let read = Call::new(
        "SELECT w.place, k.task, t.args, e.state FROM unnest($1::text[], $2::bytea[]) \
         WITH ORDINALITY w(function, key, place) JOIN keys k ON k.function = w.function AND k.key = w.key \
         JOIN tasks t ON t.id = k.task LEFT JOIN ends e ON e.task = k.task WHERE k.until_ms > $3",
    );
    let read = read.with(keyed.iter().map(|(new, _)| &*new.function).collect::<Vec<_>>());
    let read = read.with(keyed.iter().map(|(_, key)| key.as_bytes()).collect::<Vec<_>>());
    let rows = link.query(read.with(now_ms as i64)).await?;
    let known = rows.iter().filter_map(|row| {
        let place = usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1)?;
        let (new, key) = keyed.get(place)?;
        let args = Bytes::copy_from_slice(row.get::<_, &str>(2).as_bytes());
        let known = KnownKey { id: id(row, 1), args, state: ended(row, 3).unwrap_or(State::Waiting) };
        Some(((new.function.clone(), Box::from(*key)), known))
    });
    Ok(known.collect())
}

/// Selects tasks behind the cursor, and looks at a bounded number of others meanwhile.
pub(crate) async fn select(
    link: &Link,
    wanted: &TaskSelection,
    cursor: Cursor,
    limit: usize,
) -> Result<Selected, CallError> {
    let rows_max = limit.saturating_mul(ROWS_PER_TASK);
    let read = match wanted {
        TaskSelection::Ended(task) => {
            let found = state(link, *task).await?.filter(|state| *state != State::Waiting);
            let tasks = found.map(|state| (*task, Some(state))).into_iter().collect();
            return Ok(Selected { tasks, ..Selected::default() });
        }
        TaskSelection::OpenOfBatch(batch) | TaskSelection::EndedOfBatch { batch, .. } => Call::new(
            "SELECT t.id, e.state FROM tasks t LEFT JOIN ends e ON e.task = t.id \
             WHERE t.batch = $4 AND t.id > $1 AND t.id < $2 ORDER BY t.id LIMIT $3",
        )
        .with(cursor.after)
        .with(cursor.before as i64)
        .with(rows_max as i64)
        .with(*batch as i64),
        TaskSelection::Failed(_) => Call::new(
            "SELECT e.task, e.state, t.queue, t.function, coalesce(e.error, '') FROM ends e \
             JOIN tasks t ON t.id = e.task WHERE e.state = 'failed' AND e.task > $1 AND e.task < $2 \
             ORDER BY e.task LIMIT $3",
        )
        .with(cursor.after)
        .with(cursor.before as i64)
        .with(rows_max as i64),
    };
    let rows = link.query(read).await?;
    let mut selected = Selected { last: cursor.after, ..Selected::default() };
    for row in &rows {
        let (task, state) = (id(row, 0), ended(row, 1));
        if selected.tasks.len() == limit {
            selected.has_more = true;
            return Ok(selected);
        }
        selected.last = task as i64;
        let is_meant = match wanted {
            TaskSelection::Failed(filter) => filter.selects(row.get(2), row.get(3), row.get(4)),
            _ => true,
        };
        if is_meant && wanted.wants(state) {
            selected.tasks.push((task, state));
        }
    }
    selected.has_more = rows.len() == rows_max;
    Ok(selected)
}
