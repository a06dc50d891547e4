//! What people ask the database.

use std::collections::BTreeMap;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{AttemptInfo, FunctionRecord, ScheduleInfo, State, TaskDetails, TaskSummary};
use framework_server::store::durable::journal::{
    FailureGroups, TaskViewParts, details, first_history_step, history_points, summary,
};
use framework_server::store::{Query, QueryResult, QueueBacklog};
use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use tokio_postgres::Row;

use crate::error::CallError;
use crate::failures;
use crate::link::{Call, Link};
use crate::reads::tasks;
use crate::recovery::{batch, id, number};

/// Answers a query as far as the database knows the answer.
pub(crate) async fn query(link: &Link, query: &Query, now_ms: u64) -> Result<QueryResult, CallError> {
    Ok(match query {
        Query::Task(id) => match read_details(link, *id).await? {
            Some(details) => QueryResult::Task(Box::new(details)),
            None => QueryResult::Nothing,
        },
        Query::Batch(id) => {
            let read = Call::new("SELECT * FROM batches WHERE id = $1").with(*id as i64);
            let found = link.query(read).await?.pop();
            found.map_or(QueryResult::Nothing, |row| QueryResult::Batch(Box::new(batch(&row))))
        }
        Query::Batches { limit } => {
            let read = Call::new("SELECT * FROM batches ORDER BY id DESC LIMIT $1");
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            QueryResult::Batches(link.query(read.with(limit)).await?.iter().map(batch).collect())
        }
        Query::Schedules => {
            let read = Call::new("SELECT name, seen_ms, fired_ms, task, paused FROM schedules ORDER BY name");
            QueryResult::Schedules(link.query(read).await?.iter().map(schedule).collect())
        }
        Query::Functions => {
            let read = Call::new("SELECT name, registration, seen_ms FROM functions ORDER BY name");
            let function = |row: &Row| FunctionRecord {
                name: row.get(0),
                registration: row.get(1),
                seen_ms: id(row, 2),
            };
            QueryResult::Functions(link.query(read).await?.iter().map(function).collect())
        }
        Query::History(filter) => {
            let step_ms = filter.step_ms();
            let first = first_history_step(step_ms, filter.hours, now_ms);
            let read = Call::new(
                "SELECT step, figures FROM history WHERE step_ms = $1 AND step >= $2 \
                 AND ($3::text IS NULL OR function = $3) AND ($4::text IS NULL OR queue = $4) ORDER BY step",
            );
            let read = read.with(step_ms as i64).with(first as i64).with(&filter.function);
            let rows = link.query(read.with(&filter.queue)).await?;
            let step = |row: &Row| (id(row, 0), serde_json::from_str(row.get(1)).unwrap_or_default());
            QueryResult::History(history_points(step_ms, rows.iter().map(step)))
        }
        Query::Backlog { functions } => {
            let read = Call::new(
                "SELECT t.queue, count(*) FROM ends e JOIN tasks t ON t.id = e.task \
                 WHERE e.state = 'failed' AND t.function = ANY($1) GROUP BY t.queue",
            );
            let rows = link.query(read.with(functions)).await?;
            let backlog =
                |row: &Row| (row.get(0), QueueBacklog { failed: id(row, 1), ..QueueBacklog::default() });
            QueryResult::Backlog(rows.iter().map(backlog).collect::<BTreeMap<String, _>>())
        }
        Query::Next { functions, queue, limit, .. } => {
            let read = Call::new(
                "SELECT e.task FROM ends e JOIN tasks t ON t.id = e.task WHERE e.state = 'failed' \
                 AND t.queue = $1 AND t.function = ANY($2) ORDER BY e.ended_ms, e.task LIMIT $3",
            );
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            let rows = link.query(read.with(queue).with(functions).with(limit)).await?;
            QueryResult::Next(rows.iter().map(|row| id(row, 0)).collect())
        }
        Query::Failures { filter, limit } => {
            let mut groups = FailureGroups::new(filter.clone());
            failures::each_failed(link, |task| groups.add(task)).await?;
            QueryResult::Failures(groups.report(*limit))
        }
        Query::Preview(planned) => QueryResult::Preview(failures::preview(link, planned).await?),
        Query::Tasks(_) | Query::Search(_) | Query::Queues | Query::Changes => QueryResult::Nothing,
    })
}

fn schedule(row: &Row) -> ScheduleInfo {
    ScheduleInfo {
        name: row.get(0),
        seen_ms: number(row, 1),
        fired_ms: number(row, 2),
        task: number(row, 3),
        paused: row.get(4),
        ..ScheduleInfo::default()
    }
}

/// The summaries of tasks, in the order of their ids.
pub(crate) async fn summaries(link: &Link, ids: &[TaskId]) -> Result<Vec<TaskSummary>, CallError> {
    let records: Vec<_> = tasks(link, ids, 0).await?.into_iter().map(|task| task.record).collect();
    let mut parts = view_parts(link, &records).await?;
    let summary = |task: &TaskRecord| summary(task, &parts.remove(&task.id).unwrap_or_default());
    Ok(records.iter().map(summary).collect())
}

/// All that the database has of a task.
async fn read_details(link: &Link, task: TaskId) -> Result<Option<TaskDetails>, CallError> {
    let Some(loaded) = tasks(link, &[task], 0).await?.pop() else { return Ok(None) };
    let records = [loaded.record];
    let mut parts = view_parts(link, &records).await?.remove(&task).unwrap_or_default();
    let read = Call::new(
        "SELECT number, started_ms, ran_us, pid, error, worker FROM attempts WHERE task = $1 ORDER BY number",
    );
    let rows = link.query(read.with(task as i64)).await?;
    let mut history: Vec<_> = rows.iter().map(|row| attempt(row, 0)).collect();
    history.append(&mut parts.history);
    parts.history = history;
    let notes = Call::new("SELECT notes FROM notes WHERE task = $1").with(task as i64);
    let notes = link.query(notes).await?.pop();
    parts.notes = notes.and_then(|row| serde_json::from_str(row.get(0)).ok());
    let [record] = records;
    Ok(Some(details(&record, parts)))
}

/// The states of tasks, and their last attempts.
async fn view_parts(
    link: &Link,
    tasks: &[TaskRecord],
) -> Result<FxHashMap<TaskId, TaskViewParts>, CallError> {
    let read = Call::new(
        "SELECT w.id, e.attempt, e.started_ms, e.ran_us, e.pid, e.error, e.worker, e.state, e.ended_ms, \
         e.result, r.due_ms, (SELECT a.error FROM attempts a WHERE a.task = w.id ORDER BY number DESC LIMIT 1) \
         FROM unnest($1::bigint[]) w(id) LEFT JOIN ends e ON e.task = w.id \
         LEFT JOIN retries r ON r.task = w.id",
    );
    let ids: Vec<_> = tasks.iter().map(|task| task.id as i64).collect();
    let rows = link.query(read.with(ids)).await?;
    let known: FxHashMap<_, _> = tasks.iter().map(|task| (task.id, task)).collect();
    let parts = |row: &Row| {
        let task = known.get(&id(row, 0))?;
        Some((task.id, parts_of(row, task)))
    };
    Ok(rows.iter().filter_map(parts).collect())
}

fn parts_of(row: &Row, task: &TaskRecord) -> TaskViewParts {
    let Some(state) = row.get::<_, Option<&str>>(7) else {
        return TaskViewParts {
            state: Some(State::Waiting),
            attempts: task.attempts(),
            due_ms: number(row, 10),
            error: if task.attempts() > 0 { row.get(11) } else { None },
            ..TaskViewParts::default()
        };
    };
    let state = state.parse::<State>().ok();
    let last = row.get::<_, Option<i32>>(1).map(|_| attempt(row, 1));
    let result = row.get::<_, Option<String>>(9).unwrap_or_else(|| "null".to_owned());
    TaskViewParts {
        state,
        ended_ms: number(row, 8),
        attempts: last.as_ref().map_or(task.attempts(), |last| last.number),
        error: row.get(5),
        history: last.into_iter().collect(),
        result: RawValue::from_string(result).ok().filter(|_| state == Some(State::Done)),
        ..TaskViewParts::default()
    }
}

/// An attempt whose columns begin with this one.
fn attempt(row: &Row, first: usize) -> AttemptInfo {
    let small = |column| row.get::<_, Option<i32>>(column).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    AttemptInfo {
        number: small(first),
        started_ms: number(row, first + 1).unwrap_or(0),
        ran_ms: number(row, first + 2).map(|ran_us| ran_us as f64 / 1000.0),
        pid: small(first + 3),
        error: row.get(first + 4),
        worker: row.get(first + 5),
    }
}
