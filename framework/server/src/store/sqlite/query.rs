//! Answers queries from the file, and from the index what is not in it.

use framework_protocol::task::{ProgressLog, TaskId, TaskRecord};
use framework_protocol::views::{
    AttemptInfo, BatchInfo, Filter, FunctionRecord, QueueInfo, ScheduleInfo, State, TaskDetails, TaskSummary,
};
use framework_protocol::{ErrorCode, RequestError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params_from_iter};
use serde_json::value::RawValue;

use super::load::{load_one, one};
use super::names::SharedNames;
use super::recovery::batch;
use super::row::{self, LoadedTask};
use super::schema;
use super::write_error::WriteError;
use super::{SqliteShared, backlog, closed, figure_history};
use crate::store::query::matches;
use crate::store::view_parts::{TaskViewParts, add_oldest, details, queues, summary};
use crate::store::{BacklogPlace, Query, QueryResult, StoreStats};

impl SqliteShared {
    pub(super) fn counts(&self) -> StoreStats {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let mut counts = state.index.counts();
        counts.storage_error = state.write_error.as_ref().map(WriteError::describe);
        let warnings = state.damage.iter().chain(&state.checkpoint_error);
        counts.storage_warning = warnings.cloned().reduce(|all, warning| format!("{all} {warning}"));
        let oldest = state.index.oldest();
        drop(state);
        let accepted_ms = oldest.and_then(|(id, task)| match task {
            Some(task) => Some(task.accepted_ms),
            None => self.accepted_ms(id),
        });
        counts.oldest_waiting_ms = accepted_ms.map(|accepted_ms| now.wall_ms.saturating_sub(accepted_ms));
        counts
    }

    /// The time of a task's acceptance, from the disk.
    fn accepted_ms(&self, id: TaskId) -> Option<u64> {
        let reader = self.reader.lock().expect("no one panics while reading");
        let accepted = one::<i64>(&reader, "SELECT accepted_ms FROM tasks WHERE id = ?1", id);
        accepted.ok().flatten().map(i64::unsigned_abs)
    }

    fn queues(&self) -> Vec<QueueInfo> {
        let now = self.clock.now();
        let (mut infos, oldest) = {
            let mut state = self.state();
            state.wake(now);
            (queues(&mut state.index), state.index.oldest_by_queue())
        };
        add_oldest(&mut infos, &oldest, now.wall_ms, |id| self.accepted_ms(id));
        infos
    }

    pub(super) fn query(&self, query: Query) -> std::result::Result<QueryResult, RequestError> {
        match query {
            Query::Queues => Ok(QueryResult::Queues(self.queues())),
            Query::Changes => Ok(QueryResult::Changes(self.state().changes.list())),
            Query::Task(id) => self.read(|file| self.task(file, id)),
            Query::Tasks(filter) => self.read(|file| self.tasks(file, &filter)),
            Query::Batch(id) => self.read(|file| {
                let sql = "SELECT * FROM batches WHERE id = ?1";
                let found = file.prepare_cached(sql)?.query_row([id as i64], batch).optional()?;
                Ok(found.map_or(QueryResult::Nothing, |info| QueryResult::Batch(Box::new(info))))
            }),
            Query::Batches { limit } => self.read(|file| batches(file, limit).map(QueryResult::Batches)),
            Query::Schedules => self.read(|file| schedules(file).map(QueryResult::Schedules)),
            Query::Backlog { functions } => {
                let mut queues = self.state().index.backlog(&functions);
                self.read(|file| {
                    for (queue, count) in backlog::failed_by_queue(file, &functions)? {
                        queues.entry(queue).or_default().failed += count;
                    }
                    Ok(QueryResult::Backlog(queues))
                })
            }
            Query::Next { functions, queue, place, limit } => match place {
                BacklogPlace::Due => {
                    Ok(QueryResult::Next(self.state().index.next_due_tasks(&functions, &queue, limit)))
                }
                BacklogPlace::Delayed => {
                    let now = self.clock.now();
                    let next = self.state().index.next_delayed_tasks(&functions, &queue, limit, now);
                    Ok(QueryResult::Next(next))
                }
                BacklogPlace::Failed => self.read(|file| {
                    backlog::next_failed(file, &functions, &queue, limit).map(QueryResult::Next)
                }),
            },
            Query::History(filter) => {
                let now_ms = self.clock.now().wall_ms;
                self.read(|file| figure_history::query(file, &filter, now_ms).map(QueryResult::History))
            }
            Query::Functions => self.read(|file| functions(file).map(QueryResult::Functions)),
        }
    }

    fn read(
        &self,
        read: impl FnOnce(&Connection) -> Result<QueryResult>,
    ) -> std::result::Result<QueryResult, RequestError> {
        let file = self.queries.lock().map_err(|_| closed())?;
        read(&file).map_err(|error| {
            let message = format!("The queue's file cannot be read: {error}. See think queue:check.");
            RequestError::new(ErrorCode::Internal, message)
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

fn read_summary(file: &Connection, names: &SharedNames, id: TaskId) -> Result<Option<TaskSummary>> {
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
