//! The knowledge of clients about their tasks and batches: the states in which each may be found after a cut.

use std::collections::{BTreeMap, BTreeSet};

use framework::store::AdminCommand;
use framework::task::{BatchId, TaskId, TaskRecord};
use framework::views::{FailureFilter, State, TaskSelector};

/// Counts what was sent, done and acknowledged.
pub(super) type Moment = u64;

/// A state of a task; `None` once nothing is kept of it.
pub(super) type Fate = Option<State>;

/// The knowledge of all clients.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    now: Moment,
    /// The time at which this process began.
    begun: Moment,
    pub(super) tasks: BTreeMap<TaskId, KnownTask>,
    pub(super) batches: BTreeMap<BatchId, KnownBatch>,
    /// The tasks that have followed the ends of batches.
    pub(super) completions: BTreeMap<BatchId, BTreeSet<TaskId>>,
    /// The tasks that have followed others.
    pub(super) followers: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// The changes of many tasks that were sent to this process.
    pub(super) changes: Vec<SentChange>,
    /// The settlements that a cut may undo, because no later write was acknowledged.
    settled: Vec<(Moment, TaskId)>,
    /// The last run of a schedule that was acknowledged, and that was sent.
    pub(super) fired: (u64, u64),
}

/// The knowledge of one task.
#[derive(Debug, Clone)]
pub(super) struct KnownTask {
    pub(super) queue: String,
    pub(super) batch: Option<BatchId>,
    pub(super) key: Option<String>,
    /// The fates that it may have met, and when.
    fates: Vec<(Moment, Fate)>,
    pub(super) is_leased: bool,
    /// The last time that it was taken or settled.
    touched: Moment,
    /// It was done together with a task that follows it.
    pub(super) has_follower: bool,
    /// Its batch may have ended before it was retried.
    pub(super) may_be_alone: bool,
    /// It expires when nobody starts it in time.
    may_expire: bool,
    /// Its lease was lost, so that it may have to wait for others.
    pub(super) may_have_crashed: bool,
}

/// The knowledge of one batch.
#[derive(Debug, Clone)]
pub(super) struct KnownBatch {
    pub(super) queue: String,
    pub(super) has_then: bool,
    pub(super) seal: Progress,
    /// Its cancel, if that was sent before it was sealed.
    pub(super) abandon: Progress,
    /// Some of its tasks may have been deleted before anyone knew them.
    pub(super) may_have_unknown: bool,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Never,
    Sent,
    Acknowledged,
}

/// A change of many tasks.
#[derive(Debug)]
pub(super) struct SentChange {
    pub(super) at: Moment,
    pub(super) command: AdminCommand,
    pub(super) is_over: bool,
    /// The tasks that it concerns for certain, unless a worker touches them.
    stake: Vec<TaskId>,
}

impl SentChange {
    /// Whether a task that it concerns has met the fate that this has for it.
    pub(super) fn has_changed(&self, fate: Fate) -> bool {
        match self.command {
            AdminCommand::Retry(_) => fate == Some(State::Waiting),
            AdminCommand::Cancel(_) => fate == Some(State::Cancelled),
            _ => fate.is_none(),
        }
    }
}

impl KnownTask {
    /// A task of this process.
    pub(super) fn new(task: &TaskRecord, at: Moment) -> Self {
        let extra = task.new.extra.as_deref();
        let key = extra.and_then(|extra| extra.key.as_deref());
        let mut known = Self::of(&task.new.queue, task.new.batch(), key, at);
        if extra.is_some_and(|extra| extra.expires.is_some()) {
            known.expires(at);
        }
        known
    }

    pub(super) fn of(queue: &str, batch: Option<BatchId>, key: Option<&str>, at: Moment) -> Self {
        Self {
            queue: queue.to_owned(),
            batch,
            key: key.map(str::to_owned),
            fates: vec![(at, Some(State::Waiting))],
            is_leased: false,
            touched: 0,
            has_follower: false,
            may_be_alone: false,
            may_expire: false,
            may_have_crashed: false,
        }
    }

    pub(super) fn may_be(&self, fate: Fate) -> bool {
        self.fates.iter().any(|(_, known)| *known == fate)
    }

    pub(super) fn fates(&self) -> &[(Moment, Fate)] {
        &self.fates
    }

    /// Whether every fate that it may have met is one of these.
    pub(super) fn is_surely(&self, is_one: impl Fn(Fate) -> bool) -> bool {
        !self.fates.is_empty() && self.fates.iter().all(|(_, fate)| is_one(*fate))
    }

    /// Adds the fate that a change has for it; `false` if it has none.
    fn meet(&mut self, at: Moment, command: &AdminCommand, id: TaskId) -> bool {
        let Some(fate) = effect(command, id, self) else { return false };
        self.add(at, fate);
        self.may_be_alone |= matches!(command, AdminCommand::Retry(_)) && self.batch.is_some();
        true
    }

    pub(super) fn touch(&mut self, at: Moment) {
        self.touched = at;
    }

    pub(super) fn add(&mut self, at: Moment, fate: Fate) {
        self.fates.push((at, fate));
    }

    pub(super) fn expires(&mut self, at: Moment) {
        self.may_expire = true;
        self.add(at, Some(State::Expired));
    }

    /// It was found so, durably.
    pub(super) fn found(&mut self, at: Moment, fate: Fate) {
        self.fates = vec![(at, fate)];
        if self.may_expire && fate == Some(State::Waiting) {
            self.add(at, Some(State::Expired));
        }
        self.is_leased = false;
        self.has_follower &= fate != Some(State::Waiting);
    }

    fn forget_before(&mut self, at: Moment) {
        self.fates.retain(|(known, _)| *known >= at);
    }
}

impl Knowledge {
    /// A new moment.
    pub(super) fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    /// Another process begins: what was sent to the last one is settled.
    pub(super) fn begin(&mut self) {
        self.changes.clear();
        self.settled.clear();
        self.begun = self.tick();
    }

    /// A task that was accepted, or taken, by this process; `at` the time at which it was sent, if that is
    /// known.
    pub(super) fn meet(&mut self, id: TaskId, at: Option<Moment>, new: impl FnOnce(Moment) -> KnownTask) {
        if self.tasks.contains_key(&id) {
            return;
        }
        let at = at.unwrap_or(self.begun);
        let mut task = new(at);
        for change in self.changes.iter().filter(|change| change.at > at) {
            task.meet(change.at, &change.command, id);
        }
        self.tasks.insert(id, task);
    }

    /// Notes what a worker has done to a task, which changes under way may concern then.
    pub(super) fn note(&mut self, id: TaskId, fate: State) -> Moment {
        let at = self.tick();
        let Some(task) = self.tasks.get_mut(&id) else { return at };
        task.touch(at);
        task.add(at, Some(fate));
        for change in self.changes.iter().filter(|change| !change.is_over) {
            task.meet(at, &change.command, id);
        }
        at
    }

    /// Notes an end that a worker has reported.
    pub(super) fn settle(&mut self, id: TaskId, state: State) {
        let at = self.note(id, state);
        self.settled.push((at, id));
    }

    /// Notes that a change is sent.
    pub(super) fn send(&mut self, command: &AdminCommand) -> Moment {
        let at = self.tick();
        let mut stake = Vec::new();
        let concerns_what_runs = matches!(command, AdminCommand::Cancel(_) | AdminCommand::Flush { .. });
        for (id, task) in &mut self.tasks {
            // What runs and was asked to stop has not ended yet.
            let is_sure = task.is_surely(|known| is_concerned(command, known))
                && !task.may_be_alone
                && (concerns_what_runs || !task.is_leased);
            if task.meet(at, command, *id) && is_sure {
                stake.push(*id);
            }
        }
        self.changes.push(SentChange { at, command: command.clone(), is_over: false, stake });
        at
    }

    /// Notes that a change is over without an effect.
    pub(super) fn refused(&mut self, at: Moment) {
        self.changes.iter_mut().filter(|change| change.at == at).for_each(|change| change.is_over = true);
    }

    /// Notes that a change is done, durably.
    pub(super) fn done(&mut self, at: Moment) {
        let Some(change) = self.changes.iter_mut().find(|change| change.at == at) else { return };
        change.is_over = true;
        let is_flush = matches!(change.command, AdminCommand::Flush { .. });
        for id in &change.stake {
            let Some(task) = self.tasks.get_mut(id) else { continue };
            match change.command {
                // What ran was asked to stop, and may end in another way.
                AdminCommand::Cancel(_) => {
                    task.fates.retain(|(known, fate)| *known >= at || *fate != Some(State::Waiting));
                }
                // What ran goes on.
                _ if is_flush && (task.is_leased || task.touched > at) => {}
                _ => task.forget_before(at),
            }
        }
    }

    /// Settlements before a write that was acknowledged are on the disk.
    pub(super) fn is_sure_before(&mut self, sent: Moment) {
        let Self { settled, tasks, .. } = self;
        settled.retain(|(at, id)| {
            if *at < sent {
                tasks.get_mut(id).into_iter().for_each(|task| task.forget_before(*at));
            }
            *at >= sent
        });
    }

    /// Notes that the leases of all running tasks end.
    pub(super) fn lose_leases(&mut self) {
        let leased = self.tasks.iter().filter(|(_, task)| task.is_leased);
        for id in leased.map(|(id, _)| *id).collect::<Vec<_>>() {
            for state in [State::Waiting, State::Failed, State::Cancelled] {
                self.note(id, state);
            }
            if let Some(task) = self.tasks.get_mut(&id) {
                (task.is_leased, task.may_have_crashed) = (false, true);
            }
        }
    }

    /// The tasks that a change concerns for certain, and that no worker has touched since.
    pub(super) fn untouched<'a>(&'a self, change: &'a SentChange) -> impl Iterator<Item = TaskId> + 'a {
        let is_flush = matches!(change.command, AdminCommand::Flush { .. });
        change.stake.iter().copied().filter(move |id| {
            let task = &self.tasks[id];
            task.touched < change.at && !(is_flush && task.is_leased)
        })
    }
}

/// The fate that a change has for a task, if it may concern it.
fn effect(command: &AdminCommand, id: TaskId, task: &KnownTask) -> Option<Fate> {
    let selects = |selector: &TaskSelector| match selector {
        TaskSelector::Task(task) => *task == id,
        TaskSelector::Batch(batch) => task.batch == Some(*batch),
        TaskSelector::Failed(FailureFilter { queue, .. }) => {
            queue.as_ref().is_none_or(|queue| *queue == task.queue)
        }
    };
    let (is_selected, fate) = match command {
        AdminCommand::Cancel(selector) => (selects(selector), Some(State::Cancelled)),
        AdminCommand::Retry(selector) => (selects(selector), Some(State::Waiting)),
        AdminCommand::Forget(selector) => (selects(selector), None),
        AdminCommand::Flush { queue } => (queue.as_ref().is_none_or(|queue| *queue == task.queue), None),
        _ => (false, None),
    };
    let is_possible = task.fates.iter().any(|(_, known)| is_concerned(command, *known));
    (is_selected && is_possible).then_some(fate)
}

/// Whether a change concerns tasks of this fate.
fn is_concerned(command: &AdminCommand, fate: Fate) -> bool {
    let Some(state) = fate else { return false };
    match command {
        AdminCommand::Cancel(_) | AdminCommand::Flush { .. } => state == State::Waiting,
        AdminCommand::Retry(TaskSelector::Failed(_)) | AdminCommand::Forget(TaskSelector::Failed(_)) => {
            state == State::Failed
        }
        AdminCommand::Retry(_) => state.is_terminal() && state != State::Done,
        AdminCommand::Forget(_) => state.is_terminal(),
        _ => false,
    }
}
