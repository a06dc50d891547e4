//! The changes of many tasks that are under way, which anyone may look at and stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use framework_protocol::ErrorCode;
use framework_protocol::RequestError;
use framework_protocol::task::BatchId;
use framework_protocol::views::{ChangeId, ChangeInfo, ChangeKind, FailureCause, FailureFilter};

/// The changes of many tasks that are under way.
#[derive(Debug, Default)]
pub(super) struct RunningChanges {
    last: ChangeId,
    all: Vec<(ChangeId, ChangeSubject, Arc<ChangeProgress>)>,
}

/// What a change does, and to which tasks: those of a batch, of a queue, some that have failed, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeSubject {
    pub(super) kind: ChangeKind,
    pub(super) batch: Option<BatchId>,
    pub(super) queue: Option<String>,
    /// Only the failed tasks of this function, and of this cause.
    pub(super) function: Option<String>,
    pub(super) cause: Option<FailureCause>,
    /// Whether it may end before all of its tasks are changed.
    pub(super) may_stop: bool,
}

impl ChangeSubject {
    /// A change of the tasks of a batch.
    pub(super) fn of_batch(kind: ChangeKind, batch: BatchId, may_stop: bool) -> Self {
        Self { kind, batch: Some(batch), queue: None, function: None, cause: None, may_stop }
    }

    /// A change of the tasks of a queue, or of all; it may stop.
    pub(super) fn of_queue(kind: ChangeKind, queue: Option<String>) -> Self {
        Self::of_failed(kind, FailureFilter { queue, ..FailureFilter::default() })
    }

    /// A change of failed tasks; it may stop.
    pub(super) fn of_failed(kind: ChangeKind, filter: FailureFilter) -> Self {
        let FailureFilter { queue, function, cause } = filter;
        Self { kind, batch: None, queue, function, cause, may_stop: true }
    }
}

/// The progress of one change.
#[derive(Debug, Default)]
pub(super) struct ChangeProgress {
    changed: AtomicU64,
    /// The number of tasks that are to be changed; 0 when that is not known.
    total: AtomicU64,
    is_stopped: AtomicBool,
}

impl RunningChanges {
    /// Lists a change until [`RunningChanges::end`].
    pub(super) fn begin(&mut self, subject: ChangeSubject, progress: &Arc<ChangeProgress>) -> ChangeId {
        self.last += 1;
        self.all.push((self.last, subject, progress.clone()));
        self.last
    }

    pub(super) fn end(&mut self, id: ChangeId) {
        self.all.retain(|(known, ..)| *known != id);
    }

    pub(super) fn list(&self) -> Vec<ChangeInfo> {
        let info = |(id, subject, progress): &(ChangeId, ChangeSubject, Arc<ChangeProgress>)| {
            let ChangeSubject { kind, batch, queue, function, cause, .. } = subject.clone();
            let total = progress.total.load(Ordering::Relaxed);
            ChangeInfo {
                id: *id,
                kind,
                batch,
                queue,
                function,
                cause,
                changed: progress.changed(),
                total: (total > 0).then_some(total),
            }
        };
        self.all.iter().map(info).collect()
    }

    /// Lets a change end after its current step.
    ///
    /// # Errors
    /// When there is none of this id, or it has to be carried to its end.
    pub(super) fn stop(&self, id: ChangeId) -> Result<(), RequestError> {
        let Some((_, subject, progress)) = self.all.iter().find(|(known, ..)| *known == id) else {
            let message = format!("There is no change {id} under way.");
            return Err(RequestError::new(ErrorCode::UnknownTask, message));
        };
        if !subject.may_stop {
            let message = format!("Change {id} cannot be stopped: its tasks are to be changed together.");
            return Err(RequestError::new(ErrorCode::Conflict, message));
        }
        progress.is_stopped.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl ChangeProgress {
    pub(super) fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    pub(super) fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn add(&self, changed: u64) {
        self.changed.fetch_add(changed, Ordering::Relaxed);
    }
}
