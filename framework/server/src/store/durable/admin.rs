//! Commands of administration. Those that may concern many tasks become a [`BulkChange`], which other writes
//! need not wait for.

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::{AdminResult, BatchState, Cancelled, State, TaskSelector};
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::FxHashSet;

use super::bulk_change::{BulkChange, BulkKind};
use super::journal::{Journal, JournalChange, ReadError};
use super::outage::Outage;
use super::write_queue::CommandRequest;
use super::writer::Writer;
use crate::store::AdminCommand;
use crate::store::index::WaitingEnd;
use crate::store::refusals::{
    being_cancelled, has_ended, has_not_ended, is_done, is_sealed, no_task, nothing_to_cancel,
};

pub(super) type CommandResult<T> = Result<T, RequestError>;

/// A command that is carried out already, or the change that it becomes.
enum Begun {
    Done(AdminResult),
    Bulk(BulkKind),
}

impl<J: Journal> Writer<J> {
    /// Carries out a command, or begins to.
    pub(super) fn begin(&mut self, request: CommandRequest) {
        let CommandRequest { command, answer } = request;
        let closes = command.closes();
        let result = match self.begin_command(command) {
            Ok(Begun::Bulk(kind)) => {
                return self.begin_change(BulkChange::new(kind, self.journal.next_id(), Some(answer)));
            }
            Ok(Begun::Done(result)) => Ok(result),
            Err(refusal) => {
                let mut state = self.shared.state();
                closes.into_iter().for_each(|batch| state.index.batches().set_closing(batch, false));
                Err(refusal)
            }
        };
        // A caller that is gone needs no answer.
        let _ = answer.send(result);
    }

    fn begin_command(&mut self, command: AdminCommand) -> CommandResult<Begun> {
        Ok(match command {
            AdminCommand::Cancel(TaskSelector::Task(id)) => {
                Begun::Done(AdminResult::Cancelled(self.cancel(id)?))
            }
            AdminCommand::Cancel(TaskSelector::Batch(id)) => Begun::Bulk(self.cancel_batch(id)?),
            AdminCommand::Cancel(TaskSelector::Failed(_)) => return Err(nothing_to_cancel()),
            AdminCommand::Retry(selector) => {
                self.check_ended(&selector, true)?;
                Begun::Bulk(BulkKind::Retry(selector))
            }
            AdminCommand::Forget(selector) => {
                self.check_ended(&selector, false)?;
                Begun::Bulk(BulkKind::Forget(selector))
            }
            AdminCommand::Flush { queue } => {
                let ids = self.shared.state().index.waiting_ids(queue.as_deref());
                Begun::Bulk(BulkKind::flush(queue, ids))
            }
            AdminCommand::Pause { queue, paused } => {
                self.pause(&queue, paused)?;
                Begun::Done(AdminResult::Done)
            }
            AdminCommand::StopChange(id) => {
                self.shared.state().changes.stop(id)?;
                Begun::Done(AdminResult::Done)
            }
            AdminCommand::OpenBatch { name, function, then } => {
                Begun::Done(AdminResult::Batch(self.open_batch(name, function, then)?))
            }
            AdminCommand::SealBatch(id) => {
                self.seal(id)?;
                Begun::Bulk(BulkKind::Release(id))
            }
            AdminCommand::KeepFunction(function) => {
                self.change(&JournalChange::KeepFunction(&function))?;
                Begun::Done(AdminResult::Done)
            }
            AdminCommand::ForgetFunction { name } => {
                self.change(&JournalChange::ForgetFunction { name: &name })?;
                Begun::Done(AdminResult::Done)
            }
            AdminCommand::RecordHistory(rows) => {
                self.change(&JournalChange::RecordHistory(&rows))?;
                Begun::Done(AdminResult::Done)
            }
            AdminCommand::Schedule { name, note } => {
                self.change(&JournalChange::Schedule { name: &name, note: &note })?;
                Begun::Done(AdminResult::Done)
            }
        })
    }

    fn cancel(&mut self, id: TaskId) -> CommandResult<Cancelled> {
        if let Some(cancelled) = self.stop_running(&[id])?.pop() {
            return Ok(cancelled);
        }
        let (ended, written) = self.end_waiting(&[id], WaitingEnd::CANCELLED);
        written?;
        if ended > 0 {
            return Ok(Cancelled::AtOnce);
        }
        Err(match self.journal.state(id).map_err(unread)? {
            Some(State::Waiting) | None => no_task(id),
            Some(state) => has_ended(id, state),
        })
    }

    /// Cancels a batch. One that was not sealed is abandoned, which is durable before any of its tasks ends:
    /// whatever happens from then on, none of them runs.
    fn cancel_batch(&mut self, id: BatchId) -> CommandResult<BulkKind> {
        match self.batch_state(id)? {
            BatchState::Running => return Ok(BulkKind::Cancel(id)),
            BatchState::Abandoned => return Ok(BulkKind::Empty(id)),
            BatchState::Open | BatchState::Ended => {}
        }
        self.change(&JournalChange::AbandonBatch(id))?;
        self.shared.state().index.batches().abandon(id);
        Ok(BulkKind::Empty(id))
    }

    /// Seals a batch, which is durable before any of its tasks can be taken.
    fn seal(&mut self, id: BatchId) -> CommandResult<()> {
        match self.batch_state(id)? {
            BatchState::Open => {}
            BatchState::Abandoned => return Err(being_cancelled(id)),
            BatchState::Running | BatchState::Ended => return Err(is_sealed(id)),
        }
        self.change(&JournalChange::SealBatch(id))?;
        self.shared.state().index.batches().seal(id);
        Ok(())
    }

    /// # Errors
    /// When the batch has ended, or there is none.
    fn batch_state(&self, id: BatchId) -> CommandResult<BatchState> {
        let mut state = self.shared.state();
        let batches = state.index.batches();
        batches.get(id).map(|batch| batch.state).ok_or_else(|| batches.gone(id))
    }

    fn open_batch(&mut self, name: String, function: String, then: Option<String>) -> CommandResult<BatchId> {
        let now = self.shared.clock.now();
        let info = self.shared.state().index.batches().open(name, function, then, now)?;
        let opened = self.change(&JournalChange::OpenBatch(&info));
        if opened.is_err() {
            // Its id was not returned to anyone.
            self.shared.state().index.batches().forget(info.id);
        }
        let wake_set = self.shared.state().index.wake_set(now);
        self.shared.wakeups.notify(wake_set);
        opened.map(|()| info.id)
    }

    /// Asks those of these tasks that run to stop. That is durable before any of them does: should the
    /// process die first, they do not run again.
    pub(super) fn stop_running(&mut self, ids: &[TaskId]) -> CommandResult<Vec<Cancelled>> {
        let mut noted = FxHashSet::default();
        loop {
            let begun: Vec<_> = {
                let mut state = self.shared.state();
                let is_new = |id: &TaskId| !noted.contains(id) && state.index.is_running(*id);
                let begun: Vec<_> = ids.iter().copied().filter(is_new).collect();
                if begun.is_empty() {
                    return Ok(ids.iter().filter_map(|id| state.index.cancel_running(*id)).collect());
                }
                begun
            };
            self.change(&JournalChange::CancelRunning(&begun))?;
            noted.extend(begun);
        }
    }

    /// Checks that what is to be retried or forgotten is there.
    fn check_ended(&mut self, selector: &TaskSelector, to_retry: bool) -> CommandResult<()> {
        match selector {
            TaskSelector::Task(id) => self.check_ended_task(*id, to_retry),
            TaskSelector::Batch(id) => {
                let state = self.batch_state(*id);
                match state {
                    Ok(BatchState::Abandoned) if to_retry => Err(being_cancelled(*id)),
                    Err(unknown) if unknown.code != ErrorCode::Conflict => Err(unknown),
                    _ => Ok(()),
                }
            }
            TaskSelector::Failed(_) => Ok(()),
        }
    }

    fn check_ended_task(&mut self, id: TaskId, to_retry: bool) -> CommandResult<()> {
        match self.journal.state(id).map_err(unread)? {
            Some(State::Done) if to_retry => Err(is_done(id)),
            Some(State::Waiting) => Err(has_not_ended(id)),
            Some(_) => Ok(()),
            None => Err(no_task(id)),
        }
    }

    fn pause(&mut self, queue: &str, paused: bool) -> CommandResult<()> {
        self.change(&JournalChange::Pause { queue, paused })?;
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        state.index.order().pause(queue, paused);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.shared.wakeups.notify(wake_set);
        Ok(())
    }

    /// Writes all events that were noted; they stay to be written if the journal does not let them be now.
    pub(super) fn write_now(&mut self) -> CommandResult<()> {
        let records = self.shared.state().write_queue.take_records();
        if records.is_empty() {
            return Ok(());
        }
        self.write(records).map_err(|outage| outage.refusal())
    }

    /// Changes the journal in one transaction.
    pub(super) fn change(&mut self, change: &JournalChange<'_>) -> CommandResult<()> {
        let now = self.shared.clock.now();
        self.until_known(|journal| journal.change(change, now.wall_ms)).map_err(|error| {
            let outage = Outage::new(error, now);
            let refusal = outage.refusal();
            self.shared.state().outage = Some(outage);
            refusal
        })
    }
}

/// The answer to a command for which the journal cannot be read.
pub(super) fn unread(error: ReadError) -> RequestError {
    RequestError::new(ErrorCode::Internal, error.0)
}
