//! The checks of what a cut has left: every reply of the process before it is true.

use std::collections::{BTreeMap, BTreeSet};

use framework::store::{AdminCommand, Query, QueryResult, Sqlite, Store};
use framework::task::{BatchId, TaskId};
use framework::views::{BatchInfo, BatchState, Filter, State, TaskDetails};

use super::changes::{Changes, changes_end};
use super::knowledge::{Knowledge, KnownTask, Progress};

/// The tasks that are there.
type Found = BTreeMap<TaskId, State>;

/// Requires a condition of what was found.
macro_rules! require {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}

impl Changes {
    /// Checks that every reply is true once the changes under way have ended.
    pub(super) async fn check(&mut self) -> Result<(), String> {
        let store = self.open().map_err(|error| format!("{error:#}"))?;
        // Reading the counts lets the store end what has expired.
        store.counts().await;
        store.flush().await;
        changes_end(&store).await;
        let found = tasks(&store, Filter::default()).await?;
        self.check_ledger(&store, &found).await?;
        self.meet_unknown(&store, &found).await?;
        self.knowledge().check_kept(&found)?;
        self.check_batches(&store, &found).await?;
        self.check_schedule(&store).await?;
        self.knowledge().found(&found);
        self.check_waiting(&store, &found).await
    }

    async fn check_ledger(&self, store: &Sqlite, found: &Found) -> Result<(), String> {
        let ledger = store.counts().await.ledger;
        require!(ledger.accepted == ledger.sum() && ledger.running == 0, "{ledger:?} does not balance");
        let waiting = found.values().filter(|state| **state == State::Waiting).count() as u64;
        require!(ledger.waiting == waiting, "{waiting} tasks wait, and the ledger is {ledger:?}");
        // Those that were deleted are still counted.
        let known = self.knowledge().tasks.len() as u64;
        require!(ledger.accepted >= known, "{known} tasks were accepted, and the ledger is {ledger:?}");
        Ok(())
    }

    /// Reads the tasks whose acknowledgement nobody has got.
    async fn meet_unknown(&self, store: &Sqlite, found: &Found) -> Result<(), String> {
        let unknown = |id: &TaskId| !self.knowledge().tasks.contains_key(id);
        for id in found.keys().copied().filter(unknown).collect::<Vec<_>>() {
            let TaskDetails { summary, args, key, batch, expires_ms, .. } = details(store, id).await?;
            let mut knowledge = self.knowledge();
            knowledge.meet(id, None, |at| KnownTask::of(&summary.queue, batch, key.as_deref(), at));
            knowledge.note_args(id, args.get().as_bytes());
            if let Some(task) = knowledge.tasks.get_mut(&id).filter(|_| expires_ms.is_some()) {
                task.expires(0);
            }
        }
        Ok(())
    }

    async fn check_batches(&self, store: &Sqlite, found: &Found) -> Result<(), String> {
        let ids: Vec<_> = self.knowledge().batches.keys().copied().collect();
        for id in ids {
            let info = match store.query(Query::Batch(id)).await {
                Ok(QueryResult::Batch(info)) => *info,
                other => return Err(format!("batch {id} is {other:?}")),
            };
            let members = tasks(store, Filter { batch: Some(id), ..Filter::default() }).await?;
            let mut knowledge = self.knowledge();
            knowledge.check_batch(&info, &members, found).map_err(|error| format!("{error}: {info:?}"))?;
        }
        Ok(())
    }

    async fn check_schedule(&self, store: &Sqlite) -> Result<(), String> {
        let Ok(QueryResult::Schedules(schedules)) = store.query(Query::Schedules).await else {
            return Err("the schedules cannot be listed".to_owned());
        };
        let found = schedules.iter().find_map(|schedule| schedule.fired_ms).unwrap_or(0);
        let mut knowledge = self.knowledge();
        let (acknowledged, sent) = knowledge.fired;
        require!(
            (acknowledged..=sent).contains(&found),
            "a schedule has fired at {acknowledged} to {sent}, and that is {found}"
        );
        knowledge.fired.0 = found;
        Ok(())
    }

    /// What waits can be taken, unless it is held back.
    async fn check_waiting(&self, store: &Sqlite, found: &Found) -> Result<(), String> {
        let mut taken = BTreeSet::new();
        loop {
            let leases = store.take(0, 100).await;
            if leases.is_empty() {
                break;
            }
            for lease in leases {
                require!(taken.insert(lease.task.id), "task {} is taken twice", lease.task.id);
            }
        }
        let knowledge = self.knowledge();
        for (id, state) in found {
            let task = &knowledge.tasks[id];
            let batch = task.batch.and_then(|id| knowledge.batches.get(&id));
            let is_held = batch.is_some_and(|batch| batch.seal == Progress::Never);
            let may_run = *state == State::Waiting && (!is_held || task.may_be_alone);
            require!(may_run || !taken.contains(id), "task {id} is {state:?}, and is taken");
            // After crashes, few of them run at once.
            let must_run = *state == State::Waiting && !is_held && !task.may_have_crashed;
            require!(!must_run || taken.contains(id), "task {id} cannot be taken: {task:?}");
        }
        Ok(())
    }
}

async fn tasks(store: &Sqlite, filter: Filter) -> Result<Found, String> {
    let filter = Filter { limit: usize::MAX >> 1, ..filter };
    match store.query(Query::Tasks(filter)).await {
        Ok(QueryResult::Tasks(tasks)) => Ok(tasks.iter().map(|task| (task.id, task.state)).collect()),
        other => Err(format!("the tasks cannot be listed: {other:?}")),
    }
}

async fn details(store: &Sqlite, id: TaskId) -> Result<TaskDetails, String> {
    match store.query(Query::Task(id)).await {
        Ok(QueryResult::Task(task)) => Ok(*task),
        other => Err(format!("task {id} is listed, and is {other:?}")),
    }
}

impl Knowledge {
    fn check_kept(&self, found: &Found) -> Result<(), String> {
        self.check_tasks(found)?;
        self.check_changes(found)?;
        self.check_keys(found)?;
        self.check_followers(found)
    }

    fn check_tasks(&self, found: &Found) -> Result<(), String> {
        for (id, task) in &self.tasks {
            let fate = found.get(id).copied();
            require!(
                task.may_be(fate),
                "task {id} is {fate:?} after the cut, and was {task:?}; changes: {:?}",
                self.changes
            );
        }
        Ok(())
    }

    /// A change that was not acknowledged has changed all of its tasks, or none.
    fn check_changes(&self, found: &Found) -> Result<(), String> {
        for change in self.changes.iter().filter(|change| !change.is_over) {
            let is_changed = |id: &TaskId| change.has_changed(found.get(id).copied());
            let (changed, others): (Vec<_>, Vec<_>) = self.untouched(change).partition(is_changed);
            let is_whole = changed.is_empty() || others.is_empty();
            let describe = |id: &TaskId| format!("{id} is {:?}, and was {:?}", found.get(id), self.tasks[id]);
            let [changed, others] = [changed, others].map(|ids| ids.iter().map(describe).collect::<Vec<_>>());
            require!(
                is_whole,
                "{change:?} has changed {changed:#?} and not {others:#?}; changes: {:?}",
                self.changes
            );
        }
        Ok(())
    }

    fn check_keys(&self, found: &Found) -> Result<(), String> {
        let mut owners = BTreeMap::new();
        for id in found.keys() {
            let Some(key) = self.tasks[id].key.as_deref() else { continue };
            if let Some(other) = owners.insert(key, id) {
                return Err(format!("tasks {other} and {id} have the same key"));
            }
        }
        Ok(())
    }

    fn check_followers(&self, found: &Found) -> Result<(), String> {
        for (id, task) in &self.tasks {
            let followers = self.followers.get(id).map_or(0, BTreeSet::len);
            require!(followers <= 1, "task {id} is followed by {followers} tasks");
            match found.get(id) {
                Some(State::Done) => require!(
                    usize::from(task.has_follower) == followers,
                    "task {id} is done and followed by {followers} tasks: {task:?}"
                ),
                Some(state) => require!(followers == 0, "task {id} is {state:?} and followed"),
                None => {}
            }
        }
        Ok(())
    }

    fn check_batch(&mut self, info: &BatchInfo, members: &Found, found: &Found) -> Result<(), String> {
        self.check_progress(info)?;
        let in_flight = self.changes.iter().any(|change| {
            let deletes = matches!(change.command, AdminCommand::Flush { .. } | AdminCommand::Forget(_));
            !change.is_over && deletes
        });
        let gone = self.tasks.iter().filter(|(id, task)| {
            task.batch == Some(info.id) && (!found.contains_key(id) || !members.contains_key(id))
        });
        let gone = gone.count() as u64;
        let batch = self.batches.get_mut(&info.id).expect("it is checked because it is known");
        batch.may_have_unknown |= in_flight;
        let missing = info.total.checked_sub(members.len() as u64);
        let missing = missing.ok_or("the batch has more tasks than it counts")?;
        require!(missing <= gone || batch.may_have_unknown, "{missing} tasks are missing, {gone} are gone");
        let count = |state| members.values().filter(|member| **member == state).count() as u64;
        let ends = [
            (info.done, State::Done),
            (info.failed, State::Failed),
            (info.cancelled, State::Cancelled),
            (info.expired, State::Expired),
        ];
        for (counted, state) in ends {
            let there = count(state);
            require!(counted >= there, "{there} tasks are {state:?}, and the batch counts {counted}");
        }
        let open = info.total.checked_sub(info.ended());
        require!(open == Some(count(State::Waiting)), "{} of its tasks wait", count(State::Waiting));
        let completions = self.completions.get(&info.id).map_or(0, BTreeSet::len);
        let is_completed = info.state == BatchState::Ended && info.then.is_some();
        require!(completions == usize::from(is_completed), "its completion was accepted {completions} times");
        require!(info.then_task.is_some() == is_completed, "its completion is another one");
        Ok(())
    }

    /// Compares the state of a batch with what was sent, and takes it over.
    fn check_progress(&mut self, info: &BatchInfo) -> Result<(), String> {
        let batch = self.batches.get_mut(&info.id).expect("it is checked because it is known");
        let was_sealed = batch.seal != Progress::Never;
        let may_be = match info.state {
            BatchState::Open => {
                batch.seal != Progress::Acknowledged && batch.abandon != Progress::Acknowledged
            }
            // Nothing of it runs, so that it has ended when no change is under way.
            BatchState::Abandoned => false,
            BatchState::Running => was_sealed,
            BatchState::Ended => was_sealed || batch.abandon != Progress::Never,
        };
        require!(may_be, "the batch was {batch:?}");
        require!(was_sealed || info.done + info.failed == 0, "tasks ran of a batch that was not sealed");
        require!(batch.has_then || info.then.is_none(), "it has a completion");
        require!(
            info.then.is_some() == (batch.has_then && (was_sealed || info.state == BatchState::Open)),
            "its completion is gone"
        );
        if info.state == BatchState::Open {
            (batch.seal, batch.abandon) = (Progress::Never, Progress::Never);
        } else if was_sealed {
            batch.seal = Progress::Acknowledged;
        } else {
            batch.abandon = Progress::Acknowledged;
        }
        Ok(())
    }

    /// Takes over the state that was found, which is durable.
    fn found(&mut self, found: &Found) {
        let at = self.tick();
        for (id, task) in &mut self.tasks {
            task.found(at, found.get(id).copied());
        }
    }

    /// The reason why a task of this batch must not run, if there is one.
    pub(super) fn check_runs(&self, batch: BatchId) -> Result<(), String> {
        match self.batches.get(&batch) {
            Some(known) if known.seal == Progress::Never => {
                Err(format!("and its batch {batch} was never sealed: {known:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Notes the task or the batch that a task follows, if it does.
    pub(super) fn note_args(&mut self, id: TaskId, args: &[u8]) {
        let args: serde_json::Value = serde_json::from_slice(args).unwrap_or_default();
        if let Some(batch) = args["batch"].as_u64().or_else(|| args["batch_id"].as_u64()) {
            self.completions.entry(batch).or_default().insert(id);
        }
        let before = args.as_str().and_then(|args| args.strip_prefix("after ")?.parse().ok());
        if let Some(before) = before {
            self.followers.entry(before).or_default().insert(id);
        }
    }
}
