//! The end of a process and the start of the next: the tasks that must be there, and those that may be lost.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use framework::views::State;

use super::admin_steps::begin;
use super::drafts::Draft;
use super::player::{CRASHES_ALONE_MAX, CRASHES_MAX, Player};
use super::reference::{Reference, When};
use super::steps::{Settled, Step};
use framework::store::Disposition;

impl Player {
    pub(super) async fn restart(&mut self, crash: bool) -> Result<()> {
        if !crash {
            self.return_all().await?;
        }
        let at_the_end = self.reference.clone();
        let mut possible = std::mem::take(&mut self.unsure);
        possible.push(at_the_end.clone());
        if !crash {
            // A proper end leaves nothing unwritten.
            possible.drain(..possible.len() - 1);
        }
        self.leases.clear();
        self.opened.restart(crash);
        // The last writes may be lost: the ends of tasks are written in their order.
        let mut why = None;
        for reference in possible.into_iter().rev() {
            self.reference = reference;
            match self.resumes(&at_the_end).await {
                Ok(()) => return Ok(()),
                Err(error) => why = why.or(Some(error)),
            }
        }
        match why {
            Some(error) => Err(error).context("no possible past explains what is there after the restart"),
            None => bail!("there is always a past"),
        }
    }

    /// Begins a change that the process does not live to answer; the next one goes on with it.
    pub(super) async fn cut_short(&mut self, change: &Step) -> Result<()> {
        self.return_all().await?;
        begin(&**self.opened.store(), change);
        self.is_sure();
        let at_the_end = self.reference.clone();
        self.leases.clear();
        self.opened.restart(false);
        let follow = self.reference.resume(&at_the_end, self.opened.clock.clone());
        self.arrive(follow).await?;
        self.changes_end().await?;
        self.is_cut = true;
        let changed = Box::pin(self.change(change)).await;
        self.is_cut = false;
        changed?;
        // The process that has ended may have been the one that reported them.
        self.reference.unreported_ends.values_mut().for_each(|is_owed| *is_owed = false);
        self.check_all().await
    }

    async fn return_all(&mut self) -> Result<()> {
        let settled = |(id, lease): (_, &framework::store::Lease)| Settled {
            task: id,
            token: lease.token,
            disposition: Disposition::Requeue,
            follow: Vec::new(),
        };
        let all: Vec<_> = self.leases.iter().map(|(id, lease)| settled((*id, lease))).collect();
        if !all.is_empty() {
            Box::pin(self.play(&Step::Settle(all))).await?;
        }
        Ok(())
    }

    /// Continues from this past state, if it matches the store.
    async fn resumes(&mut self, at_the_end: &Reference) -> Result<()> {
        let mut follow = self.reference.resume(at_the_end, self.opened.clock.clone());
        follow.extend(self.reference.wake());
        self.arrive(follow).await?;
        self.settle_doubts().await?;
        self.check_all().await
    }
}

impl Reference {
    /// Running tasks have crashed, and steady times start anew.
    fn resume(&mut self, at_the_end: &Self, clock: framework::store::Clock) -> Vec<Draft> {
        let steady = at_the_end.steady();
        let anew = |when: When| match when {
            When::Steady(at) => When::Steady(at.saturating_sub(steady)),
            when => when,
        };
        self.clock = clock;
        self.may_skip_ids = true;
        self.next_id = self.next_id.max(self.tasks.keys().next_back().map_or(0, |last| last + 1));
        self.starts.clear();
        self.refunds.clear();
        self.tokens.clear();
        self.unreported_ends.clear();
        for sheet in self.tasks.values_mut() {
            sheet.when = anew(sheet.when);
            sheet.expires = sheet.expires.map(anew);
            sheet.is_returned = false;
        }
        let running: Vec<_> = self.in_state(State::Running).map(|(id, _)| id).collect();
        let ended = |id: &u64| at_the_end.tasks.get(id).is_none_or(|sheet| sheet.state != State::Running);
        let has_begun = |id: &u64| self.tasks[id].lease.is_some_and(|lease| lease.has_begun);
        let was_alone = running.iter().filter(|id| has_begun(id) && !ended(id)).count() == 1;
        running.into_iter().flat_map(|id| self.died(id, was_alone, at_the_end)).collect()
    }

    /// The process died while it held a lease on this task.
    fn died(&mut self, id: u64, was_alone: bool, at_the_end: &Self) -> Vec<Draft> {
        let was_settled = at_the_end.tasks.get(&id).is_none_or(|sheet| sheet.state != State::Running);
        let sheet = self.tasks.get_mut(&id).expect("it ran");
        let lease = sheet.lease.take().expect("it ran");
        sheet.state = State::Waiting;
        sheet.is_in_order = false;
        if lease.is_cancelled {
            // A cancel that was confirmed is not undone.
            self.unreported_ends.insert(id, false);
            return self.end(id, State::Cancelled);
        }
        if was_settled {
            // Its end is lost; it is not specified whether its attempt counts.
            sheet.lapses += 1;
            return Vec::new();
        }
        if !lease.has_begun {
            return Vec::new();
        }
        sheet.crashes += 1;
        sheet.has_begun = true;
        if sheet.crashes < if was_alone { CRASHES_ALONE_MAX } else { CRASHES_MAX } {
            return Vec::new();
        }
        sheet.error = None;
        self.unreported_ends.insert(id, false);
        self.end(id, State::Failed)
    }
}

/// Long enough for everything to become due.
pub(super) const LONG: Duration = Duration::from_secs(24 * 60 * 60);
