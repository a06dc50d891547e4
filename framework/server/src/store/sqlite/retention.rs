//! The ended tasks that are kept for a while, and how they go when that is over.

use framework_protocol::task::TaskId;
use framework_protocol::views::{Ledger, State};
use rusqlite::{Connection, Result, params};

use super::chosen::ChosenTasks;
use super::ended_queue::{EndedQueue, ExpiringRow};
use crate::store::StoreOptions;
use crate::store::retention::{FailedRemovalWarning, RetentionClasses, RetentionLimit, is_failed};

/// The most tasks that are deleted at one time beyond the number that came in, so that a shortened time or
/// count is caught up with slowly.
const CATCH_UP: usize = 1_024;

/// A few tasks are deleted together with others after this time.
const PAUSE_MS: u64 = 1_000;

/// The ended tasks that are kept.
#[derive(Debug)]
pub(super) struct Retention {
    classes: RetentionClasses,
    /// The tasks of each class, in the order of their ends.
    ended: Vec<EndedQueue>,
    /// The number of tasks that came in since some were deleted last, and the time of that.
    fresh: usize,
    trimmed_ms: u64,
    warning: FailedRemovalWarning,
}

/// The tasks that one transaction deletes: how many of the oldest rows of each class.
#[derive(Debug)]
pub(super) struct Trimmed {
    counts: Vec<usize>,
    /// Failed ones of them whose time is not over.
    early: usize,
}

impl Retention {
    pub(super) fn new(options: &StoreOptions) -> Self {
        let classes = RetentionClasses::new(options);
        let ended = classes.limits().iter().map(|_| EndedQueue::default()).collect();
        Self { classes, ended, fresh: 0, trimmed_ms: 0, warning: FailedRemovalWarning::default() }
    }

    /// Whether the functions of tasks matter.
    pub(super) fn has_functions(&self) -> bool {
        self.classes.has_functions()
    }

    /// Adds the end of a task of an earlier process; the oldest first.
    pub(super) fn restore(&mut self, function: &str, row: ExpiringRow) {
        self.ended[self.classes.class(function, row.state)].push(row);
    }

    pub(super) fn push(&mut self, function: &str, row: ExpiringRow) {
        self.restore(function, row);
        self.fresh += 1;
    }

    /// Whether a task has been kept long enough.
    pub(super) fn is_due(&mut self, now_ms: u64) -> bool {
        self.correct_future(now_ms);
        let classes = self.ended.iter().zip(self.classes.limits());
        let is_due = |ended: &EndedQueue, limit: &RetentionLimit| {
            let since = now_ms.saturating_sub(limit.time_ms);
            ended.len() > limit.count || ended.oldest_ms().is_some_and(|at_ms| at_ms < since)
        };
        classes.into_iter().any(|(ended, limit)| is_due(ended, limit))
    }

    /// Ends that lie in the future, because the clock was set back since, count as of now; they would keep
    /// those behind them until then.
    fn correct_future(&mut self, now_ms: u64) {
        for ended in &mut self.ended {
            if ended.oldest_ms().is_some_and(|at_ms| at_ms > now_ms) {
                ended.set_latest(now_ms);
            }
        }
    }

    /// Removes tasks that are not ended any more, or not kept: each with its function, if functions matter,
    /// and the state in which it had ended.
    pub(super) fn remove<'a>(&mut self, tasks: impl Iterator<Item = (TaskId, &'a str, State)>) {
        let mut removed = vec![Vec::new(); self.ended.len()];
        tasks.for_each(|(id, function, state)| removed[self.classes.class(function, state)].push(id));
        for (ended, removed) in self.ended.iter_mut().zip(removed).filter(|(_, removed)| !removed.is_empty())
        {
            ended.remove(removed);
        }
    }

    /// Deletes the tasks from the file that have been kept long enough, and counts them in the ledger;
    /// `None` when there are none, or so few that they can wait for others.
    pub(super) fn trim(
        &mut self,
        connection: &Connection,
        now_ms: u64,
        next_id: TaskId,
    ) -> Result<Option<Trimmed>> {
        self.correct_future(now_ms);
        let trimmed = self.excess(now_ms);
        let few = |(count, limit): (&usize, &RetentionLimit)| *count < CATCH_UP.min(limit.count / 8);
        let is_few = trimmed.counts.iter().zip(self.classes.limits()).all(few)
            && now_ms < self.trimmed_ms.saturating_add(PAUSE_MS);
        if is_few || trimmed.counts.iter().all(|count| *count == 0) {
            return Ok(None);
        }
        (self.fresh, self.trimmed_ms) = (0, now_ms);
        let classes = self.ended.iter().zip(&trimmed.counts);
        let oldest = classes.flat_map(|(ended, count)| ended.iter().take(*count));
        let deleted: Vec<_> = oldest.flatten().collect();
        ChosenTasks::new(connection, deleted.iter().map(|end| end.id).collect())?.delete()?;
        let mut ended = Ledger::default();
        deleted.iter().for_each(|end| count_in(&mut ended, end.state));
        note(connection, &ended, next_id)?;
        Ok(Some(trimmed))
    }

    /// Counts the rows of tasks that are not to be kept any longer, as far as they are deleted in one
    /// transaction.
    fn excess(&self, now_ms: u64) -> Trimmed {
        let limit = self.fresh + CATCH_UP;
        let mut early = 0;
        let classes = self.ended.iter().zip(self.classes.limits()).enumerate();
        let count = |(class, (ended, kept)): (usize, (&EndedQueue, &RetentionLimit))| {
            let since = now_ms.saturating_sub(kept.time_ms);
            let mut surplus = ended.len().saturating_sub(kept.count);
            let goes = |row: &Option<ExpiringRow>| {
                let Some(row) = row else { return true };
                let (is_old, is_surplus) = (row.at_ms < since, surplus > 0);
                surplus = surplus.saturating_sub(1);
                early += usize::from(is_failed(class) && is_surplus && !is_old);
                is_old || is_surplus
            };
            ended.iter().take(limit).take_while(goes).count()
        };
        let counts = classes.map(count).collect();
        Trimmed { counts, early }
    }

    /// Forgets the deleted tasks, once the deletion is durable.
    pub(super) fn forget(&mut self, trimmed: &Trimmed, now_ms: u64) {
        for (ended, count) in self.ended.iter_mut().zip(&trimmed.counts) {
            ended.drop_first(*count);
        }
        self.warning.note(trimmed.early, now_ms);
    }
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
