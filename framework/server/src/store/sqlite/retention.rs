//! The ended tasks that are kept for a while, and how they go when that is over.

use std::collections::VecDeque;

use framework_protocol::task::TaskId;
use framework_protocol::views::{Ledger, State};
use rusqlite::{Connection, Result, params};

use crate::store::StoreOptions;

/// The most tasks that are deleted at one time beyond the number that came in, so that a shortened time or
/// count is caught up with slowly.
const CATCH_UP: usize = 1_024;

/// A few tasks are deleted together with others after this time.
const PAUSE_MS: u64 = 1_000;

/// The ended tasks that are kept, in the order of their ends.
#[derive(Debug)]
pub(super) struct Retention {
    keep_ms: u64,
    retention_count: usize,
    all: VecDeque<ExpiringRow>,
    /// The number of tasks that came in since some were deleted last, and the time of that.
    fresh: usize,
    trimmed_ms: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ExpiringRow {
    pub(super) id: TaskId,
    pub(super) at_ms: u64,
    pub(super) state: State,
}

impl Retention {
    pub(super) fn new(options: &StoreOptions, all: VecDeque<ExpiringRow>) -> Self {
        let keep_ms = u64::try_from(options.retention_time.as_millis()).unwrap_or(u64::MAX);
        Self { keep_ms, retention_count: options.retention_count, all, fresh: 0, trimmed_ms: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.all.truncate(len);
    }

    pub(super) fn push(&mut self, id: TaskId, at_ms: u64, state: State) {
        self.all.push_back(ExpiringRow { id, at_ms, state });
        self.fresh += 1;
    }

    /// Whether a task has been kept long enough.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let since = now_ms.saturating_sub(self.keep_ms);
        self.all.len() > self.retention_count || self.all.front().is_some_and(|end| end.at_ms < since)
    }

    /// Removes tasks that are not ended any more, or not kept.
    pub(super) fn remove(&mut self, ids: &rustc_hash::FxHashSet<TaskId>) {
        self.all.retain(|end| !ids.contains(&end.id));
    }

    /// Deletes the tasks from the file that have been kept long enough, and counts them in the ledger;
    /// returns their number.
    pub(super) fn trim(&mut self, connection: &Connection, now_ms: u64, next_id: TaskId) -> Result<usize> {
        let since = now_ms.saturating_sub(self.keep_ms);
        let surplus = self.all.len().saturating_sub(self.retention_count);
        let limit = self.fresh + CATCH_UP;
        let old = self.all.iter().take(limit).enumerate();
        let count = old.take_while(|(index, end)| *index < surplus || end.at_ms < since).count();
        // A few at a time would cost more than many together.
        let is_few = count < CATCH_UP.min(self.retention_count / 8)
            && now_ms < self.trimmed_ms.saturating_add(PAUSE_MS);
        if count == 0 || is_few {
            return Ok(0);
        }
        (self.fresh, self.trimmed_ms) = (0, now_ms);
        let mut deleted: Vec<_> = self.all.iter().take(count).copied().collect();
        deleted.sort_unstable_by_key(|end| end.id);
        for run in deleted.chunk_by(|a, b| a.id + 1 == b.id) {
            delete(connection, run[0].id, run[run.len() - 1].id)?;
        }
        let mut ended = Ledger::default();
        deleted.iter().for_each(|end| count_in(&mut ended, end.state));
        note(connection, &ended, next_id)?;
        Ok(count)
    }

    /// Forgets the deleted tasks, once the deletion is durable.
    pub(super) fn forget(&mut self, count: usize) {
        self.all.drain(..count);
    }

    /// Deletes a task of which nothing is kept.
    pub(super) fn drop_now(
        &self,
        connection: &Connection,
        id: TaskId,
        state: State,
        next_id: TaskId,
    ) -> Result<()> {
        delete(connection, id, id)?;
        let mut ended = Ledger::default();
        count_in(&mut ended, state);
        note(connection, &ended, next_id)
    }
}

/// Deletes all that is kept of a range of tasks.
pub(super) fn delete(connection: &Connection, first: TaskId, last: TaskId) -> Result<()> {
    let range = [first as i64, last as i64];
    for sql in [
        "DELETE FROM tasks WHERE id BETWEEN ?1 AND ?2",
        "DELETE FROM ends WHERE task BETWEEN ?1 AND ?2",
        "DELETE FROM attempts WHERE task BETWEEN ?1 AND ?2",
        "DELETE FROM retries WHERE task BETWEEN ?1 AND ?2",
        "DELETE FROM notes WHERE task BETWEEN ?1 AND ?2",
        "DELETE FROM cancels WHERE task BETWEEN ?1 AND ?2",
    ] {
        connection.prepare_cached(sql)?.execute(range)?;
    }
    Ok(())
}

/// Counts ended tasks in the ledger of which nothing is kept.
pub(super) fn note(connection: &Connection, ended: &Ledger, next_id: TaskId) -> Result<()> {
    let sql = "UPDATE ledger SET next_id = ?1, done = done + ?2, failed = failed + ?3, \
        cancelled = cancelled + ?4, expired = expired + ?5";
    let Ledger { done, failed, cancelled, expired, .. } = *ended;
    let row = params![next_id as i64, done as i64, failed as i64, cancelled as i64, expired as i64];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

pub(super) fn count_in(ended: &mut Ledger, state: State) {
    match state {
        State::Done => ended.done += 1,
        State::Failed => ended.failed += 1,
        State::Cancelled => ended.cancelled += 1,
        State::Expired => ended.expired += 1,
        State::Waiting | State::Running => {}
    }
}
