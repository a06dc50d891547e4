//! Administrative steps, played on a store and on the reference model.

use anyhow::{Result, bail, ensure};
use framework::protocol::RequestError;
use framework::store::AdminCommand;
use framework::store::Query;
use framework::store::QueryResult;
use framework::store::Store;
use framework::task::{BatchId, TaskId};
use framework::views::{AdminResult, BatchState, Cancelled, FailureFilter, State, TaskSelector};

use futures_util::FutureExt;

use super::drafts::{Draft, PLAIN};
use super::player::Player;
use super::reference::{Batch, Sheet};
use super::steps::Step;

/// The number of changed tasks of a change whose answer was lost.
const UNKNOWN: u64 = u64::MAX;

/// Begins a change, and does not wait for its answer.
pub(super) fn begin(store: &dyn Store, step: &Step) {
    let command = match step.clone() {
        Step::Cancel(selector) => AdminCommand::Cancel(selector),
        Step::Retry(selector) => AdminCommand::Retry(selector),
        Step::Forget(selector) => AdminCommand::Forget(selector),
        Step::Flush(queue) => AdminCommand::Flush { queue: queue.map(str::to_owned) },
        Step::Seal(batch) => AdminCommand::SealBatch(batch),
        step => panic!("{step:?} is no change of many tasks"),
    };
    let _ = store.apply(command).now_or_never();
}

impl Player {
    pub(super) async fn change(&mut self, step: &Step) -> Result<()> {
        let follow = match step {
            Step::Cancel(target) => self.cancel(target).await?,
            Step::Retry(target) => self.retry(target).await?,
            Step::Forget(target) => self.forget(target).await?,
            Step::Flush(queue) => self.flush(*queue).await?,
            Step::Pause(queue, paused) => self.pause(queue, *paused).await?,
            Step::OpenBatch { then } => self.open_batch(*then).await?,
            Step::Seal(batch) => self.seal(*batch).await?,
            step => bail!("{step:?} is no change"),
        };
        self.arrive(follow).await
    }

    /// A change that was answered is on the disk.
    async fn ask(&mut self, change: AdminCommand) -> Result<AdminResult, RequestError> {
        if self.is_cut {
            return Ok(AdminResult::Tasks(UNKNOWN));
        }
        let answer = self.opened.store().apply(change).await;
        if answer.is_ok() {
            self.is_sure();
        }
        answer
    }

    async fn cancel(&mut self, target: &TaskSelector) -> Result<Vec<Draft>> {
        let change = AdminCommand::Cancel(target.clone());
        let answer = self.ask(change).await;
        match target {
            TaskSelector::Task(id) => self.cancelled(*id, answer),
            TaskSelector::Batch(id) => self.batch_cancelled(*id, answer),
            TaskSelector::Failed(_) => bail!("what failed is not cancelled"),
        }
    }

    fn cancelled(&mut self, id: TaskId, answer: Result<AdminResult, RequestError>) -> Result<Vec<Draft>> {
        let state = self.reference.tasks.get(&id).map(|sheet| sheet.state);
        match (state, answer) {
            (Some(State::Waiting), Ok(AdminResult::Cancelled(Cancelled::AtOnce))) => {
                Ok(self.cancel_waiting(id))
            }
            (Some(State::Running), Ok(AdminResult::Cancelled(answer))) => {
                let steady = self.reference.steady();
                let sheet = self.sheet(id);
                let expected =
                    if sheet.draft.is_blocking() { Cancelled::Requested } else { Cancelled::Aborted };
                let lease = sheet.lease.as_mut().expect("what runs is leased");
                lease.is_cancelled = true;
                if answer == Cancelled::AtOnce && lease.until <= steady {
                    sheet.lease.as_mut().expect("it is leased").is_cancelled = false;
                    let mut follow = self.lapse(id);
                    follow.extend(self.cancel_waiting(id));
                    return Ok(follow);
                }
                ensure!(answer == expected, "cancelling task {id} was answered with {answer:?}");
                Ok(Vec::new())
            }
            (Some(state), Err(_)) if state.is_terminal() => Ok(Vec::new()),
            (None, Err(_)) => Ok(Vec::new()),
            (state, answer) => bail!("cancelling task {id}, which is {state:?}, came to {answer:?}"),
        }
    }

    fn cancel_waiting(&mut self, id: TaskId) -> Vec<Draft> {
        self.reference.unreported_ends.insert(id, true);
        self.reference.end(id, State::Cancelled)
    }

    fn batch_cancelled(
        &mut self,
        id: BatchId,
        answer: Result<AdminResult, RequestError>,
    ) -> Result<Vec<Draft>> {
        let Some(batch) = self.reference.batches.get(&id) else {
            ensure!(answer.is_err(), "batch {id}, which does not exist, was cancelled");
            return Ok(Vec::new());
        };
        if batch.state == BatchState::Ended && answer.is_err() {
            return Ok(Vec::new());
        }
        let Ok(AdminResult::Tasks(count)) = answer else { bail!("cancelling batch {id} came to {answer:?}") };
        let waiting = self.those(|sheet| sheet.draft.batch == Some(id) && sheet.state == State::Waiting);
        let running = self.those(|sheet| sheet.draft.batch == Some(id) && sheet.state == State::Running);
        let expected = waiting.len()..=waiting.len() + running.len();
        ensure!(
            count == UNKNOWN || expected.contains(&(count as usize)),
            "{count} tasks of batch {id} are not {expected:?}"
        );
        for id in running {
            self.sheet(id).lease.as_mut().expect("what runs is leased").is_cancelled = true;
        }
        let batch = self.reference.batches.get_mut(&id).expect("it was there before");
        if batch.state == BatchState::Open {
            // Cancelled before it was sealed: it takes no more tasks, and has no completion.
            batch.state = BatchState::Abandoned;
            batch.then = None;
        }
        let mut follow: Vec<_> = waiting.into_iter().flat_map(|id| self.cancel_waiting(id)).collect();
        follow.extend(self.reference.complete(id));
        Ok(follow)
    }

    async fn retry(&mut self, target: &TaskSelector) -> Result<Vec<Draft>> {
        let may_try = |state| matches!(state, State::Failed | State::Cancelled | State::Expired);
        let wanted = match target {
            TaskSelector::Task(id) => self.those_of(&[*id], |sheet| may_try(sheet.state)),
            TaskSelector::Batch(id) => {
                self.those(|sheet| sheet.draft.batch == Some(*id) && may_try(sheet.state))
            }
            TaskSelector::Failed(filter) => {
                self.those(|sheet| sheet.state == State::Failed && is_selected(filter, sheet))
            }
        };
        let certain =
            wanted.iter().filter(|id| !self.reference.may_be_gone(&self.reference.tasks[id])).count();
        let answer = self.ask(AdminCommand::Retry(target.clone())).await;
        let count = match answer {
            Ok(AdminResult::Tasks(UNKNOWN)) => certain,
            Ok(AdminResult::Tasks(count)) => count as usize,
            Err(_) if certain == 0 => 0,
            answer => bail!("trying {target:?} again came to {answer:?}"),
        };
        ensure!((certain..=wanted.len()).contains(&count), "{count} of {wanted:?} are tried again");
        let (mut again, mut left) = (0, Vec::new());
        for id in wanted {
            let found = self.opened.store().query(Query::Task(id)).await;
            if let Ok(QueryResult::Task(story)) = &found
                && story.summary.state == State::Waiting
            {
                again += 1;
                self.reference.again(id);
            } else {
                left.push(found);
            }
        }
        ensure!(
            again == count || self.is_cut && again > count,
            "{count} are said to be tried again, but there are {left:#?}",
        );
        Ok(Vec::new())
    }

    async fn forget(&mut self, target: &TaskSelector) -> Result<Vec<Draft>> {
        let has_ended = |sheet: &Sheet| sheet.state.is_terminal() && !sheet.is_forgotten;
        let wanted = match target {
            TaskSelector::Task(id) => self.those_of(&[*id], has_ended),
            TaskSelector::Batch(id) => self.those(|sheet| sheet.draft.batch == Some(*id) && has_ended(sheet)),
            TaskSelector::Failed(filter) => self.those(|sheet| {
                sheet.state == State::Failed && has_ended(sheet) && is_selected(filter, sheet)
            }),
        };
        let certain =
            wanted.iter().filter(|id| !self.reference.may_be_gone(&self.reference.tasks[id])).count();
        let count = match self.ask(AdminCommand::Forget(target.clone())).await {
            Ok(AdminResult::Tasks(UNKNOWN)) => wanted.len(),
            Ok(AdminResult::Tasks(count)) => count as usize,
            Err(_) if certain == 0 => return Ok(Vec::new()),
            answer => bail!("forgetting {target:?} came to {answer:?}"),
        };
        ensure!((certain..=wanted.len()).contains(&count), "{count} of {wanted:?} are forgotten");
        for id in wanted {
            self.sheet(id).is_forgotten = true;
        }
        Ok(Vec::new())
    }

    async fn flush(&mut self, queue: Option<&'static str>) -> Result<Vec<Draft>> {
        let is_here = |sheet: &Sheet| queue.is_none_or(|queue| sheet.draft.queue == queue);
        let wanted = self.those(|sheet| sheet.state == State::Waiting && is_here(sheet));
        let answer = self.ask(AdminCommand::Flush { queue: queue.map(str::to_owned) }).await;
        let Ok(AdminResult::Tasks(count)) = answer else { bail!("flushing {queue:?} came to {answer:?}") };
        ensure!(count == UNKNOWN || count as usize == wanted.len(), "{count} of {wanted:?} were flushed");
        let mut follow = Vec::new();
        for id in wanted {
            // It is not specified whether these ends are reported.
            self.reference.unreported_ends.insert(id, false);
            follow.extend(self.reference.end(id, State::Cancelled));
            self.sheet(id).is_forgotten = true;
        }
        Ok(follow)
    }

    async fn pause(&mut self, queue: &'static str, paused: bool) -> Result<Vec<Draft>> {
        let answer = self.ask(AdminCommand::Pause { queue: queue.to_owned(), paused }).await;
        ensure!(answer.is_ok(), "pausing {queue} came to {answer:?}");
        if paused {
            self.reference.paused.insert(queue)
        } else {
            self.reference.paused.remove(queue)
        };
        Ok(Vec::new())
    }

    async fn open_batch(&mut self, then: Option<&'static str>) -> Result<Vec<Draft>> {
        let name = format!("batch \u{e9} {}", self.reference.batches.len());
        let function = PLAIN.to_owned();
        let change = AdminCommand::OpenBatch {
            name: name.clone(),
            function: function.clone(),
            then: then.map(str::to_owned),
        };
        let answer = self.ask(change).await;
        let Ok(AdminResult::Batch(id)) = answer else { bail!("opening a batch came to {answer:?}") };
        let last = self.reference.batches.keys().next_back().copied().unwrap_or_default();
        ensure!(id > last, "the batch is {id}, and there was {last}");
        let state = BatchState::Open;
        let batch =
            Batch { state, then, name, function, total: 0, done: 0, failed: 0, cancelled: 0, expired: 0 };
        self.reference.batches.insert(id, batch);
        Ok(Vec::new())
    }

    async fn seal(&mut self, id: BatchId) -> Result<Vec<Draft>> {
        let answer = self.ask(AdminCommand::SealBatch(id)).await;
        ensure!(answer.is_ok(), "sealing batch {id} came to {answer:?}");
        let batch = self.reference.batches.get_mut(&id).expect("only known batches are sealed");
        batch.state = BatchState::Running;
        Ok(self.reference.complete(id).into_iter().collect())
    }

    fn those(&self, wanted: impl Fn(&Sheet) -> bool) -> Vec<TaskId> {
        self.reference.tasks.iter().filter(|(_, sheet)| wanted(sheet)).map(|(id, _)| *id).collect()
    }

    fn those_of(&self, ids: &[TaskId], wanted: impl Fn(&Sheet) -> bool) -> Vec<TaskId> {
        let known = ids.iter().filter(|id| self.reference.tasks.get(id).is_some_and(&wanted));
        known.copied().collect()
    }
}

/// Whether a filter selects a failed task. One whose error the store has chosen has no cause that is asked
/// for.
fn is_selected(filter: &FailureFilter, sheet: &Sheet) -> bool {
    filter.selects(sheet.draft.queue, sheet.draft.function, sheet.error.as_deref().unwrap_or_default())
}
