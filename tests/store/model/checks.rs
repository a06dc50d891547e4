//! The checks of a store after every step.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use framework::store::Query;
use framework::store::QueryResult;
use framework::store::TerminatedTask;
use framework::task::TaskId;
use framework::views::{BatchInfo, Filter, QueueDepth, State, TaskDetails};
use futures_util::FutureExt;

use super::player::Player;
use super::reference::{Reference, Sheet};
use super::steps::Step;

/// The bound on the time that a store takes to report something.
const PATIENCE: Duration = Duration::from_secs(30);

impl Player {
    pub(super) async fn check(&mut self, step: &Step) -> Result<()> {
        self.check_counts().await?;
        self.opened.is_written().await;
        self.check_reported_ends().await?;
        self.check_batches().await?;
        for id in touched(step, self.reference.next_id) {
            self.check_task(id).await.with_context(|| format!("task {id}"))?;
        }
        self.check_ready()
    }

    /// Checks everything that can be queried.
    pub(super) async fn check_all(&mut self) -> Result<()> {
        self.check_counts().await?;
        self.opened.is_written().await;
        self.check_batches().await?;
        for id in 0..=self.reference.next_id {
            self.check_task(id).await.with_context(|| format!("task {id}"))?;
        }
        self.check_lists().await
    }

    async fn check_counts(&self) -> Result<()> {
        let expected = self.reference.ledger();
        let begin = std::time::Instant::now();
        let counts = loop {
            let counts = self.opened.store().counts().await;
            let is_known = counts.storage_error.is_none() || !self.opened.may_be_in_doubt();
            // A task expires as soon as that is written.
            let is_expected = counts.ledger == expected && is_known;
            if is_expected || !self.opened.survives() || begin.elapsed() > PATIENCE {
                break counts;
            }
            tokio::task::yield_now().await;
        };
        ensure!(counts.ledger.accepted == counts.ledger.sum(), "{:?} does not balance", counts.ledger);
        ensure!(counts.ledger == expected, "{:?} should be {expected:?}", counts.ledger);
        ensure!(counts.storage_error.is_none(), "trouble: {:?}", counts.storage_error);
        for (name, expected) in depths(&self.reference) {
            let found = counts.queues.get(name).copied().unwrap_or_default();
            let same = found.waiting + found.delayed == expected.waiting + expected.delayed
                && (found.running, found.paused) == (expected.running, expected.paused);
            ensure!(same, "queue {name} is {found:?} and should be {expected:?}");
            // The wall clock may have been set back.
            let is_late = |(_, sheet): (_, &Sheet)| sheet.was_due && !self.reference.has_come(sheet.when);
            if !self.reference.waiting().any(is_late) {
                ensure!(found == expected, "queue {name} is {found:?} and should be {expected:?}");
            }
        }
        Ok(())
    }

    /// Each task that ended without a worker is reported once.
    async fn check_reported_ends(&mut self) -> Result<()> {
        let store = self.opened.store().clone();
        loop {
            let told = if self.reference.unreported_ends.values().any(|is_owed| *is_owed) {
                tokio::time::timeout(PATIENCE, store.next_terminated()).await.ok()
            } else {
                store.next_terminated().now_or_never()
            };
            let Some(told) = told else { break };
            for TerminatedTask { task, state, error } in told {
                let id = task.id;
                let expected = self.reference.unreported_ends.remove(&id);
                ensure!(expected.is_some(), "task {id} is reported as {state:?}: {error}");
                ensure!(state == self.reference.tasks[&id].state, "task {id} did not end as {state:?}");
                ensure!(!error.is_empty(), "task {id} ended without a reason");
            }
        }
        let owed = self.reference.unreported_ends.iter().find(|(_, is_owed)| **is_owed);
        ensure!(owed.is_none(), "the end of task {owed:?} was not reported");
        Ok(())
    }

    async fn check_batches(&self) -> Result<()> {
        for (id, expected) in &self.reference.batches {
            let found = self.opened.store().query(Query::Batch(*id)).await;
            let Ok(QueryResult::Batch(found)) = found else { bail!("batch {id} is not found: {found:?}") };
            let BatchInfo { total, done, failed, cancelled, expired, .. } = *found;
            let numbers = (total, done, failed, cancelled, expired);
            let e = expected;
            ensure!(
                found.state == e.state
                    && numbers == (e.total, e.done, e.failed, e.cancelled, e.expired)
                    && (&found.name, &found.function) == (&e.name, &e.function),
                "{found:?} should be {expected:?}"
            );
        }
        Ok(())
    }

    async fn check_task(&self, id: TaskId) -> Result<()> {
        let found = self.opened.store().query(Query::Task(id)).await;
        match (self.reference.tasks.get(&id), found) {
            (None, Ok(QueryResult::Nothing) | Err(_)) => Ok(()),
            (Some(sheet), Ok(QueryResult::Nothing) | Err(_)) => {
                ensure!(self.reference.may_be_gone(sheet), "it is not found, and was {sheet:#?}");
                Ok(())
            }
            (Some(sheet), Ok(QueryResult::Task(story))) => {
                ensure!(!sheet.is_forgotten, "it is found although it is forgotten");
                check_details(sheet, &story).with_context(|| format!("{story:#?}"))
            }
            (sheet, found) => bail!("{found:?} should be {sheet:?}"),
        }
    }

    async fn check_lists(&self) -> Result<()> {
        for state in State::ALL.iter().copied().map(Some).chain([None]) {
            let filter = Filter { state, limit: 10_000, ..Filter::default() };
            let found = self.opened.store().query(Query::Tasks(filter)).await;
            let Ok(QueryResult::Tasks(found)) = found else { bail!("{state:?} tasks: {found:?}") };
            let found: Vec<_> = found.iter().map(|summary| summary.id).collect();
            let of_state = |(_, sheet): &(&TaskId, &Sheet)| state.is_none_or(|state| sheet.state == state);
            let listed = self.reference.tasks.iter().rev().filter(of_state);
            let expected =
                listed.filter(|(id, sheet)| !self.reference.may_be_gone(sheet) || found.contains(*id));
            let expected: Vec<_> = expected.map(|(id, _)| *id).collect();
            ensure!(found == expected, "{state:?} tasks are {found:?} and should be {expected:?}");
        }
        Ok(())
    }

    fn check_ready(&self) -> Result<()> {
        for line in 0..self.reference.policy.groups.len() {
            let ready = self.opened.store().ready(line).now_or_never();
            if self.reference.has_work(line) {
                ensure!(ready == Some(true), "line {line} has work and is told {ready:?}");
            }
            // A task that is only held back by its key or by a crash may wake a worker.
            let is_tied = |sheet: &Sheet| sheet.draft.concurrency_key.is_some() || sheet.crashes > 0;
            if !self.reference.may_have_work(line)
                && !self.reference.waiting().any(|(_, sheet)| is_tied(sheet))
            {
                ensure!(ready.is_none(), "line {line} has no work and is told {ready:?}");
            }
        }
        Ok(())
    }

    /// `None` if it is not there any more, which it may be when it has ended.
    async fn state(&self, id: TaskId) -> Result<Option<State>> {
        match self.opened.store().query(Query::Task(id)).await {
            Ok(QueryResult::Task(story)) => Ok(Some(story.summary.state)),
            Ok(QueryResult::Nothing) | Err(_) => Ok(None),
            other => bail!("task {id} is {other:?}"),
        }
    }

    /// Waits until no change of many tasks is under way.
    pub(super) async fn changes_end(&self) -> Result<()> {
        let begin = std::time::Instant::now();
        loop {
            let changes = match self.opened.store().query(Query::Changes).await {
                Ok(QueryResult::Changes(changes)) => changes,
                other => bail!("the changes under way are {other:?}"),
            };
            if changes.is_empty() {
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "these changes do not end: {changes:?}");
            tokio::task::yield_now().await;
        }
    }

    /// Takes over from the store what is not specified.
    pub(super) async fn settle_doubts(&mut self) -> Result<()> {
        // Reading the counts lets the store process what is due, and a renewal ends the leases that are over.
        self.opened.store().counts().await;
        self.opened.store().renew(Vec::new()).await;
        self.changes_end().await?;
        let steady = self.reference.steady();
        let running = self.reference.in_state(State::Running);
        let overdue = running.filter(|(_, sheet)| sheet.lease.is_some_and(|lease| lease.until <= steady));
        for id in overdue.map(|(id, _)| id).collect::<Vec<_>>() {
            let lease = self.reference.tasks[&id].lease.expect("it runs");
            let state = self.state(id).await?;
            if state == Some(State::Running) {
                let latest = lease.until + self.reference.policy.lease;
                ensure!(steady < latest, "the lease of task {id} is long over, and it runs");
                continue;
            }
            let follow = self.lapse(id);
            let expected = self.reference.tasks[&id].state;
            ensure!(
                state.unwrap_or(expected) == expected,
                "task {id}, whose lease is over, is {state:?}, not {expected:?}"
            );
            self.arrive(follow).await?;
        }
        let doubtful = self.reference.waiting().filter(|(_, sheet)| {
            sheet.may_expire && sheet.expires.is_some_and(|when| self.reference.has_come(when))
        });
        for id in doubtful.map(|(id, _)| id).collect::<Vec<_>>() {
            if self.state(id).await?.is_none_or(|state| state == State::Expired) {
                self.reference.unreported_ends.insert(id, true);
                let follow = self.reference.end(id, State::Expired);
                self.arrive(follow).await?;
            }
        }
        Ok(())
    }
}

/// The tasks that a step affects, and one that does not exist.
fn touched(step: &Step, next_id: TaskId) -> Vec<TaskId> {
    let mut ids = match step {
        Step::Push(drafts) => (next_id.saturating_sub(drafts.len() as u64)..next_id).collect(),
        Step::Settle(settled) => settled.iter().map(|settled| settled.task).collect(),
        Step::Cancel(framework::views::TaskSelector::Task(id)) => vec![*id],
        Step::Retry(framework::views::TaskSelector::Task(id)) => vec![*id],
        Step::Forget(framework::views::TaskSelector::Task(id)) => vec![*id],
        _ => Vec::new(),
    };
    ids.push(next_id);
    ids
}

fn check_details(sheet: &Sheet, story: &TaskDetails) -> Result<()> {
    let draft = &sheet.draft;
    let summary = &story.summary;
    ensure!(summary.state == sheet.state, "it should be {:?}", sheet.state);
    ensure!(summary.function == draft.function, "it should be of {}", draft.function);
    ensure!(summary.queue == draft.queue && summary.priority == draft.priority, "it should be {draft:?}");
    ensure!(story.args.get() == draft.args, "its arguments should be {}", draft.args);
    ensure!(story.key.as_deref() == draft.key, "its key should be {:?}", draft.key);
    ensure!(story.concurrency_key.as_deref() == draft.concurrency_key, "it should be {draft:?}");
    ensure!(story.batch == draft.batch, "its batch should be {:?}", draft.batch);
    ensure!(story.then == draft.then, "after it come {:?}", draft.then);
    ensure!(summary.ended_ms.is_some() == sheet.end_ms.is_some(), "when it ended is wrong");
    if sheet.state == State::Done {
        let result = story.result.as_ref().map(|result| result.get());
        ensure!(result == sheet.result.as_deref(), "its result should be {:?}", sheet.result);
    }
    if let (State::Failed, Some(error)) = (sheet.state, &sheet.error) {
        ensure!(summary.error.as_ref() == Some(error), "its error should be {error}");
    }
    let failed = story.history.iter().filter(|attempt| attempt.error.is_some() && attempt.ran_ms.is_some());
    ensure!(failed.count() >= sheet.failures as usize, "{} attempts of it failed", sheet.failures);
    Ok(())
}

fn depths(reference: &Reference) -> BTreeMap<&'static str, QueueDepth> {
    let mut depths = BTreeMap::<_, QueueDepth>::new();
    for queue in super::drafts::QUEUES {
        depths.entry(queue).or_default().paused = reference.paused.contains(queue);
    }
    for sheet in reference.tasks.values() {
        let depth = depths.entry(sheet.draft.queue).or_default();
        match sheet.state {
            State::Running => depth.running += 1,
            State::Waiting if reference.has_come(sheet.when) && !reference.is_held(sheet) => {
                depth.waiting += 1
            }
            State::Waiting => depth.delayed += 1,
            _ => {}
        }
    }
    depths
}
