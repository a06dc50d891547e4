//! Changes beside the groups in the tables of the fake journal.

use framework_protocol::task::TaskId;
use framework_protocol::views::{BatchState, ScheduleInfo};

use super::tables::FakeTables;
use crate::store::durable::journal::JournalChange;

impl FakeTables {
    pub(super) fn change(&mut self, change: &JournalChange<'_>, next_id: TaskId, now_ms: u64) {
        match change {
            JournalChange::Pause { queue, paused } => {
                self.queues.insert((*queue).to_owned(), *paused);
            }
            JournalChange::OpenBatch(info) => {
                self.batches.insert(info.id, (*info).clone());
            }
            JournalChange::SealBatch(id) => {
                self.batches.entry(*id).and_modify(|batch| batch.state = BatchState::Running);
            }
            JournalChange::AbandonBatch(id) => {
                self.batches.entry(*id).and_modify(|batch| {
                    (batch.state, batch.then) = (BatchState::Abandoned, None);
                });
            }
            JournalChange::Schedule { name, note } => {
                let known = self.schedules.entry((*name).to_owned());
                known.or_insert_with(|| ScheduleInfo::new((*name).to_owned())).note(**note);
            }
            JournalChange::KeepFunction(function) => {
                self.functions.insert(function.name.clone(), (*function).clone());
            }
            JournalChange::ForgetFunction { name } => {
                self.functions.remove(*name);
            }
            JournalChange::RecordHistory(rows) => self.history.record(rows, now_ms),
            JournalChange::CancelRunning(ids) => self.cancels.extend(*ids),
            JournalChange::BeginBulk(stored) => {
                self.changes.insert(stored.id, (*stored).clone());
            }
            JournalChange::EndBulk { id } => {
                self.changes.remove(id);
            }
            JournalChange::Retry { tasks, bulk, after } => {
                self.move_on(*bulk, *after);
                tasks.iter().for_each(|task| self.retry(task));
            }
            JournalChange::Forget { tasks, bulk, after } => {
                self.move_on(*bulk, *after);
                tasks.iter().for_each(|(id, state)| self.forget(*id, *state, next_id));
            }
        }
    }

    fn move_on(&mut self, bulk: Option<i64>, after: i64) {
        let bulk = bulk.and_then(|id| self.changes.get_mut(&id));
        bulk.into_iter().for_each(|change| change.cursor.after = after);
    }
}
