//! Plays steps on a store and on the reference model, and compares their answers.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use framework::protocol::ErrorCode;
use framework::store::Accepted;
use framework::store::Disposition;
use framework::store::Lease;
use framework::store::Query;
use framework::store::QueryResult;
use framework::store::Settlement;
use framework::task::{NewTask, TaskId};
use framework::views::{Filter, State};

use super::drafts::Draft;
use super::reference::{Reference, Sheet, When};
use super::steps::{Settled, Step};
use super::stores::Opened;

/// The numbers of crashes after which a task has failed that ran alone, or among others.
pub(super) const CRASHES_ALONE_MAX: u32 = 2;
pub(super) const CRASHES_MAX: u32 = 4;

/// A store and its reference model.
pub(super) struct Player {
    pub(super) opened: Opened,
    pub(super) reference: Reference,
    /// The model as it was before each step since the last one that is certainly on the disk.
    pub(super) unsure: Vec<Reference>,
    pub(super) leases: BTreeMap<TaskId, Lease>,
    /// Whether the change that is played was begun in the last process, which has not answered it.
    pub(super) is_cut: bool,
}

impl Player {
    pub(super) fn new(opened: Opened) -> Self {
        let reference = Reference::new(opened.clock.clone(), opened.policy.clone(), opened.handlers.clone());
        Self { opened, reference, unsure: Vec::new(), leases: BTreeMap::new(), is_cut: false }
    }

    /// Plays a step and checks everything that can be seen afterwards.
    pub(super) async fn play(&mut self, step: &Step) -> Result<()> {
        self.opened.is_written().await;
        if self.opened.survives() {
            self.unsure.push(self.reference.clone());
        }
        match step {
            Step::Push(drafts) => self.push(drafts).await?,
            Step::Take { line, limit } => self.take(*line, *limit).await?,
            Step::Begin(tasks) => self.begin(tasks),
            Step::Settle(settled) => self.settle(settled).await?,
            Step::Renew(leases) => self.renew(leases).await?,
            Step::Advance(time) => self.opened.clock.advance(*time),
            Step::SetWall(wall_ms) => self.opened.clock.set(*wall_ms),
            Step::CutShort(change) => self.cut_short(change).await?,
            Step::Restart { crash } => self.restart(*crash).await?,
            change => self.change(change).await?,
        }
        self.settle_doubts().await?;
        let late = self.reference.wake();
        self.arrive(late).await?;
        self.check(step).await
    }

    /// The last write is on the disk, and so is everything before it.
    pub(super) fn is_sure(&mut self) {
        self.unsure.clear();
    }

    async fn push(&mut self, drafts: &[Draft]) -> Result<()> {
        let tasks = drafts.iter().map(|draft| draft.task(&self.reference.handlers)).collect();
        let answers = self.opened.store().push(tasks).await;
        ensure!(answers.len() == drafts.len(), "{} answers to {} tasks", answers.len(), drafts.len());
        let mut some = false;
        for (draft, answer) in drafts.iter().zip(answers) {
            some |= matches!(&answer, Ok(accepted) if accepted.is_new());
            match answer {
                Ok(Accepted { id, duplicate: None }) => self.accepted(id, draft)?,
                Ok(Accepted { id, duplicate: Some(state) }) => {
                    let known = self.reference.known(draft);
                    ensure!(known == Some(id), "{draft:?} became task {id}, and should be {known:?}");
                    let first = &self.reference.tasks[&id];
                    ensure!(
                        first.draft.args == draft.args,
                        "{draft:?} became task {id} with other arguments"
                    );
                    ensure!(first.state == state, "task {id} is {:?}, not {state:?}", first.state);
                }
                Err(refusal) if refusal.code == ErrorCode::KeyConflict => {
                    let first = self.reference.known(draft).map(|id| &self.reference.tasks[&id]);
                    let is_other = first.is_some_and(|first| first.draft.args != draft.args);
                    ensure!(is_other, "{draft:?} was refused: {refusal}");
                }
                Err(refusal) => self.refused(draft, drafts.len(), refusal.code)?,
            }
        }
        if some {
            self.is_sure();
        }
        Ok(())
    }

    fn accepted(&mut self, id: TaskId, draft: &Draft) -> Result<()> {
        let known = self.reference.known(draft);
        // The key of a task that retention has removed is forgotten, too.
        let is_kept = |id: &TaskId| !self.reference.may_be_gone(&self.reference.tasks[id]);
        ensure!(!known.is_some_and(|id| is_kept(&id)), "the key of {draft:?} was seen before");
        ensure!(self.waiting().0 < self.reference.policy.limit, "task {id} was accepted beyond the limit");
        if let Some(batch) = draft.batch {
            ensure!(self.is_open(batch), "task {id} was accepted into batch {batch}, which is not open");
        }
        let next = self.reference.next_id;
        ensure!(
            id == next || id > next && self.reference.may_skip_ids,
            "the id is {id} and should be {next}"
        );
        self.reference.may_skip_ids = false;
        self.reference.accept(id, draft.clone());
        Ok(())
    }

    fn refused(&self, draft: &Draft, pushed: usize, code: ErrorCode) -> Result<()> {
        // It is not specified whether repeated keys within one push count.
        let is_full = self.waiting().1 + pushed > self.reference.policy.limit;
        let is_closed = draft.batch.is_some_and(|batch| !self.is_open(batch));
        ensure!(is_full && code == ErrorCode::Busy || is_closed, "{draft:?} was refused as {code:?}");
        Ok(())
    }

    fn is_open(&self, batch: u64) -> bool {
        let batch = self.reference.batches.get(&batch);
        batch.is_some_and(|batch| batch.state == framework::views::BatchState::Open)
    }

    /// The minimum and maximum of waiting tasks: it is not specified whether those that are held back count.
    fn waiting(&self) -> (usize, usize) {
        let all = self.reference.waiting().count();
        let held = self.reference.waiting().filter(|(_, sheet)| {
            self.reference.is_held(sheet) || sheet.draft.concurrency_key.is_some() || sheet.crashes > 0
        });
        (all - held.count(), all)
    }

    async fn take(&mut self, line: usize, limit: usize) -> Result<()> {
        let leases = self.opened.store().take(line, limit).await;
        self.reference.take(line, limit, &leases)?;
        self.leases.extend(leases.into_iter().map(|lease| (lease.task.id, lease)));
        Ok(())
    }

    fn begin(&mut self, tasks: &[TaskId]) {
        for id in tasks {
            let sheet = self.reference.tasks.get_mut(id).expect("it runs");
            let Some(leased) = &mut sheet.lease else { continue };
            leased.has_begun = true;
            if let Some(lease) = self.leases.get(id) {
                lease.begin();
            }
        }
    }

    async fn settle(&mut self, settled: &[Settled]) -> Result<()> {
        let settlement = |settled: &Settled| Settlement {
            task: settled.task,
            token: settled.token,
            disposition: settled.disposition.clone(),
            started_ms: self.reference.wall_ms(),
            ran: std::time::Duration::from_millis(3),
            worker: None,
            follow: self.follow(settled),
        };
        let answers = self.opened.store().settle(settled.iter().map(settlement).collect()).await;
        ensure!(answers.len() == settled.len(), "{} answers to {} ends", answers.len(), settled.len());
        let mut follow = Vec::new();
        for (settled, accepted) in settled.iter().zip(answers) {
            let id = settled.task;
            let lease = self.reference.tasks.get(&id).and_then(|sheet| sheet.lease);
            let is_current = lease.is_some_and(|lease| lease.token == settled.token);
            let is_over = lease.is_some_and(|lease| lease.until <= self.reference.steady());
            ensure!(
                accepted == is_current || is_current && is_over,
                "the end of task {id} was answered with {accepted}"
            );
            if accepted {
                follow.extend(self.settled(settled));
            } else if is_current {
                follow.extend(self.lapse(id));
            }
        }
        self.arrive(follow).await
    }

    /// The tasks that the finisher hands to the store together with an end.
    fn follow(&self, settled: &Settled) -> Vec<NewTask> {
        let handlers = &self.reference.handlers;
        let pushed = settled.follow.iter().map(|draft| draft.task(handlers));
        let chained = match (&settled.disposition, self.reference.tasks.get(&settled.task)) {
            (Disposition::Done(result), Some(sheet)) => {
                framework::rules::chained(handlers, &sheet.draft.task(handlers), result)
            }
            _ => None,
        };
        pushed.chain(chained).collect()
    }

    fn settled(&mut self, settled: &Settled) -> Vec<Draft> {
        let (id, steady) = (settled.task, self.reference.steady());
        self.leases.remove(&id);
        let sheet = self.reference.tasks.get_mut(&id).expect("it ran");
        let is_cancelled = sheet.lease.take().is_some_and(|lease| lease.is_cancelled);
        match &settled.disposition {
            // A cancel that was confirmed is not undone.
            Disposition::Requeue | Disposition::Park | Disposition::Retry { .. } if is_cancelled => {
                self.reference.unreported_ends.insert(id, true);
                self.reference.end(id, State::Cancelled)
            }
            Disposition::Done(result) => {
                sheet.result = Some(String::from_utf8(result.to_vec()).expect("results are JSON"));
                let mut follow = self.reference.end(id, State::Done);
                follow.extend(settled.follow.iter().cloned());
                follow
            }
            Disposition::Failed(error) => {
                sheet.error = Some(error.clone());
                self.reference.end(id, State::Failed)
            }
            Disposition::Cancelled => self.reference.end(id, State::Cancelled),
            Disposition::Retry { pause, error } => {
                sheet.state = State::Waiting;
                sheet.failures += 1;
                sheet.error = Some(error.clone());
                sheet.when = When::Steady(steady + *pause);
                sheet.was_due = false;
                sheet.has_begun = true;
                sheet.is_in_order = false;
                Vec::new()
            }
            Disposition::Lost(_) | Disposition::Release(_) => unreachable!("no step settles a lease so"),
            Disposition::Requeue | Disposition::Park => {
                sheet.state = State::Waiting;
                sheet.is_returned = true;
                sheet.may_expire = true;
                *self.reference.refunds.entry(sheet.draft.queue).or_default() += 1;
                Vec::new()
            }
        }
    }

    /// A lease has expired: the worker counts as crashed, and the task waits again unless it has crashed two.
    pub(super) fn lapse(&mut self, id: TaskId) -> Vec<Draft> {
        self.leases.remove(&id);
        let sheet = self.sheet(id);
        let lease = sheet.lease.take().expect("it ran");
        sheet.state = State::Waiting;
        sheet.is_in_order = false;
        sheet.crashes += 1;
        sheet.may_expire = true;
        sheet.error = None;
        if sheet.crashes < CRASHES_ALONE_MAX && !lease.is_cancelled {
            return Vec::new();
        }
        self.reference.unreported_ends.insert(id, true);
        // A cancel that was confirmed is not undone.
        self.reference.end(id, if lease.is_cancelled { State::Cancelled } else { State::Failed })
    }

    async fn renew(&mut self, leases: &[(TaskId, framework::store::LeaseToken)]) -> Result<()> {
        let answers = self.opened.store().renew(leases.to_vec()).await;
        ensure!(answers.len() == leases.len(), "{} answers to {} leases", answers.len(), leases.len());
        let until = self.reference.steady() + self.reference.policy.lease;
        let mut follow = Vec::new();
        for ((id, token), renewed) in leases.iter().zip(answers) {
            let sheet = self.reference.tasks.get_mut(id);
            let lease = sheet.and_then(|sheet| sheet.lease.as_mut()).filter(|lease| lease.token == *token);
            match lease {
                Some(lease) if renewed => lease.until = until,
                None if !renewed => {}
                Some(lease) if lease.until + self.reference.policy.lease <= until => {
                    follow.extend(self.lapse(*id));
                }
                _ => bail!("the renewal of task {id} was answered with {renewed}"),
            }
        }
        self.arrive(follow).await
    }

    /// The tasks that the store accepts by itself are there, and no others.
    pub(super) async fn arrive(&mut self, mut expected: Vec<Draft>) -> Result<()> {
        if expected.is_empty() {
            return Ok(());
        }
        let filter = Filter { limit: expected.len() + 1, ..Filter::default() };
        let Ok(QueryResult::Tasks(newest)) = self.opened.store().query(Query::Tasks(filter)).await else {
            bail!("the newest tasks are not found")
        };
        let mut new: Vec<_> =
            newest.iter().map(|summary| summary.id).filter(|id| *id >= self.reference.next_id).collect();
        new.sort_unstable();
        for id in new {
            let story = self.story(id).await?;
            let function = &story.summary.function;
            let is_it = |draft: &Draft| draft.function == function && draft.args == story.args.get();
            let Some(index) = expected.iter().position(is_it) else {
                bail!("task {id} came from nowhere: {story:?}")
            };
            let draft = expected.remove(index);
            if let Some(batch) = draft.completes {
                let Ok(QueryResult::Batch(batch)) = self.opened.store().query(Query::Batch(batch)).await
                else {
                    bail!("batch {batch} is not found")
                };
                ensure!(batch.then_task == Some(id), "{batch:?} does not name its completion {id}");
            }
            self.reference.accept(id, draft);
        }
        ensure!(expected.is_empty(), "these should have been accepted: {expected:?}");
        Ok(())
    }

    pub(super) async fn story(&self, id: TaskId) -> Result<framework::views::TaskDetails> {
        match self.opened.store().query(Query::Task(id)).await {
            Ok(QueryResult::Task(story)) => Ok(*story),
            other => bail!("task {id} is not found: {other:?}"),
        }
    }

    pub(super) fn sheet(&mut self, id: TaskId) -> &mut Sheet {
        self.reference.tasks.get_mut(&id).expect("only known tasks are asked for")
    }
}
