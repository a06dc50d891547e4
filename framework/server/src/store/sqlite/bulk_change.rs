//! Changes of many tasks, which the thread that writes carries out in steps, by turns with groups of pushes.
//!
//! A change that needs more than one step has a row in the file from before the first one to after the last
//! one, by which the next process goes on with it.

use std::collections::VecDeque;
use std::sync::Arc;

use framework_protocol::RequestError;
use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::{AdminResult, ChangeId, ChangeKind, TaskSelector};
use rusqlite::{Connection, Result, params};

use super::selection::Cursor;
use super::write_queue::CommandAnswer;
use crate::store::changes::{ChangeProgress, ChangeSubject};
use crate::store::index::{TaskIndex, WaitingEnd};

/// A change of many tasks that is under way.
#[derive(Debug)]
pub(super) struct BulkChange {
    pub(super) kind: BulkKind,
    pub(super) cursor: Cursor,
    /// The id of its row; `None` as long as it has none.
    pub(super) row: Option<i64>,
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
        let of = |kind, batch, queue: Option<&String>| {
            let may_stop = self.columns().is_some();
            ChangeSubject { kind, batch, queue: queue.cloned(), may_stop }
        };
        let selected = |kind, selector: &TaskSelector| match selector {
            TaskSelector::Task(_) => of(kind, None, None),
            TaskSelector::Batch(id) => of(kind, Some(*id), None),
            TaskSelector::Failed { queue } => of(kind, None, queue.as_ref()),
        };
        match self {
            Self::Cancel(id) | Self::Empty(id) => of(ChangeKind::Cancel, Some(*id), None),
            Self::Release(id) => of(ChangeKind::Release, Some(*id), None),
            Self::End(..) => of(ChangeKind::Expire, None, None),
            Self::Flush(queue, _) => of(ChangeKind::Flush, None, queue.as_ref()),
            Self::Retry(selector) => selected(ChangeKind::Retry, selector),
            Self::Forget(selector) => selected(ChangeKind::Forget, selector),
        }
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

    /// The columns `kind`, `batch` and `queue` of its row; `None` for one that goes on without a row, or
    /// never needs a second step.
    fn columns(&self) -> Option<(&'static str, Option<BatchId>, Option<&str>)> {
        let (kind, selector) = match self {
            Self::Cancel(id) => return Some(("cancel", Some(*id), None)),
            Self::Flush(queue, _) => return Some(("flush", None, queue.as_deref())),
            Self::Retry(selector) => ("retry", selector),
            Self::Forget(selector) => ("forget", selector),
            Self::Empty(_) | Self::Release(_) | Self::End(..) => return None,
        };
        match selector {
            TaskSelector::Task(_) => None,
            TaskSelector::Batch(id) => Some((kind, Some(*id), None)),
            TaskSelector::Failed { queue } => Some((kind, None, queue.as_deref())),
        }
    }

    /// The kind of a row; `None` for one that this program does not know.
    fn from_columns(kind: &str, batch: Option<BatchId>, queue: Option<String>) -> Option<Self> {
        let selector = |queue| batch.map_or(TaskSelector::Failed { queue }, TaskSelector::Batch);
        match kind {
            "cancel" => batch.map(Self::Cancel),
            "flush" => Some(Self::Flush(queue, VecDeque::new())),
            "retry" => Some(Self::Retry(selector(queue))),
            "forget" => Some(Self::Forget(selector(queue))),
            _ => None,
        }
    }
}

impl BulkChange {
    /// A change of tasks that are accepted already: their ids come before `before`.
    pub(super) fn new(kind: BulkKind, before: TaskId, answer: Option<CommandAnswer>) -> Self {
        let (cursor, progress) = (Cursor { after: -1, before }, Arc::default());
        Self { kind, cursor, row: None, id: None, progress, answer }
    }

    /// A change that no caller waits for.
    pub(super) fn unasked(kind: BulkKind, before: TaskId) -> Self {
        Self::new(kind, before, None)
    }

    /// Whether it goes on after an error, and in the next process.
    pub(super) fn is_durable(&self) -> bool {
        self.row.is_some()
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

    fn answer(&mut self, result: std::result::Result<AdminResult, RequestError>) {
        if let Some(answer) = self.answer.take() {
            // A caller that is gone needs no answer.
            let _ = answer.send(result);
        }
    }

    /// Writes its row; `None` for a change that has none.
    pub(super) fn insert(&self, file: &Connection) -> Result<Option<i64>> {
        let Some((kind, batch, queue)) = self.kind.columns() else { return Ok(None) };
        let sql = "INSERT INTO changes VALUES (NULL, ?1, ?2, ?3, ?4, ?5)";
        let Cursor { after, before } = self.cursor;
        file.execute(sql, params![kind, batch.map(|id| id as i64), queue, after, before as i64])?;
        Ok(Some(file.last_insert_rowid()))
    }

    /// Notes in its row that the tasks up to this one are dealt with.
    pub(super) fn move_on(row: Option<i64>, after: i64, file: &Connection) -> Result<()> {
        let Some(row) = row else { return Ok(()) };
        file.prepare_cached("UPDATE changes SET after = ?2 WHERE id = ?1")?.execute([row, after]).map(drop)
    }
}

/// The changes that an earlier process has begun. The tasks of a flush are still to be found.
pub(super) fn unfinished(file: &Connection) -> Result<Vec<BulkChange>> {
    let mut read = file.prepare("SELECT id, kind, batch, queue, after, before FROM changes ORDER BY id")?;
    let rows = read.query_map([], |row| {
        let batch = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
        let Some(kind) = BulkKind::from_columns(row.get_ref(1)?.as_str()?, batch, row.get(3)?) else {
            return Ok(None);
        };
        let before = row.get::<_, i64>(5)?.unsigned_abs();
        let cursor = Cursor { after: row.get(4)?, before };
        let change = BulkChange::unasked(kind, before);
        Ok(Some(BulkChange { row: Some(row.get(0)?), cursor, ..change }))
    })?;
    rows.filter_map(Result::transpose).collect()
}
