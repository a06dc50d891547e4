//! Answers queries from the file.

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{
    AttemptInfo, BatchInfo, FunctionRecord, ScheduleInfo, State, TaskDetails, TaskSummary,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result};
use serde_json::value::RawValue;

use super::load::{load_one, one};
use super::names::SharedNames;
use super::recovery::batch;
use super::row;
use super::{backlog, failures, figure_history, schema};
use crate::store::durable::journal::LoadedTask;
use crate::store::view_parts::{TaskViewParts, details, summary};
use crate::store::{Query, QueryResult, QueueBacklog};

/// Answers a query as far as the file knows the answer.
pub(super) fn query(
    file: &Connection,
    names: &SharedNames,
    query: &Query,
    now_ms: u64,
) -> Result<QueryResult> {
    Ok(match query {
        Query::Task(id) => match read_details(file, names, *id)? {
            Some(details) => QueryResult::Task(Box::new(details)),
            None => QueryResult::Nothing,
        },
        Query::Batch(id) => {
            let sql = "SELECT * FROM batches WHERE id = ?1";
            let found = file.prepare_cached(sql)?.query_row([*id as i64], batch).optional()?;
            found.map_or(QueryResult::Nothing, |info| QueryResult::Batch(Box::new(info)))
        }
        Query::Batches { limit } => QueryResult::Batches(batches(file, *limit)?),
        Query::Schedules => QueryResult::Schedules(schedules(file)?),
        Query::Functions => QueryResult::Functions(functions(file)?),
        Query::Failures { filter, limit } => {
            QueryResult::Failures(failures::report(file, filter.clone(), *limit)?)
        }
        Query::Preview(planned) => QueryResult::Preview(failures::preview(file, planned)?),
        Query::History(filter) => QueryResult::History(figure_history::query(file, filter, now_ms)?),
        Query::Backlog { functions } => {
            let failed = backlog::failed_by_queue(file, functions)?.into_iter();
            let backlog = |failed| QueueBacklog { failed, ..QueueBacklog::default() };
            QueryResult::Backlog(failed.map(|(queue, failed)| (queue, backlog(failed))).collect())
        }
        Query::Next { functions, queue, limit, .. } => {
            QueryResult::Next(backlog::next_failed(file, functions, queue, *limit)?)
        }
        // Those that are under way, and the others that are in memory, are not in the file.
        Query::Tasks(_) | Query::Search(_) | Query::Queues | Query::Changes => QueryResult::Nothing,
    })
}

fn batches(file: &Connection, limit: usize) -> Result<Vec<BatchInfo>> {
    let mut read = file.prepare_cached("SELECT * FROM batches ORDER BY id DESC LIMIT ?1")?;
    let rows = read.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], batch)?;
    rows.collect()
}

/// The functions that workers have registered, as far as they can be read: no damage to them is in the way of
/// anything else. What is no text is empty.
pub(super) fn functions(file: &Connection) -> Result<Vec<FunctionRecord>> {
    let mut read = file.prepare_cached("SELECT name, registration, seen_ms FROM functions ORDER BY name")?;
    let rows = read.query_map([], |row| {
        let text = |index| row::text(row, index).unwrap_or_default();
        Ok(FunctionRecord { name: text(0), registration: text(1), seen_ms: row::number(row, 2).unwrap_or(0) })
    })?;
    let mut functions = Vec::new();
    for function in rows {
        match function {
            Ok(function) => functions.push(function),
            Err(error) => {
                let read = functions.len();
                tracing::warn!(read, "functions of workers cannot be read: {error}");
                break;
            }
        }
    }
    Ok(functions)
}

fn schedules(file: &Connection) -> Result<Vec<ScheduleInfo>> {
    let mut read =
        file.prepare_cached("SELECT name, seen_ms, fired_ms, task, paused FROM schedules ORDER BY name")?;
    let rows = read.query_map([], |row| {
        let number = |index| row::number(row, index);
        let name = row::text(row, 0).unwrap_or_default();
        let paused = number(4).is_some_and(|paused| paused != 0);
        Ok(ScheduleInfo {
            name,
            seen_ms: number(1),
            fired_ms: number(2),
            task: number(3),
            paused,
            ..ScheduleInfo::default()
        })
    })?;
    rows.collect()
}

/// All that the file has of a task.
pub(super) fn read_details(
    file: &Connection,
    names: &SharedNames,
    id: TaskId,
) -> Result<Option<TaskDetails>> {
    let Some(LoadedTask { record: task, .. }) = load_one(file, names, id, 0)? else { return Ok(None) };
    let mut parts = view_parts(file, &task)?;
    let worker = worker_column(file);
    let sql = format!(
        "SELECT number, started_ms, ran_us, pid, error, {worker} FROM attempts WHERE task = ?1 ORDER BY number"
    );
    let mut read = file.prepare_cached(&sql)?;
    let mut history = read.query_map([id as i64], attempt)?.collect::<Result<Vec<_>>>()?;
    history.append(&mut parts.history);
    parts.history = history;
    let notes = one_text(file, "SELECT notes FROM notes WHERE task = ?1", id)?;
    parts.notes = notes.and_then(|notes| serde_json::from_str(&notes).ok());
    Ok(Some(details(&task, parts)))
}

pub(super) fn read_summary(
    file: &Connection,
    names: &SharedNames,
    id: TaskId,
) -> Result<Option<TaskSummary>> {
    let task = load_one(file, names, id, 0)?.map(|task| task.record);
    task.map(|task| view_parts(file, &task).map(|parts| summary(&task, &parts))).transpose()
}

/// The state of a task, and its last attempt.
fn view_parts(file: &Connection, task: &TaskRecord) -> Result<TaskViewParts> {
    let worker = worker_column(file);
    let sql = format!(
        "SELECT attempt, started_ms, ran_us, pid, error, {worker}, state, ended_ms, result FROM ends WHERE task = ?1"
    );
    let end = file.prepare_cached(&sql)?.query_row([task.id as i64], |row| {
        let state = row::text(row, 6).and_then(|state| state.parse::<State>().ok());
        let last = row::number(row, 0).map(|_| attempt(row)).transpose()?;
        let result = row::text(row, 8).unwrap_or_else(|| "null".to_owned());
        Ok(TaskViewParts {
            state,
            ended_ms: row::number(row, 7),
            attempts: last.as_ref().map_or(task.attempts(), |last| last.number),
            error: row::text(row, 4),
            history: last.into_iter().collect(),
            result: RawValue::from_string(result).ok().filter(|_| state == Some(State::Done)),
            ..TaskViewParts::default()
        })
    });
    if let Some(parts) = end.optional()? {
        return Ok(parts);
    }
    let due_ms: Option<Value> = one(file, "SELECT due_ms FROM retries WHERE task = ?1", task.id)?;
    let due_ms =
        due_ms.and_then(|due_ms| if let Value::Integer(due_ms) = due_ms { Some(due_ms) } else { None });
    let error = "SELECT error FROM attempts WHERE task = ?1 ORDER BY number DESC LIMIT 1";
    Ok(TaskViewParts {
        state: Some(State::Waiting),
        attempts: task.attempts(),
        due_ms: due_ms.map(i64::unsigned_abs),
        error: if task.attempts() > 0 { one_text(file, error, task.id)? } else { None },
        ..TaskViewParts::default()
    })
}

/// A text, as far as it is in UTF-8.
fn one_text(file: &Connection, sql: &str, id: TaskId) -> Result<Option<String>> {
    let text = file.prepare_cached(sql)?.query_row([id as i64], |row| Ok(row::text(row, 0)));
    Ok(text.optional()?.flatten())
}

/// The column with the worker of an attempt, which a file of an earlier version does not have.
fn worker_column(file: &Connection) -> &'static str {
    if schema::has_workers(file) { "worker" } else { "NULL" }
}

fn attempt(row: &rusqlite::Row) -> Result<AttemptInfo> {
    let number = |index| row::number(row, index);
    let small = |index| number(index).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    Ok(AttemptInfo {
        number: small(0),
        started_ms: number(1).unwrap_or(0),
        ran_ms: number(2).map(|ran_us| ran_us as f64 / 1000.0),
        pid: small(3),
        error: row::text(row, 4),
        worker: row::text(row, 5),
    })
}
