//! The steps of a schedule, and a random choice of one that fits the state.

use std::time::Duration;

use fastrand::Rng;
use framework::store::Disposition;
use framework::store::LeaseToken;
use framework::task::{BatchId, Due, TaskId};
use framework::views::{BatchState, FailureCause, FailureFilter, State, TaskSelector};

use super::drafts::{BLOCKING, Draft, KEYED, LAST, PLAIN, QUEUES};
use super::reference::Reference;

/// One step of a schedule.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Push(Vec<Draft>),
    Take {
        line: usize,
        limit: usize,
    },
    /// The handlers of these are called.
    Begin(Vec<TaskId>),
    Settle(Vec<Settled>),
    Renew(Vec<(TaskId, LeaseToken)>),
    Cancel(TaskSelector),
    Retry(TaskSelector),
    Forget(TaskSelector),
    Flush(Option<&'static str>),
    Pause(&'static str, bool),
    OpenBatch {
        then: Option<&'static str>,
    },
    Seal(BatchId),
    Advance(Duration),
    /// Sets the wall clock.
    SetWall(u64),
    /// This change is begun, and the process ends before it is answered.
    CutShort(Box<Step>),
    /// The process is killed or ends properly, and another one starts.
    Restart {
        crash: bool,
    },
}

/// The settlement of a lease.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) task: TaskId,
    pub(super) token: LeaseToken,
    pub(super) disposition: Disposition,
    pub(super) follow: Vec<Draft>,
}

/// The kinds of steps in a schedule: rare ones coincide more often when others are left out.
#[derive(Debug, Clone)]
pub(super) struct Flavour {
    pub(super) delays: bool,
    pub(super) jumps: bool,
    pub(super) expiry: bool,
    pub(super) keys: bool,
    pub(super) concurrency: bool,
    pub(super) batches: bool,
    pub(super) chains: bool,
    pub(super) pauses: bool,
    pub(super) admin: bool,
    pub(super) leases: bool,
    pub(super) restarts: bool,
    pub(super) cuts: bool,
}

impl Flavour {
    pub(super) fn random(random: &mut Rng, survives: bool) -> Self {
        let restarts = survives && random.u8(..3) > 0;
        Self {
            delays: random.bool(),
            // A wall clock that is set while no process runs makes durations unknowable.
            jumps: !restarts && random.u8(..3) == 0,
            expiry: random.u8(..3) == 0,
            keys: random.u8(..3) == 0,
            concurrency: random.u8(..3) == 0,
            batches: random.bool(),
            chains: random.u8(..3) == 0,
            pauses: random.u8(..3) == 0,
            admin: random.bool(),
            leases: random.u8(..3) == 0,
            restarts,
            cuts: false,
        }
    }

    /// A schedule in which changes of many tasks are cut short.
    pub(super) fn of_cuts() -> Self {
        let (batches, admin, chains, concurrency) = (true, true, true, true);
        let (delays, jumps, expiry, keys, pauses, leases) = (true, false, false, false, false, false);
        let (restarts, cuts) = (true, true);
        Self {
            delays,
            jumps,
            expiry,
            keys,
            concurrency,
            batches,
            chains,
            pauses,
            admin,
            leases,
            restarts,
            cuts,
        }
    }
}

/// Chooses the next step.
pub(super) struct Choice<'a> {
    pub(super) random: &'a mut Rng,
    pub(super) reference: &'a Reference,
    pub(super) flavour: &'a Flavour,
    /// Tokens of leases, current or not.
    pub(super) tokens: &'a [(TaskId, LeaseToken)],
}

impl Choice<'_> {
    pub(super) fn step(&mut self) -> Step {
        let Flavour { pauses, admin, leases, restarts, batches, jumps, .. } = *self.flavour;
        loop {
            let step = match self.random.u8(..100) {
                0..25 => Some(Step::Push((0..self.random.usize(1..=4)).map(|_| self.draft()).collect())),
                25..45 => Some(Step::Take {
                    line: self.random.usize(..self.reference.policy.groups.len()),
                    limit: self.random.usize(1..=5),
                }),
                45..50 => self.begin(),
                50..70 => self.settle(),
                70..74 => self.renew().filter(|_| leases),
                70..82 if self.flavour.cuts => self.cut_short(),
                74..82 => Some(self.advance()),
                82..85 if jumps => Some(self.jump()),
                85..89 if admin => Some(self.admin()),
                89..91 if admin => self.target().map(Step::Cancel),
                91..93 if pauses => Some(Step::Pause(self.queue(), self.random.bool())),
                93..97 if batches => Some(self.batch()),
                97..100 if restarts => Some(Step::Restart { crash: self.random.u8(..4) > 0 }),
                _ => None,
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn cut_short(&mut self) -> Option<Step> {
        let batches: Vec<_> = self.reference.batches.keys().copied().collect();
        let batch = self.random.choice(batches);
        let queue = Some(self.queue()).filter(|_| self.random.bool());
        let failed = self.failed(queue);
        let change = match self.random.u8(..6) {
            0 => Step::Cancel(TaskSelector::Batch(batch?)),
            1 => Step::Retry(TaskSelector::Batch(batch?)),
            2 => Step::Retry(failed),
            3 => Step::Forget(failed),
            4 => Step::Flush(queue),
            _ => Step::Seal(self.open_batch()?),
        };
        Some(Step::CutShort(Box::new(change)))
    }

    fn queue(&mut self) -> &'static str {
        QUEUES[self.random.usize(..QUEUES.len())]
    }

    fn draft(&mut self) -> Draft {
        let function = [PLAIN, BLOCKING, LAST][self.random.usize(..3)];
        let keyed = self.flavour.concurrency && self.random.bool();
        let function = if keyed { KEYED } else { function };
        let args = self.random.u32(..).to_string();
        let mut draft = Draft::of(&self.reference.handlers, function, args);
        if self.random.bool() {
            draft.queue = self.queue();
        }
        if self.random.u8(..3) == 0 {
            draft.priority = self.random.u8(3..7);
        }
        draft.concurrency_key = keyed.then(|| ["one", "two"][self.random.usize(..2)]);
        if self.flavour.delays && self.random.u8(..3) == 0 {
            draft.due = self.due(20_000);
        }
        if self.flavour.expiry && self.random.u8(..3) == 0 {
            draft.expires = Some(self.due(40_000)).filter(|due| *due != Due::Now);
        }
        if self.flavour.keys && self.random.u8(..3) == 0 {
            draft.key = Some(["k1", "k2", "k3"][self.random.usize(..3)]);
            draft.args = self.random.u8(..2).to_string();
        }
        if self.flavour.batches && self.random.bool() {
            draft.batch = self.open_batch();
        }
        if self.flavour.chains && self.random.u8(..3) == 0 {
            draft.then = [PLAIN, BLOCKING, LAST][self.random.usize(..3)..].to_vec();
        }
        draft
    }

    fn due(&mut self, within_ms: u64) -> Due {
        let pause_ms = self.random.u64(..within_ms);
        match self.random.u8(..5) {
            0 => Due::Now,
            1..3 => Due::After(Duration::from_millis(pause_ms)),
            _ => Due::At((self.reference.wall_ms() + pause_ms).saturating_sub(within_ms / 10)),
        }
    }

    fn open_batch(&mut self) -> Option<BatchId> {
        let open = self.reference.batches.iter().filter(|(_, batch)| batch.state == BatchState::Open);
        let open: Vec<_> = open.map(|(id, _)| *id).collect();
        self.random.choice(open)
    }

    fn running(&mut self) -> Vec<TaskId> {
        let running: Vec<_> = self.reference.in_state(State::Running).map(|(id, _)| id).collect();
        running.into_iter().filter(|_| self.random.u8(..3) > 0).collect()
    }

    fn begin(&mut self) -> Option<Step> {
        let begin = self.running();
        (!begin.is_empty()).then_some(Step::Begin(begin))
    }

    fn settle(&mut self) -> Option<Step> {
        let mut settled: Vec<_> = self.running().into_iter().map(|id| self.end(id)).collect();
        if self.random.u8(..8) == 0 {
            // Perhaps settled long ago, perhaps of a process that was killed.
            let (late, follow) = (Disposition::Failed("late".into()), vec![]);
            let other = self.random.choice(self.tokens.to_vec());
            let other = other.filter(|(task, _)| settled.iter().all(|other| other.task != *task));
            settled.extend(other.map(|(task, token)| Settled { task, token, disposition: late, follow }));
        }
        (!settled.is_empty()).then_some(Step::Settle(settled))
    }

    fn end(&mut self, task: TaskId) -> Settled {
        let sheet = &self.reference.tasks[&task];
        let lease = sheet.lease.expect("what runs is leased");
        let disposition = match self.random.u8(..10) {
            // A cancelled attempt stops, or is done before it notices.
            0..6 if lease.is_cancelled => Disposition::Cancelled,
            _ if lease.is_cancelled => Disposition::Done(self.random.u32(..).to_string().into()),
            0..5 => Disposition::Done(self.random.u32(..).to_string().into()),
            5 if self.random.bool() => Disposition::Failed(format!("failure {}", self.random.u16(..))),
            5 => Disposition::Failed("refused".to_owned()),
            6..8 => Disposition::Retry {
                pause: Duration::from_millis(self.random.u64(..3_000)),
                error: "not yet".to_owned(),
            },
            _ => Disposition::Requeue,
        };
        let follows =
            self.flavour.chains && matches!(disposition, Disposition::Done(_)) && self.random.u8(..3) == 0;
        let follow = if follows {
            (0..self.random.usize(1..3)).map(|_| Draft { key: None, ..self.draft() }).collect()
        } else {
            Vec::new()
        };
        Settled { task, token: lease.token, disposition, follow }
    }

    fn renew(&mut self) -> Option<Step> {
        let mut renewed: Vec<_> = self
            .running()
            .into_iter()
            .map(|id| (id, self.reference.tasks[&id].lease.expect("what runs is leased").token))
            .collect();
        renewed.extend(self.random.choice(self.tokens.to_vec()));
        (!renewed.is_empty()).then_some(Step::Renew(renewed))
    }

    fn advance(&mut self) -> Step {
        // Leases expire only in schedules about that.
        let long = if self.flavour.leases { 90_000 } else { 8_000 };
        let most = [50, 2_000, long][self.random.usize(..3)];
        Step::Advance(Duration::from_millis(self.random.u64(..most)))
    }

    /// Some of the failed tasks: of this queue, of a function, of a cause.
    fn failed(&mut self, queue: Option<&str>) -> TaskSelector {
        let function = self.random.choice(self.reference.tasks.values().map(|sheet| sheet.draft.function));
        let function = function.unwrap_or("test_shout");
        let pattern = if self.random.bool() { "failure #" } else { "refused" };
        TaskSelector::Failed(FailureFilter {
            queue: queue.map(str::to_owned),
            function: Some(function.to_owned()).filter(|_| self.random.u8(..4) == 0),
            cause: Some(FailureCause::new(function, pattern)).filter(|_| self.random.u8(..4) == 0),
        })
    }

    fn jump(&mut self) -> Step {
        let wall_ms = self.reference.wall_ms();
        let by_ms = self.random.u64(..60_000);
        Step::SetWall(if self.random.bool() { wall_ms + by_ms } else { wall_ms.saturating_sub(by_ms) })
    }

    fn admin(&mut self) -> Step {
        let queue = Some(self.queue()).filter(|_| self.random.bool());
        let failed = self.failed(queue);
        match (self.random.u8(..12), self.target()) {
            (0..4, Some(target)) => Step::Retry(target),
            (4..7, Some(target)) => Step::Forget(target),
            (7, _) => Step::Flush(queue),
            (8, _) => Step::Forget(failed),
            _ => Step::Retry(failed),
        }
    }

    fn target(&mut self) -> Option<TaskSelector> {
        let batches: Vec<_> = self.reference.batches.keys().copied().collect();
        if !batches.is_empty() && self.random.u8(..4) == 0 {
            return self.random.choice(batches).map(TaskSelector::Batch);
        }
        // Now and then one that does not exist.
        (self.reference.next_id > 0).then(|| TaskSelector::Task(self.random.u64(..=self.reference.next_id)))
    }

    fn batch(&mut self) -> Step {
        match self.open_batch() {
            Some(batch) if self.random.bool() => Step::Seal(batch),
            _ => Step::OpenBatch { then: Some(LAST).filter(|_| self.random.u8(..4) > 0) },
        }
    }
}
