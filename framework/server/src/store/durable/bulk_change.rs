//! Changes of many tasks, which the thread that writes carries out in steps, by turns with groups of pushes.
//!
//! A change that needs more than one step is written to the journal from before the first one to after the
//! last one, by which the next process goes on with it.

use std::collections::VecDeque;
use std::sync::Arc;

use framework_protocol::RequestError;
use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::{AdminResult, ChangeId, ChangeKind, FailureFilter, TaskSelector};

use super::journal::{Cursor, StoredChange};
use super::write_queue::CommandAnswer;
use crate::store::changes::{ChangeProgress, ChangeSubject};
use crate::store::index::{TaskIndex, WaitingEnd};

/// A change of many tasks that is under way.
#[derive(Debug)]
pub(super) struct BulkChange {
    pub(super) kind: BulkKind,
    pub(super) cursor: Cursor,
    /// Its id in the journal; `None` as long as it is not written there.
    pub(super) stored: Option<i64>,
    /// Its id among those under way; `None` as long as it is not listed.
    pub(super) id: Option<ChangeId>,
    pub(super) progress: Arc<ChangeProgress>,
    answer: Option<CommandAnswer>,
}

/// The kind of a change, and the tasks that it concerns.
#[derive(Debug)]
pub(super) enum BulkKind {
    /// Cancels the tasks of a sealed batch.
    Cancel(BatchId),
    /// Cancels the tasks of an abandoned batch.
    Empty(BatchId),
    /// Lets the tasks of a sealed batch run.
    Release(BatchId),
    /// Ends waiting tasks in this way.
    End(WaitingEnd, VecDeque<TaskId>),
    /// Cancels waiting tasks of a queue, or of all, and keeps nothing of them.
    Flush(Option<String>, VecDeque<TaskId>),
    Retry(TaskSelector),
    Forget(TaskSelector),
}

impl BulkKind {
    /// Flushes a queue in which these tasks wait.
    pub(super) fn flush(queue: Option<String>, mut ids: Vec<TaskId>) -> Self {
        // Neighbours are read together.
        ids.sort_unstable();
        Self::Flush(queue, ids.into())
    }

    /// The number of tasks that are to be changed; 0 when that is not known.
    pub(super) fn total(&self, index: &mut TaskIndex) -> u64 {
        let mut batch = |id| index.batches().get(id).cloned();
        match self {
            Self::Cancel(id) | Self::Empty(id) | Self::Release(id) => {
                batch(*id).map_or(0, |batch| batch.total.saturating_sub(batch.ended()))
            }
            Self::End(_, ids) | Self::Flush(_, ids) => ids.len() as u64,
            Self::Retry(TaskSelector::Batch(id)) => {
                batch(*id).map_or(0, |batch| batch.failed + batch.cancelled + batch.expired)
            }
            Self::Retry(TaskSelector::Task(_)) | Self::Forget(TaskSelector::Task(_)) => 1,
            Self::Retry(_) | Self::Forget(_) => 0,
        }
    }

    /// The change as it is listed.
    pub(super) fn subject(&self) -> ChangeSubject {
        let selected = |kind, selector: &TaskSelector| match selector {
            TaskSelector::Task(_) => ChangeSubject::of_queue(kind, None),
            TaskSelector::Batch(id) => ChangeSubject::of_batch(kind, *id, true),
            TaskSelector::Failed(filter) => ChangeSubject::of_failed(kind, filter.clone()),
        };
        let subject = match self {
            Self::Cancel(id) | Self::Empty(id) => ChangeSubject::of_batch(ChangeKind::Cancel, *id, true),
            Self::Release(id) => ChangeSubject::of_batch(ChangeKind::Release, *id, true),
            Self::End(..) => ChangeSubject::of_queue(ChangeKind::Expire, None),
            Self::Flush(queue, _) => ChangeSubject::of_queue(ChangeKind::Flush, queue.clone()),
            Self::Retry(selector) => selected(ChangeKind::Retry, selector),
            Self::Forget(selector) => selected(ChangeKind::Forget, selector),
        };
        ChangeSubject { may_stop: self.stored().is_some(), ..subject }
    }

    fn past_tense(&self) -> &'static str {
        match self {
            Self::Cancel(_) | Self::Empty(_) | Self::Flush(..) => "cancelled",
            Self::Release(_) => "released",
            Self::End(..) => "ended",
            Self::Retry(_) => "retried",
            Self::Forget(_) => "forgotten",
        }
    }

    /// The kind, the batch and the filter as they are written; `None` for one that goes on without that, or
    /// never needs a second step.
    fn stored(&self) -> Option<(&'static str, Option<BatchId>, FailureFilter)> {
        let all = FailureFilter::default();
        let (kind, selector) = match self {
            Self::Cancel(id) => return Some(("cancel", Some(*id), all)),
            Self::Flush(queue, _) => {
                return Some(("flush", None, FailureFilter { queue: queue.clone(), ..all }));
            }
            Self::Retry(selector) => ("retry", selector),
            Self::Forget(selector) => ("forget", selector),
            Self::Empty(_) | Self::Release(_) | Self::End(..) => return None,
        };
        match selector {
            TaskSelector::Task(_) => None,
            TaskSelector::Batch(id) => Some((kind, Some(*id), all)),
            TaskSelector::Failed(filter) => Some((kind, None, filter.clone())),
        }
    }

    /// The kind of a change that was written; `None` for one that this program does not know.
    fn from_stored(kind: &str, batch: Option<BatchId>, filter: FailureFilter) -> Option<Self> {
        let selector = |filter| batch.map_or(TaskSelector::Failed(filter), TaskSelector::Batch);
        match kind {
            "cancel" => batch.map(Self::Cancel),
            "flush" => Some(Self::Flush(filter.queue, VecDeque::new())),
            "retry" => Some(Self::Retry(selector(filter))),
            "forget" => Some(Self::Forget(selector(filter))),
            _ => None,
        }
    }
}

impl BulkChange {
    /// A change of tasks that are accepted already: their ids come before `before`.
    pub(super) fn new(kind: BulkKind, before: TaskId, answer: Option<CommandAnswer>) -> Self {
        let (cursor, progress) = (Cursor { after: -1, before }, Arc::default());
        Self { kind, cursor, stored: None, id: None, progress, answer }
    }

    /// A change that no caller waits for.
    pub(super) fn unasked(kind: BulkKind, before: TaskId) -> Self {
        Self::new(kind, before, None)
    }

    /// Whether it goes on after an error, and in the next process.
    pub(super) fn is_durable(&self) -> bool {
        self.stored.is_some()
            || matches!(self.kind, BulkKind::Empty(_) | BulkKind::Release(_) | BulkKind::End(..))
    }

    /// Answers its caller once it is over.
    pub(super) fn finish(mut self) {
        let changed = self.progress.changed();
        let is_counted = !matches!(self.kind, BulkKind::Release(_));
        self.answer(Ok(if is_counted { AdminResult::Tasks(changed) } else { AdminResult::Done }));
    }

    /// Answers its caller with an error, which says how far it is.
    pub(super) fn refuse(&mut self, mut refusal: RequestError) {
        let changed = self.progress.changed();
        let verb = self.kind.past_tense();
        let so_far = match changed {
            _ if self.is_durable() => format!("{changed} tasks are {verb} so far, and the others follow."),
            0 => format!("No task is {verb}."),
            _ => format!("{changed} tasks are {verb}."),
        };
        refusal.message = format!("{} {so_far}", refusal.message);
        self.answer(Err(refusal));
    }

    fn answer(&mut self, result: Result<AdminResult, RequestError>) {
        if let Some(answer) = self.answer.take() {
            // A caller that is gone needs no answer.
            let _ = answer.send(result);
        }
    }

    /// The change as it is written under this id; `None` for one that is not.
    pub(super) fn to_stored(&self, id: i64) -> Option<StoredChange> {
        let (kind, batch, filter) = self.kind.stored()?;
        Some(StoredChange { id, kind: kind.to_owned(), batch, filter, cursor: self.cursor })
    }

    /// A change that an earlier process has begun. The tasks of a flush are still to be found.
    pub(super) fn from_stored(stored: StoredChange) -> Option<Self> {
        let StoredChange { id, kind, batch, filter, cursor } = stored;
        let kind = BulkKind::from_stored(&kind, batch, filter)?;
        let change = Self::unasked(kind, cursor.before);
        Some(Self { stored: Some(id), cursor, ..change })
    }
}
