//! Commands of administration; a few thousand tasks at a time, so that other writes need not wait long.

use std::sync::Arc;

use framework_protocol::task::{BatchId, TaskId, TaskRecord};
use framework_protocol::views::{AdminResult, BatchState, Cancelled, Ledger, State, TaskSelector};
use framework_protocol::{ErrorCode, RequestError};
use rusqlite::{Connection, OptionalExtension, params};

use super::recovery::{load, one};
use super::retention::{count_in, delete, note};
use super::set;
use super::write_error::WriteError;
use super::write_queue::WriteRequest;
use super::writer::Writer;
use crate::store::AdminCommand;
use crate::store::index::no_batch;
use crate::store::memory::{conflict, no_task, nothing_to_cancel};

/// The most tasks that are changed in one transaction.
const CHUNK: usize = 2_048;

const CANCELLED: &str = "It was cancelled before it ran.";

type CommandResult<T> = Result<T, RequestError>;

impl Writer {
    pub(super) fn apply(&mut self, command: AdminCommand) -> CommandResult<AdminResult> {
        match command {
            AdminCommand::Cancel(TaskSelector::Task(id)) => self.cancel(id).map(AdminResult::Cancelled),
            AdminCommand::Cancel(TaskSelector::Batch(id)) => self.cancel_batch(id).map(AdminResult::Tasks),
            AdminCommand::Cancel(TaskSelector::Failed { .. }) => Err(nothing_to_cancel()),
            AdminCommand::Retry(selector) => self.retry(&selector).map(AdminResult::Tasks),
            AdminCommand::Forget(selector) => self.forget(&selector).map(AdminResult::Tasks),
            AdminCommand::Flush { queue } => self.flush(queue.as_deref()).map(AdminResult::Tasks),
            AdminCommand::Pause { queue, paused } => self.pause(&queue, paused).map(|()| AdminResult::Done),
            AdminCommand::OpenBatch { name, function, then } => {
                let now_ms = self.shared.clock.now().wall_ms;
                let info = self.shared.state().index.batches().open(name, function, then, now_ms);
                let sql =
                    "INSERT INTO batches VALUES (?1, ?2, ?3, 'open', 0, 0, 0, 0, 0, ?4, NULL, ?5, NULL)";
                let row = params![info.id as i64, info.name, info.function, now_ms as i64, info.then];
                let opened = self.execute(|file| file.execute(sql, row).map(drop));
                if opened.is_err() {
                    // Its id was not returned to anyone.
                    self.shared.state().index.batches().forget(info.id);
                }
                opened.map(|()| AdminResult::Batch(info.id))
            }
            AdminCommand::SealBatch(id) => self.seal(id).map(|()| AdminResult::Done),
            AdminCommand::Schedule { name, note } => {
                let sql = "INSERT INTO schedules VALUES (?1, ?2, ?3, ?4, coalesce(?5, 0)) ON CONFLICT (name) \
                    DO UPDATE SET seen_ms = coalesce(?2, seen_ms), fired_ms = coalesce(?3, fired_ms), \
                    task = coalesce(?4, task), paused = coalesce(?5, paused)";
                let number = |number: Option<u64>| number.map(|number| number as i64);
                let row = params![
                    name,
                    number(note.seen_ms),
                    number(note.fired_ms),
                    number(note.task),
                    note.paused
                ];
                self.execute(|file| file.execute(sql, row).map(drop))?;
                Ok(AdminResult::Done)
            }
        }
    }

    fn cancel(&mut self, id: TaskId) -> CommandResult<Cancelled> {
        let running = self.shared.state().index.cancel_running(id);
        if let Some(cancelled) = running {
            self.note_cancelled(&[id])?;
            return Ok(cancelled);
        }
        if self.end_waiting(&[id], State::Cancelled, CANCELLED, true)? > 0 {
            return Ok(Cancelled::AtOnce);
        }
        Err(match self.state(id)? {
            Some(state) => conflict(format!("Task {id} has ended already: it is {}.", state.name())),
            None => no_task(id),
        })
    }

    fn cancel_batch(&mut self, id: BatchId) -> CommandResult<u64> {
        match self.query(|file| one::<String>(file, "SELECT state FROM batches WHERE id = ?1", id))? {
            None => return Err(no_batch(id)),
            Some(state) if state.parse() == Ok(BatchState::Ended) => {
                return Err(conflict(format!("Batch {id} has ended already.")));
            }
            Some(_) => {}
        }
        let waiting = self.ids(
            "SELECT id FROM tasks t WHERE batch = ?1 AND NOT EXISTS (SELECT 1 FROM ends WHERE task = t.id)",
            Some(id.to_string()),
        )?;
        let asked: Vec<_> = {
            let mut state = self.shared.state();
            state.index.batches().give_up(id);
            waiting.iter().copied().filter(|id| state.index.cancel_running(*id).is_some()).collect()
        };
        self.note_cancelled(&asked)?;
        let ended = self.end_waiting(&waiting, State::Cancelled, CANCELLED, true)?;
        self.note_batches()?;
        Ok(ended + asked.len() as u64)
    }

    /// Notes that running tasks were asked to stop: should the process die first, they do not run again.
    fn note_cancelled(&mut self, ids: &[TaskId]) -> CommandResult<()> {
        self.execute(|file| {
            let mut insert = file.prepare_cached("INSERT OR REPLACE INTO cancels VALUES (?1)")?;
            ids.iter().try_for_each(|id| insert.execute([*id as i64]).map(drop))
        })
    }

    fn flush(&mut self, queue: Option<&str>) -> CommandResult<u64> {
        let waiting = self.shared.state().index.waiting_ids(queue);
        self.end_waiting(&waiting, State::Cancelled, "The queue was flushed.", false)
    }

    /// Ends those of these tasks that wait; returns their number.
    pub(super) fn end_waiting(
        &mut self,
        ids: &[TaskId],
        end_state: State,
        reason: &str,
        keep: bool,
    ) -> CommandResult<u64> {
        let mut ended = 0;
        for chunk in ids.chunks(CHUNK) {
            let now = self.shared.clock.now();
            let mut removed = self.shared.state().index.remove_waiting(&set(chunk));
            let cold: Vec<_> =
                removed.iter().filter(|waiting| waiting.task.is_none()).map(|waiting| waiting.id).collect();
            let read = load(self.journal.connection(), &self.shared.names, &cold, now.wall_ms);
            let mut records = Vec::with_capacity(removed.len());
            let mut state = self.shared.state();
            let mut read: std::collections::HashMap<_, _> =
                read.unwrap_or_default().into_iter().map(|task| (task.id, task)).collect();
            for waiting in removed.drain(..) {
                let cold = || {
                    let mut task = read.remove(&waiting.id)?;
                    state.index.complete(&mut task);
                    Some(Arc::new(task))
                };
                match waiting.task.clone().or_else(cold) {
                    Some(task) => {
                        ended += 1;
                        state.index.terminate(task, end_state, reason, keep, now, &mut records);
                    }
                    None => state.index.put_back(waiting),
                }
            }
            state.index.note_batches(now, &mut records);
            let wake_set = state.index.wake_set(now);
            drop(state);
            self.shared.wakeups.notify(wake_set);
            self.write_now(records)?;
        }
        Ok(ended)
    }

    /// Writes events; they stay to be written if the disk does not let them be now.
    fn write_now(&mut self, records: Vec<crate::store::index::Record>) -> CommandResult<()> {
        self.write(vec![WriteRequest::Records(records)]).map_err(|write_error| write_error.refusal())
    }

    fn note_batches(&mut self) -> CommandResult<()> {
        let now = self.shared.clock.now();
        let mut records = Vec::new();
        self.shared.state().index.note_batches(now, &mut records);
        if records.is_empty() { Ok(()) } else { self.write_now(records) }
    }

    fn seal(&mut self, id: BatchId) -> CommandResult<()> {
        let now = self.shared.clock.now();
        let mut records = Vec::new();
        let (sealed, wake_set) = {
            let mut state = self.shared.state();
            let sealed = state.index.seal(id, now, &mut records);
            (sealed, state.index.wake_set(now))
        };
        if sealed.is_err() {
            let known = self.query(|file| one::<i64>(file, "SELECT 1 FROM batches WHERE id = ?1", id))?;
            return match known {
                Some(_) => Err(conflict(format!("Batch {id} is sealed already."))),
                None => Err(no_batch(id)),
            };
        }
        self.shared.wakeups.notify(wake_set);
        self.write_now(records)
    }

    fn retry(&mut self, selector: &TaskSelector) -> CommandResult<u64> {
        let ids = self.ended(selector, true)?;
        for chunk in ids.chunks(CHUNK) {
            let now = self.shared.clock.now();
            let again = self.execute(|file| {
                let tasks = load(file, &self.shared.names, chunk, now.wall_ms)?;
                tasks.into_iter().map(|task| wait_again(file, &task)).collect::<Result<Vec<_>, _>>()
            })?;
            self.journal.retention().remove(&set(chunk));
            let mut state = self.shared.state();
            let mut alone = Vec::new();
            for (task, _) in &again {
                let over = task.new.batch().filter(|batch| state.index.batches().get(*batch).is_none());
                alone.extend(over.map(|_| task.id));
            }
            state.index.restore(again, now);
            let wake_set = state.index.wake_set(now);
            drop(state);
            self.shared.wakeups.notify(wake_set);
            self.execute(|file| {
                let leave =
                    |id: &TaskId| file.execute("UPDATE tasks SET batch = NULL WHERE id = ?1", [*id as i64]);
                alone.iter().try_for_each(|id| leave(id).map(drop))
            })?;
        }
        self.note_batches()?;
        Ok(ids.len() as u64)
    }

    fn forget(&mut self, selector: &TaskSelector) -> CommandResult<u64> {
        let ids = self.ended(selector, false)?;
        let next_id = self.journal.next_id();
        for chunk in ids.chunks(CHUNK) {
            self.execute(|file| {
                let mut ended = Ledger::default();
                for id in chunk {
                    let state = state_of(file, *id)?;
                    state.into_iter().for_each(|state| count_in(&mut ended, state));
                    delete(file, *id, *id)?;
                }
                note(file, &ended, next_id)
            })?;
            self.journal.retention().remove(&set(chunk));
        }
        Ok(ids.len() as u64)
    }

    /// The selected ended tasks, to be retried or forgotten.
    fn ended(&self, selector: &TaskSelector, to_retry: bool) -> CommandResult<Vec<TaskId>> {
        let not_done = if to_retry { "AND e.state <> 'done'" } else { "" };
        let of = |which: &str| {
            format!(
                "SELECT e.task FROM ends e CROSS JOIN tasks t ON t.id = e.task WHERE {which} {not_done} ORDER BY 1"
            )
        };
        match selector {
            TaskSelector::Task(id) => match self.state(*id)? {
                Some(State::Done) if to_retry => {
                    Err(conflict(format!("Task {id} is done: there is nothing to try again.")))
                }
                Some(_) => Ok(vec![*id]),
                None => {
                    match self.query(|file| one::<i64>(file, "SELECT 1 FROM tasks WHERE id = ?1", *id))? {
                        Some(_) => Err(conflict(format!("Task {id} has not ended yet."))),
                        None => Err(no_task(*id)),
                    }
                }
            },
            TaskSelector::Batch(id) => self.ids(&of("t.batch = ?1"), Some(id.to_string())),
            TaskSelector::Failed { queue: Some(queue) } => {
                self.ids(&of("e.state = 'failed' AND t.queue = ?1"), Some(queue.clone()))
            }
            TaskSelector::Failed { queue: None } => self.ids(&of("e.state = 'failed'"), None),
        }
    }

    fn pause(&mut self, queue: &str, paused: bool) -> CommandResult<()> {
        self.execute(|file| {
            file.execute("INSERT OR REPLACE INTO queues VALUES (?1, ?2)", params![queue, paused])
        })?;
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        state.index.order().pause(queue, paused);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.shared.wakeups.notify(wake_set);
        Ok(())
    }

    fn state(&self, id: TaskId) -> CommandResult<Option<State>> {
        self.query(|file| state_of(file, id))
    }

    fn ids(&self, sql: &str, value: Option<String>) -> CommandResult<Vec<TaskId>> {
        self.query(|file| {
            let mut read = file.prepare_cached(sql)?;
            let rows = read.query_map(rusqlite::params_from_iter(value), |row| row.get::<_, i64>(0))?;
            rows.map(|id| id.map(i64::unsigned_abs)).collect()
        })
    }

    fn query<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> CommandResult<T> {
        query(self.journal.connection()).map_err(|error| {
            RequestError::new(ErrorCode::Internal, format!("The queue's file cannot be read: {error}."))
        })
    }

    /// Changes the file in one transaction.
    fn execute<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> CommandResult<T> {
        let file = self.journal.connection();
        let write = || {
            let transaction = file.unchecked_transaction()?;
            let changed = change(&transaction)?;
            transaction.commit().map(|()| changed)
        };
        write().map_err(|error| {
            let write_error = WriteError::of(&error, self.shared.clock.now());
            let refusal = write_error.refusal();
            self.shared.state().write_error = Some(write_error);
            refusal
        })
    }
}

fn state_of(file: &Connection, id: TaskId) -> rusqlite::Result<Option<State>> {
    let state: Option<String> = one(file, "SELECT state FROM ends WHERE task = ?1", id)?;
    Ok(state.and_then(|state| state.parse().ok()))
}

/// Lets an ended task wait again in the file: its last attempt joins those before.
fn wait_again(file: &Connection, task: &TaskRecord) -> rusqlite::Result<(TaskRecord, State)> {
    let id = task.id as i64;
    let state = state_of(file, task.id)?.unwrap_or(State::Failed);
    let last = "INSERT OR REPLACE INTO attempts SELECT task, attempt, coalesce(started_ms, ended_ms), ran_us, \
        coalesce(pid, 0), error FROM ends WHERE task = ?1 AND attempt IS NOT NULL";
    file.prepare_cached(last)?.execute([id])?;
    let attempts = file
        .prepare_cached("SELECT max(number) FROM attempts WHERE task = ?1")?
        .query_row([id], |row| row.get::<_, Option<u32>>(0))
        .optional()?
        .flatten();
    file.prepare_cached("DELETE FROM ends WHERE task = ?1")?.execute([id])?;
    file.prepare_cached("DELETE FROM cancels WHERE task = ?1")?.execute([id])?;
    let retry = "INSERT OR REPLACE INTO retries VALUES (?1, ?2, 0, 0, NULL, 0)";
    file.prepare_cached(retry)?.execute(params![id, attempts.unwrap_or(0)])?;
    task.attempts.store(attempts.unwrap_or(0), std::sync::atomic::Ordering::Relaxed);
    Ok((TaskRecord::again(task), state))
}
