//! Answers queries from the file, and from the index what is not in it.

use framework_protocol::task::{ProgressLog, TaskId, TaskRecord};
use framework_protocol::views::{
    AttemptInfo, BatchInfo, Filter, ScheduleInfo, State, TaskDetails, TaskSummary,
};
use framework_protocol::{ErrorCode, RequestError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params_from_iter};
use serde_json::value::RawValue;

use super::names::SharedNames;
use super::recovery::{batch, load, load_one, one};
use super::write_error::WriteError;
use super::{SqliteShared, closed};
use crate::store::memory::queues;
use crate::store::query::matches;
use crate::store::view_parts::{TaskViewParts, details, summary};
use crate::store::{Query, QueryResult, StoreStats};

impl SqliteShared {
    pub(super) fn counts(&self) -> StoreStats {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let mut counts = state.index.counts();
        counts.storage_error = state.write_error.as_ref().map(WriteError::describe);
        let oldest = state.index.oldest();
        drop(state);
        counts.oldest_waiting_ms = oldest
            .and_then(|(id, task)| match task {
                Some(task) => Some(task.accepted_ms),
                None => {
                    let reader = self.reader.lock().expect("no one panics while reading");
                    let accepted = one::<i64>(&reader, "SELECT accepted_ms FROM tasks WHERE id = ?1", id);
                    accepted.ok().flatten().map(i64::unsigned_abs)
                }
            })
            .map(|accepted_ms| now.wall_ms.saturating_sub(accepted_ms));
        counts
    }

    pub(super) fn query(&self, query: Query) -> std::result::Result<QueryResult, RequestError> {
        if query == Query::Queues {
            return Ok(QueryResult::Queues(queues(&mut self.state().index)));
        }
        let file = self.queries.lock().map_err(|_| closed())?;
        let found = match query {
            Query::Task(id) => self.task(&file, id),
            Query::Tasks(filter) => self.tasks(&file, &filter),
            Query::Batch(id) => {
                let sql = "SELECT * FROM batches WHERE id = ?1";
                let found = file
                    .prepare_cached(sql)
                    .and_then(|mut find| find.query_row([id as i64], batch).optional());
                found.map(|info| info.map_or(QueryResult::Nothing, |info| QueryResult::Batch(Box::new(info))))
            }
            Query::Batches { limit } => batches(&file, limit).map(QueryResult::Batches),
            Query::Queues => Ok(QueryResult::Nothing),
            Query::Schedules => schedules(&file).map(QueryResult::Schedules),
        };
        found.map_err(|error| {
            RequestError::new(
                ErrorCode::Internal,
                format!("The queue's file cannot be read: {error}. See think queue:check."),
            )
        })
    }

    fn task(&self, file: &Connection, id: TaskId) -> Result<QueryResult> {
        let details = read_details(file, &self.names, id)?;
        Ok(details.map_or(QueryResult::Nothing, |mut details| {
            self.complete(&mut details.summary, Some(&mut details.notes));
            QueryResult::Task(Box::new(details))
        }))
    }

    /// Adds what only the index knows: whether a task runs or is parked, and what its handler reports.
    fn complete(&self, summary: &mut TaskSummary, log: Option<&mut ProgressLog>) {
        let state = self.state();
        if summary.state != State::Waiting {
            return;
        }
        summary.parked = state.index.is_parked(summary.id);
        if !state.index.is_running(summary.id) {
            return;
        }
        (summary.state, summary.due_ms) = (State::Running, None);
        summary.attempts += 1;
        let current = state.index.running_task(summary.id).and_then(|task| task.progress_log());
        if let (Some(log), Some(current)) = (log, current) {
            *log = *current;
        }
    }

    fn tasks(&self, file: &Connection, filter: &Filter) -> Result<QueryResult> {
        if filter.state == Some(State::Running) {
            return Ok(QueryResult::Tasks(self.running(filter)));
        }
        let (sql, values) = listing(filter);
        let mut read = file.prepare_cached(&sql)?;
        let ids =
            read.query_map(params_from_iter(values), |row| row.get::<_, i64>(0).map(i64::unsigned_abs))?;
        // Running tasks are found among the waiting ones of the file, and left out.
        let mut found = Vec::new();
        for id in ids {
            if found.len() >= filter.limit {
                break;
            }
            let Some(mut summary) = read_summary(file, &self.names, id?)? else { continue };
            self.complete(&mut summary, None);
            if filter.state.is_none_or(|wanted| wanted == summary.state) {
                found.push(summary);
            }
        }
        Ok(QueryResult::Tasks(found))
    }

    fn running(&self, filter: &Filter) -> Vec<TaskSummary> {
        let state = self.state();
        let tasks = state.index.running().filter_map(|(_, task)| task);
        let wanted = tasks.filter(|task| matches(filter, task, Some(State::Running)));
        let mut found: Vec<_> = wanted
            .map(|task| {
                let attempts = task.attempts() + 1;
                summary(
                    task,
                    &TaskViewParts { state: Some(State::Running), attempts, ..TaskViewParts::default() },
                )
            })
            .collect();
        found.sort_by_key(|summary| std::cmp::Reverse(summary.id));
        found.truncate(filter.limit);
        found
    }
}

/// The ids of a list, the newest first.
fn listing(filter: &Filter) -> (String, Vec<Value>) {
    let mut sql = "SELECT t.id FROM tasks t".to_owned();
    let mut wheres = Vec::new();
    let mut values = Vec::new();
    match filter.state {
        Some(State::Waiting) => {
            wheres.push("NOT EXISTS (SELECT 1 FROM ends e WHERE e.task = t.id)".to_owned())
        }
        Some(state) => {
            // From the ends, which are few, to their tasks.
            sql = "SELECT t.id FROM ends e CROSS JOIN tasks t ON t.id = e.task".to_owned();
            values.push(Value::from(state.name().to_owned()));
            wheres.push(format!("e.state = ?{}", values.len()));
        }
        None => {}
    }
    let texts = [("t.queue", &filter.queue), ("t.function", &filter.function)];
    for (column, text) in texts {
        if let Some(text) = text {
            values.push(Value::from(text.clone()));
            wheres.push(format!("{column} = ?{}", values.len()));
        }
    }
    for (column, number) in [("t.batch =", filter.batch), ("t.id <", filter.before)] {
        if let Some(number) = number {
            values.push(Value::from(number as i64));
            wheres.push(format!("{column} ?{}", values.len()));
        }
    }
    if !wheres.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&wheres.join(" AND "));
    }
    let order = if filter.state.is_some_and(State::is_terminal) { "e.task" } else { "t.id" };
    sql.push_str(&format!(" ORDER BY {order} DESC"));
    (sql, values)
}

fn batches(file: &Connection, limit: usize) -> Result<Vec<BatchInfo>> {
    let mut read = file.prepare_cached("SELECT * FROM batches ORDER BY id DESC LIMIT ?1")?;
    let rows = read.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], batch)?;
    rows.collect()
}

fn schedules(file: &Connection) -> Result<Vec<ScheduleInfo>> {
    let mut read =
        file.prepare_cached("SELECT name, seen_ms, fired_ms, task, paused FROM schedules ORDER BY name")?;
    let rows = read.query_map([], |row| {
        let number = |index| row.get::<_, Option<i64>>(index).map(|number| number.map(i64::unsigned_abs));
        let (seen_ms, fired_ms, task) = (number(1)?, number(2)?, number(3)?);
        Ok(ScheduleInfo { name: row.get(0)?, seen_ms, fired_ms, task, paused: row.get(4)? })
    })?;
    rows.collect()
}

/// All that the file has of a task.
pub(super) fn read_details(
    file: &Connection,
    names: &SharedNames,
    id: TaskId,
) -> Result<Option<TaskDetails>> {
    let Some(task) = load_one(file, names, id, 0)? else { return Ok(None) };
    let mut parts = view_parts(file, &task)?;
    let sql = "SELECT number, started_ms, ran_us, pid, error FROM attempts WHERE task = ?1 ORDER BY number";
    let mut read = file.prepare_cached(sql)?;
    let mut history = read.query_map([id as i64], attempt)?.collect::<Result<Vec<_>>>()?;
    history.append(&mut parts.history);
    parts.history = history;
    let notes: Option<String> = one(file, "SELECT notes FROM notes WHERE task = ?1", id)?;
    parts.notes = notes.and_then(|notes| serde_json::from_str(&notes).ok());
    Ok(Some(details(&task, parts)))
}

fn read_summary(file: &Connection, names: &SharedNames, id: TaskId) -> Result<Option<TaskSummary>> {
    let task = load(file, names, &[id], 0)?.pop();
    task.map(|task| view_parts(file, &task).map(|parts| summary(&task, &parts))).transpose()
}

/// The state of a task, and its last attempt.
fn view_parts(file: &Connection, task: &TaskRecord) -> Result<TaskViewParts> {
    let sql =
        "SELECT attempt, started_ms, ran_us, pid, error, state, ended_ms, result FROM ends WHERE task = ?1";
    let end = file.prepare_cached(sql)?.query_row([task.id as i64], |row| {
        let state = row.get_ref(5)?.as_str()?;
        let state = state.parse::<State>().ok();
        let last = row.get::<_, Option<u32>>(0)?.map(|_| attempt(row)).transpose()?;
        let result: Option<String> = row.get(7)?;
        let result = result.unwrap_or_else(|| "null".to_owned());
        Ok(TaskViewParts {
            state,
            ended_ms: row.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs),
            attempts: last.as_ref().map_or(task.attempts(), |last| last.number),
            error: row.get(4)?,
            history: last.into_iter().collect(),
            result: RawValue::from_string(result).ok().filter(|_| state == Some(State::Done)),
            ..TaskViewParts::default()
        })
    });
    if let Some(parts) = end.optional()? {
        return Ok(parts);
    }
    let due_ms: Option<Option<i64>> = one(file, "SELECT due_ms FROM retries WHERE task = ?1", task.id)?;
    let error = "SELECT error FROM attempts WHERE task = ?1 ORDER BY number DESC LIMIT 1";
    Ok(TaskViewParts {
        state: Some(State::Waiting),
        attempts: task.attempts(),
        due_ms: due_ms.flatten().map(i64::unsigned_abs),
        error: if task.attempts() > 0 { one(file, error, task.id)? } else { None },
        ..TaskViewParts::default()
    })
}

fn attempt(row: &rusqlite::Row) -> Result<AttemptInfo> {
    Ok(AttemptInfo {
        number: row.get(0)?,
        started_ms: row.get::<_, i64>(1)?.unsigned_abs(),
        ran_ms: row.get::<_, Option<i64>>(2)?.map(|ran_us| ran_us as f64 / 1000.0),
        pid: row.get(3)?,
        error: row.get(4)?,
    })
}
