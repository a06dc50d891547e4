//! The statements that a change becomes.

use std::borrow::Cow;
use std::collections::hash_map::Entry;

use framework_protocol::task::TaskId;
use framework_protocol::views::{
    BatchInfo, FailureFilter, FunctionRecord, HistoryFigures, HistoryRow, ScheduleNote,
};
use framework_server::store::durable::journal::{
    HISTORY_STEPS, JournalChange, RetriedTask, StoredChange, first_history_step, merge_history,
};
use rustc_hash::FxHashMap;

use crate::error::CallError;
use crate::group::{GroupOptions, GroupRows};
use crate::inserts::{bound_attempts, clean};
use crate::link::{Call, Link};

/// The statements of a change, with what it adds to from the database.
pub(crate) async fn calls<'a>(
    link: &Link,
    change: &'a JournalChange<'a>,
    next_id: TaskId,
    options: &GroupOptions,
) -> Result<Vec<Call<'a>>, CallError> {
    Ok(match change {
        JournalChange::Pause { queue, paused } => {
            let pause = Call::new(
                "INSERT INTO queues VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
            );
            vec![pause.with(*queue).with(*paused)]
        }
        JournalChange::OpenBatch(info) => vec![open_batch(info)],
        JournalChange::SealBatch(id) => {
            vec![Call::new("UPDATE batches SET state = 'running' WHERE id = $1").with(*id as i64)]
        }
        JournalChange::AbandonBatch(id) => {
            let sql = "UPDATE batches SET state = 'abandoned', then_function = NULL WHERE id = $1";
            vec![Call::new(sql).with(*id as i64)]
        }
        JournalChange::Schedule { name, note } => vec![note_schedule(name, note)],
        JournalChange::KeepFunction(FunctionRecord { name, registration, seen_ms }) => {
            let keep = Call::new(
                "INSERT INTO functions VALUES ($1, $2, $3) ON CONFLICT (name) \
                 DO UPDATE SET registration = excluded.registration, seen_ms = excluded.seen_ms",
            );
            vec![keep.with(name).with(clean(Cow::from(registration))).with(*seen_ms as i64)]
        }
        JournalChange::ForgetFunction { name } => {
            vec![Call::new("DELETE FROM functions WHERE name = $1").with(*name)]
        }
        JournalChange::RecordHistory(rows) => record_history(link, rows, options.now_ms).await?,
        JournalChange::CancelRunning(ids) => {
            let ids: Vec<_> = ids.iter().map(|id| *id as i64).collect();
            let cancel = Call::new(
                "INSERT INTO cancels SELECT * FROM unnest($1::bigint[]) ON CONFLICT (task) DO NOTHING",
            );
            vec![cancel.with(ids)]
        }
        JournalChange::BeginBulk(StoredChange { id, kind, batch, filter, cursor }) => {
            let FailureFilter { queue, function, cause } = filter;
            let begin = Call::new("INSERT INTO changes VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
            let begin = begin.with(*id).with(kind).with(batch.map(|batch| batch as i64)).with(queue);
            let begin = begin.with(cursor.after).with(cursor.before as i64).with(function);
            vec![begin.with(cause.map(|cause| cause.to_string()))]
        }
        JournalChange::EndBulk { id } => vec![Call::new("DELETE FROM changes WHERE id = $1").with(*id)],
        JournalChange::Retry { tasks, bulk, after } => {
            let mut calls: Vec<_> = move_on(*bulk, *after).into_iter().collect();
            calls.extend(retry(link, tasks, next_id, options).await?);
            calls
        }
        JournalChange::Forget { tasks, bulk, after } => {
            let mut rows = GroupRows::default();
            rows.forget(tasks.iter().copied());
            move_on(*bulk, *after).into_iter().chain(rows.into_calls(next_id, options)).collect()
        }
    })
}

fn open_batch(info: &BatchInfo) -> Call<'_> {
    let open =
        Call::new("INSERT INTO batches VALUES ($1, $2, $3, 'open', 0, 0, 0, 0, 0, $4, NULL, $5, NULL)");
    let open = open.with(info.id as i64).with(clean(Cow::from(&info.name))).with(&info.function);
    open.with(info.opened_ms as i64).with(&info.then)
}

fn note_schedule<'a>(name: &'a str, note: &ScheduleNote) -> Call<'a> {
    let number = |number: Option<u64>| number.map(|number| number as i64);
    let insert = Call::new(
        "INSERT INTO schedules VALUES ($1, $2, $3, $4, coalesce($5, false)) ON CONFLICT (name) \
         DO UPDATE SET seen_ms = coalesce($2, schedules.seen_ms), \
         fired_ms = coalesce($3, schedules.fired_ms), task = coalesce($4, schedules.task), \
         paused = coalesce($5, schedules.paused)",
    );
    let insert = insert.with(name).with(number(note.seen_ms)).with(number(note.fired_ms));
    insert.with(number(note.task)).with(note.paused)
}

/// Adds figures to those that are kept, and deletes what is too old.
async fn record_history<'a>(
    link: &Link,
    rows: &'a [HistoryRow],
    now_ms: u64,
) -> Result<Vec<Call<'a>>, CallError> {
    type Step<'r> = (u64, u64, &'r str, &'r str);
    let mut sums: FxHashMap<Step<'a>, HistoryFigures> = FxHashMap::default();
    for HistoryRow { at_ms, function, queue, figures } in rows {
        for (step_ms, _) in HISTORY_STEPS {
            let key = (step_ms, at_ms / step_ms, &**function, &**queue);
            let sum = match sums.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let read = Call::new(
                        "SELECT figures FROM history WHERE step_ms = $1 AND step = $2 AND function = $3 \
                         AND queue = $4",
                    );
                    let read = read.with(step_ms as i64).with((at_ms / step_ms) as i64).with(&**function);
                    let kept = link.query(read.with(&**queue)).await?.pop();
                    let parse = |row: tokio_postgres::Row| serde_json::from_str(row.get(0)).ok();
                    new.insert(kept.and_then(parse).unwrap_or_default())
                }
            };
            merge_history(sum, figures);
        }
    }
    let mut calls = Vec::new();
    for ((step_ms, step, function, queue), figures) in sums {
        let write = Call::new(
            "INSERT INTO history VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (step_ms, step, function, queue) DO UPDATE SET figures = excluded.figures",
        );
        let write = write.with(step_ms as i64).with(step as i64).with(function).with(queue);
        calls.push(write.with(serde_json::to_string(&figures).unwrap_or_default()));
    }
    for (step_ms, hours) in HISTORY_STEPS {
        let old = Call::new("DELETE FROM history WHERE step_ms = $1 AND step < $2").with(step_ms as i64);
        calls.push(old.with(first_history_step(step_ms, hours, now_ms) as i64));
    }
    Ok(calls)
}

/// Lets ended tasks wait again: the last attempt of each joins those before.
async fn retry<'a>(
    link: &Link,
    retried: &'a [RetriedTask],
    next_id: TaskId,
    options: &GroupOptions,
) -> Result<Vec<Call<'a>>, CallError> {
    let ids: Vec<_> = retried.iter().map(|retried| retried.task.id as i64).collect();
    let alone = retried.iter().filter(|retried| retried.is_alone);
    let alone: Vec<_> = alone.map(|retried| retried.task.id as i64).collect();
    let attempts = attempts(link, &ids).await?;
    let attempts_of = |id: TaskId| attempts.get(&id).copied().unwrap_or(0);
    let last: Vec<_> = retried.iter().map(|retried| attempts_of(retried.task.id)).collect();
    let mut calls = vec![
        Call::new("UPDATE tasks SET batch = NULL WHERE id = ANY($1)").with(alone),
        Call::new(
            "INSERT INTO attempts SELECT task, attempt, coalesce(started_ms, ended_ms), ran_us, \
             coalesce(pid, 0), error, worker FROM ends WHERE task = ANY($1) AND attempt IS NOT NULL \
             ON CONFLICT (task, number) DO UPDATE SET started_ms = excluded.started_ms, \
             ran_us = excluded.ran_us, pid = excluded.pid, error = excluded.error, worker = excluded.worker",
        )
        .with(ids.clone()),
        Call::new("DELETE FROM ends WHERE task = ANY($1)").with(ids.clone()),
        Call::new("DELETE FROM cancels WHERE task = ANY($1)").with(ids.clone()),
        Call::new(
            "INSERT INTO retries SELECT task, attempts, 0, 0, NULL, 0 \
             FROM unnest($1::bigint[], $2::int[]) r(task, attempts) ON CONFLICT (task) DO UPDATE \
             SET attempts = excluded.attempts, failures = 0, crashes = 0, due_ms = NULL, pause_ms = 0",
        )
        .with(ids.clone())
        .with(last.clone()),
    ];
    calls.extend(bound_attempts(ids, last));
    let mut rows = GroupRows::default();
    for RetriedTask { task, from, batch, .. } in retried {
        let attempts = u32::try_from(attempts_of(task.id)).unwrap_or(0);
        task.attempts.store(attempts, std::sync::atomic::Ordering::Relaxed);
        batch.iter().for_each(|batch| rows.count_end(*batch, *from, -1));
    }
    calls.extend(rows.into_calls(next_id, options));
    Ok(calls)
}

/// The number of attempts that each of these ended tasks has behind it.
async fn attempts(link: &Link, ids: &[i64]) -> Result<FxHashMap<TaskId, i32>, CallError> {
    let read = Call::new(
        "SELECT e.task, greatest(coalesce(e.attempt, 0), \
         coalesce((SELECT max(number) FROM attempts a WHERE a.task = e.task), 0)) \
         FROM ends e WHERE e.task = ANY($1)",
    );
    let rows = link.query(read.with(ids)).await?;
    Ok(rows.iter().map(|row| (row.get::<_, i64>(0).unsigned_abs(), row.get(1))).collect())
}

/// Notes that a change of many tasks has dealt with those up to this one.
fn move_on<'a>(bulk: Option<i64>, after: i64) -> Option<Call<'a>> {
    Some(Call::new("UPDATE changes SET after = $2 WHERE id = $1").with(bulk?).with(after))
}
