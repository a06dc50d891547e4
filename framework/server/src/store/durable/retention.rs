//! The ended tasks that are kept for a while, and how they go when that is over.

use framework_protocol::task::TaskId;
use framework_protocol::views::{Ledger, State};

use super::ended_queue::{EndedQueue, ExpiringRow};
use crate::store::StoreOptions;
use crate::store::index::EndRecord;
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

/// The tasks that one transaction deletes.
#[derive(Debug)]
pub(super) struct Trimmed {
    pub(super) rows: Vec<ExpiringRow>,
    /// How many of the oldest rows of each class these are, with those that were removed before.
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

    /// Adds a task that has ended, if it is kept.
    pub(super) fn push(&mut self, ended: &EndRecord) {
        let EndRecord { task, at_ms, state, keep, .. } = ended;
        if *keep {
            self.restore(&task.new.function, ExpiringRow { id: task.id, at_ms: *at_ms, state: *state });
            self.fresh += 1;
        }
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

    /// The tasks that have been kept long enough; `None` when there are none, or so few that they can wait
    /// for others.
    pub(super) fn trim(&mut self, now_ms: u64) -> Option<Trimmed> {
        self.correct_future(now_ms);
        let (counts, early) = self.excess(now_ms);
        let few = |(count, limit): (&usize, &RetentionLimit)| *count < CATCH_UP.min(limit.count / 8);
        let is_few = counts.iter().zip(self.classes.limits()).all(few)
            && now_ms < self.trimmed_ms.saturating_add(PAUSE_MS);
        if is_few || counts.iter().all(|count| *count == 0) {
            return None;
        }
        let classes = self.ended.iter().zip(&counts);
        let oldest = classes.flat_map(|(ended, count)| ended.iter().take(*count));
        Some(Trimmed { rows: oldest.flatten().collect(), counts, early })
    }

    /// Counts the rows of each class that are not to be kept any longer, as far as they are deleted in one
    /// transaction; and the failed tasks of them whose time is not over.
    fn excess(&self, now_ms: u64) -> (Vec<usize>, usize) {
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
        (counts, early)
    }

    /// Forgets the deleted tasks, once the deletion is durable.
    pub(super) fn forget(&mut self, trimmed: &Trimmed, now_ms: u64) {
        (self.fresh, self.trimmed_ms) = (0, now_ms);
        for (ended, count) in self.ended.iter_mut().zip(&trimmed.counts) {
            ended.drop_first(*count);
        }
        self.warning.note(trimmed.early, now_ms);
    }
}

/// Counts an ended task of which nothing else is kept.
pub fn count_in(ended: &mut Ledger, state: State) {
    match state {
        State::Done => ended.done += 1,
        State::Failed => ended.failed += 1,
        State::Cancelled => ended.cancelled += 1,
        State::Expired => ended.expired += 1,
        State::Waiting | State::Running => {}
    }
}
