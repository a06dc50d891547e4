//! The tasks that may be taken at a moment, and those that must be if there is a worker.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use framework::store::Lease;
use framework::store::WorkerGroup;
use framework::task::TaskId;
use framework::views::State;

use super::drafts::TOGETHER;
use super::reference::{Leased, Reference, Sheet};

impl Reference {
    /// Checks the tasks that were taken, one after the other, and records them.
    pub(super) fn take(&mut self, line: usize, limit: usize, leases: &[Lease]) -> Result<()> {
        ensure!(leases.len() <= limit, "{} were taken, and {limit} asked for", leases.len());
        for lease in leases {
            let id = lease.task.id;
            self.may_be_taken(line, id).map_err(|why| anyhow::anyhow!("task {id} was taken, but {why}"))?;
            self.comes_next(line, id)?;
            self.lease(lease)?;
        }
        if leases.len() < limit && !self.has_many_tied() {
            if let Some(id) = self.tasks.keys().find(|id| self.must_be_taken(line, **id)) {
                bail!("task {id} can be taken and was not: {:#?}", self.tasks[id]);
            }
        }
        Ok(())
    }

    /// A worker skips only some of the tasks that are held back at once, and returns for more.
    fn has_many_tied(&self) -> bool {
        let is_tied = |sheet: &Sheet| sheet.draft.concurrency_key.is_some() || sheet.crashes > 0;
        self.waiting().filter(|(_, sheet)| is_tied(sheet)).count() > 8
    }

    /// `true` if there is a task that a worker of this line can certainly take.
    pub(super) fn has_work(&self, line: usize) -> bool {
        self.tasks.keys().any(|id| self.must_be_taken(line, *id))
    }

    pub(super) fn may_have_work(&self, line: usize) -> bool {
        self.tasks.keys().any(|id| self.may_be_taken(line, *id).is_ok())
    }

    fn may_be_taken(&self, line: usize, id: TaskId) -> Result<(), &'static str> {
        let Some(sheet) = self.tasks.get(&id) else { return Err("there is none") };
        let queue = sheet.draft.queue;
        let check = |is_so: bool, why| if is_so { Ok(()) } else { Err(why) };
        check(sheet.state == State::Waiting, "it does not wait")?;
        check(self.line_of(queue) == line, "another line takes from its queue")?;
        check(!self.paused.contains(queue), "its queue is paused")?;
        check(self.has_come(sheet.when) || sheet.was_due, "its time has not come")?;
        check(!self.is_held(sheet), "its batch is open")?;
        check(self.has_free_key(sheet), "too many of its concurrency key run")?;
        check(self.rate_allows(queue), "its queue's rate is used up")
    }

    /// `true` if nothing can hold this task back.
    fn must_be_taken(&self, line: usize, id: TaskId) -> bool {
        let sheet = &self.tasks[&id];
        self.may_be_taken(line, id).is_ok()
            && self.has_come(sheet.when)
            && self.rate_demands(sheet.draft.queue)
            && (sheet.crashes == 0 || self.is_only_suspect(id))
            // It is not specified which one runs next when such a task waits for its key.
            && (sheet.draft.concurrency_key.is_none() || !self.is_key_suspect())
    }

    /// Checks that no more urgent task of the queue is passed over.
    fn comes_next(&self, line: usize, id: TaskId) -> Result<()> {
        let sheet = &self.tasks[&id];
        for (other, before) in self.waiting() {
            let is_rival = before.draft.queue == sheet.draft.queue && self.must_be_taken(line, other);
            if !is_rival || other == id {
                continue;
            }
            let (mine, its) = (sheet.draft.priority, before.draft.priority);
            let may_be_oldest = self.policy.oldest_first_every > 0;
            ensure!(
                its <= mine || may_be_oldest,
                "task {id} was taken before task {other}, which is more urgent: {before:?}"
            );
            let is_like = its == mine && sheet.is_in_order && before.is_in_order;
            if is_like {
                // Requeued tasks come first, in an order that is not specified.
                let passed_over = !sheet.is_returned && (before.is_returned || other < id);
                ensure!(
                    !passed_over,
                    "task {id} was taken before task {other}, which waits longer: {before:?}"
                );
            }
        }
        Ok(())
    }

    fn lease(&mut self, lease: &Lease) -> Result<()> {
        let id = lease.task.id;
        let steady = self.steady();
        ensure!(self.tokens.insert(lease.token.0), "the token of task {id} was given before");
        let until = steady + self.policy.lease;
        let sheet = self.tasks.get_mut(&id).expect("it may be taken");
        let counted = sheet.failures + sheet.crashes;
        let numbers = counted + 1..=counted + sheet.lapses + 1;
        ensure!(
            numbers.contains(&lease.attempt),
            "attempt {} of task {id} is one of {numbers:?}",
            lease.attempt
        );
        ensure!(*lease.task.new.function == *sheet.draft.function, "task {id} has another function");
        ensure!(lease.task.new.args == sheet.draft.args.as_bytes(), "task {id} has other arguments");
        ensure!(
            (lease.task.failures(), lease.task.crashes()) == (sheet.failures, sheet.crashes),
            "task {id} has failed {} times and died {} times",
            lease.task.failures(),
            lease.task.crashes()
        );
        lease.task.set_blocking(sheet.draft.is_blocking());
        sheet.state = State::Running;
        sheet.is_returned = false;
        sheet.lease = Some(Leased { token: lease.token, until, has_begun: false, is_cancelled: false });
        let queue = sheet.draft.queue;
        if self.policy.rates.contains_key(queue) {
            self.starts.entry(queue).or_default().push(steady);
        }
        Ok(())
    }

    /// Tasks whose process crashed run one at a time, in any order, so that the next crash identifies one of
    /// them.
    fn is_only_suspect(&self, id: TaskId) -> bool {
        let is_other = |(other, sheet): (&TaskId, &Sheet)| {
            *other != id && sheet.crashes > 0 && !sheet.state.is_terminal()
        };
        !self.tasks.iter().any(is_other)
    }

    fn is_key_suspect(&self) -> bool {
        let is_suspect = |sheet: &Sheet| {
            sheet.crashes > 0 && !sheet.state.is_terminal() && sheet.draft.concurrency_key.is_some()
        };
        self.tasks.values().any(is_suspect)
    }

    fn line_of(&self, queue: &str) -> usize {
        let own = self
            .policy
            .groups
            .iter()
            .position(|line| matches!(line, WorkerGroup::Queue(name) if name == queue));
        own.or_else(|| self.policy.groups.iter().position(|line| *line == WorkerGroup::Others)).unwrap_or(0)
    }

    fn has_free_key(&self, sheet: &Sheet) -> bool {
        let Some(key) = sheet.draft.concurrency_key else { return true };
        let same =
            self.in_state(State::Running).filter(|(_, other)| other.draft.concurrency_key == Some(key));
        same.count() < TOGETHER
    }

    /// `true` if the rate allows another start; a small burst is allowed.
    fn rate_allows(&self, queue: &str) -> bool {
        let Some(rate) = self.policy.rates.get(queue) else { return true };
        let since = self.steady().saturating_sub(rate.per);
        let recent = self.starts.get(queue).into_iter().flatten().filter(|start| **start > since).count();
        let recent = recent - recent.min(self.refunds.get(queue).copied().unwrap_or_default());
        recent < rate.count as usize + (rate.count as usize / 10).max(1)
    }

    /// `true` if no task has started for so long that one must be allowed to.
    fn rate_demands(&self, queue: &str) -> bool {
        let Some(rate) = self.policy.rates.get(queue) else { return true };
        let earned = rate.per / rate.count + Duration::from_millis(1);
        let last = self.starts.get(queue).and_then(|starts| starts.last());
        last.is_none_or(|last| *last + earned <= self.steady())
    }
}
