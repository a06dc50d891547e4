//! Batches, keys, chains and changes of many tasks through power cuts, also between the steps of a change.

use std::cell::{RefCell, RefMut};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use framework::protocol::{Durability, ErrorCode};
use framework::store::{
    AdminCommand, Clock, Disposition, Lease, Query, QueryResult, Settlement, Sqlite, Store, StoreOptions,
};
use framework::task::{Handlers, NewTask, TaskId};
use framework::views::{AdminResult, State};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, select, try_join_all};

use super::Survive;
use super::disk::Disk;
use super::knowledge::{Knowledge, KnownTask};
use super::machine::Machine;

/// The queues, each with a client that changes what is in it.
pub(super) const QUEUES: [&str; 2] = ["cut_a", "cut_b"];
const LEASE: Duration = Duration::from_secs(5);
/// The number of different keys.
const KEYS: usize = 8;

/// A queue on a disk, and the knowledge of its clients.
pub(super) struct Changes {
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    options: StoreOptions,
    random: Rng,
    knowledge: RefCell<Knowledge>,
}

/// What one client needs.
pub(super) struct Client<'a> {
    pub(super) play: &'a Changes,
    pub(super) store: &'a Sqlite,
    pub(super) disk: &'a Disk,
    random: RefCell<Rng>,
}

impl Changes {
    pub(super) fn on(disk: Disk, seed: u64, handlers: &Arc<Handlers>) -> Self {
        let mut random = Rng::with_seed(seed);
        let options = StoreOptions {
            lease: LEASE,
            // Now and then all of a change is one step.
            change_chunk: [1, 2, 3, 50][random.usize(..4)],
            hot_bytes: [0, 500, 1 << 20][random.usize(..3)],
            ..StoreOptions::default()
        };
        Self {
            machine: Machine::with(disk, handlers),
            clock: Clock::fake(1_767_225_600_000),
            options,
            random,
            knowledge: RefCell::default(),
        }
    }

    pub(super) fn knowledge(&self) -> RefMut<'_, Knowledge> {
        self.knowledge.borrow_mut()
    }

    pub(super) fn open(&mut self) -> anyhow::Result<Sqlite> {
        self.clock = Clock::fake(self.clock.now().wall_ms);
        self.machine.open(Durability::Fsync, self.clock.clone(), self.options.clone())
    }

    async fn work(&mut self, store: &Sqlite, disk: &Disk) -> Result<(), String> {
        let random: Vec<_> = (0..5).map(|_| RefCell::new(self.random.fork())).collect();
        let this = &*self;
        let clients: Vec<_> =
            random.into_iter().map(|random| Client { play: this, store, disk, random }).collect();
        let all: Vec<LocalBoxFuture<'_, _>> = vec![
            clients[0].change_on(QUEUES[0]).boxed_local(),
            clients[1].change_on(QUEUES[1]).boxed_local(),
            clients[2].push_on().boxed_local(),
            clients[3].settle_on().boxed_local(),
            clients[4].settle_on().boxed_local(),
        ];
        // The process ends with the power, whatever it was about to do.
        match select(try_join_all(all), std::pin::pin!(disk.off())).await {
            futures_util::future::Either::Left((ended, _)) => ended.map(drop),
            futures_util::future::Either::Right(_) => Ok(()),
        }
    }

    /// Lets the next process go on with what the last one has left, and cuts the power meanwhile.
    async fn interrupt_recovery(&mut self) -> Result<(), String> {
        let disk = self.machine.disk();
        disk.cut_after(self.random.u64(..60));
        match self.open() {
            Ok(store) => {
                let ended = std::pin::pin!(changes_end(&store));
                select(ended, std::pin::pin!(disk.off())).await;
            }
            Err(_) if disk.is_off() => {}
            Err(error) => return Err(format!("{error:#}")),
        }
        self.machine.start_again(&mut self.random);
        Ok(())
    }
}

impl Survive for Changes {
    async fn survive(&mut self) -> Result<(), String> {
        let disk = self.machine.disk();
        let is_early = self.random.u8(..10) == 0;
        if is_early {
            disk.cut_after(self.random.u64(..60));
        }
        self.knowledge().begin();
        match self.open() {
            Ok(store) => {
                if !is_early {
                    disk.cut_after(self.random.u64(..500));
                }
                self.work(&store, &disk).await?;
            }
            Err(_) if disk.is_off() => {}
            Err(error) => return Err(format!("{error:#}")),
        }
        self.machine.start_again(&mut self.random);
        while self.random.u8(..3) == 0 {
            self.interrupt_recovery().await?;
        }
        self.check().await
    }
}

/// Waits until no change of many tasks is under way.
pub(super) async fn changes_end(store: &Sqlite) {
    while let Ok(QueryResult::Changes(changes)) = store.query(Query::Changes).await {
        if changes.is_empty() {
            return;
        }
    }
}

impl Client<'_> {
    pub(super) fn number(&self, below: usize) -> usize {
        self.random.borrow_mut().usize(..below)
    }

    pub(super) fn one_of<T: Copy>(&self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.number(all.len())])
    }

    pub(super) fn task(&self, queue: &str, args: &str) -> NewTask {
        let args = Bytes::from(serde_json::to_vec(args).unwrap());
        let mut task = NewTask::from_json(self.play.machine.handlers(), Some("test_shout"), args).unwrap();
        task.queue = queue.into();
        task
    }

    /// Sends a change; its result if it was carried out.
    pub(super) async fn apply(&self, command: AdminCommand) -> Result<Option<AdminResult>, String> {
        let at = self.play.knowledge().send(&command);
        let result = self.store.apply(command.clone()).await;
        // A reply that was received before the cut was sent before it.
        if self.disk.is_off() {
            return Ok(None);
        }
        let mut knowledge = self.play.knowledge();
        match result {
            Ok(result) => {
                knowledge.done(at);
                knowledge.is_sure_before(at);
                Ok(Some(result))
            }
            Err(refusal) if matches!(refusal.code, ErrorCode::Conflict | ErrorCode::UnknownTask) => {
                knowledge.refused(at);
                Ok(None)
            }
            Err(refusal) => Err(format!("{command:?} is refused: {refusal}")),
        }
    }

    /// Pushes tasks, and notes those that are accepted; returns their number.
    pub(super) async fn push(&self, tasks: Vec<NewTask>) -> Result<usize, String> {
        let at = self.play.knowledge().tick();
        let answers = self.store.push(tasks.clone()).await;
        if self.disk.is_off() {
            return Ok(0);
        }
        let mut count = 0;
        let mut knowledge = self.play.knowledge();
        if answers.iter().any(Result::is_ok) {
            knowledge.is_sure_before(at);
        }
        for (answer, new) in answers.into_iter().zip(tasks) {
            let accepted = match answer {
                Ok(accepted) => accepted,
                // The batch was sealed or cancelled meanwhile.
                Err(refusal) if refusal.code == ErrorCode::Conflict => continue,
                Err(refusal) => return Err(format!("a task is refused: {refusal}")),
            };
            count += 1;
            let key = new.extra.as_ref().and_then(|extra| extra.key.clone());
            let of = |at| KnownTask::of(&new.queue, new.batch(), key.as_deref(), at);
            knowledge.meet(accepted.id, accepted.is_new().then_some(at), of);
            let expires = new.extra.as_ref().is_some_and(|extra| extra.expires.is_some());
            if let Some(task) = knowledge.tasks.get_mut(&accepted.id).filter(|_| expires) {
                task.expires(at);
            }
            let other = knowledge.tasks.iter().find(|(id, other)| {
                key.is_some()
                    && other.key == key.as_deref().map(str::to_owned)
                    && **id != accepted.id
                    && !other.may_be(None)
            });
            if let Some((other, _)) = other {
                return Err(format!("key {key:?} belongs to task {other}, and to task {}", accepted.id));
            }
        }
        Ok(count)
    }

    async fn push_on(&self) -> Result<(), String> {
        while !self.disk.is_off() {
            let tasks = (0..=self.number(3)).map(|_| {
                let queue = QUEUES[self.number(2)];
                let mut task = self.task(queue, "plain");
                match self.number(4) {
                    0 | 1 => {
                        // The tasks of one key are of one queue.
                        let number = self.number(KEYS);
                        let key = format!("key {number}");
                        task = self.task(QUEUES[number % 2], &key);
                        task.extra_mut().key = Some(key.into());
                    }
                    2 => {
                        let soon = framework::task::Due::After(Duration::from_secs(1));
                        task.extra_mut().expires = Some(soon);
                    }
                    _ => {}
                }
                task
            });
            self.push(tasks.collect()).await?;
            for _ in 0..self.number(20) {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn settle_on(&self) -> Result<(), String> {
        let mut leases = Vec::new();
        while !self.disk.is_off() {
            let some = self.store.take(0, 1 + self.number(6)).await;
            self.note_taken(&some)?;
            leases.extend(some);
            if leases.is_empty() {
                let ready = std::pin::pin!(self.store.ready(0));
                select(ready, std::pin::pin!(self.disk.off())).await;
                continue;
            }
            // Others change what runs meanwhile.
            for _ in 0..self.number(12) {
                tokio::task::yield_now().await;
            }
            let count = 1 + self.number(leases.len());
            self.settle(leases.drain(..count).collect()).await?;
            match self.number(40) {
                0 => self.lose_leases().await,
                1 => self.play.clock.advance(Duration::from_secs(1)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn lose_leases(&self) {
        self.play.clock.advance(LEASE);
        self.store.renew(Vec::new()).await;
        self.play.knowledge().lose_leases();
    }

    fn note_taken(&self, leases: &[Lease]) -> Result<(), String> {
        let mut knowledge = self.play.knowledge();
        let at = knowledge.tick();
        for Lease { task, .. } in leases {
            knowledge.meet(task.id, None, |at| KnownTask::new(task, at));
            knowledge.note_args(task.id, &task.new.args);
            if let Some(batch) = task.new.batch() {
                knowledge.check_runs(batch).map_err(|error| format!("task {} runs, {error}", task.id))?;
            }
            let Some(known) = knowledge.tasks.get_mut(&task.id) else { continue };
            if !known.may_be(Some(State::Waiting)) {
                return Err(format!("task {} is taken, and was {:?}", task.id, known.fates()));
            }
            known.is_leased = true;
            known.touch(at);
        }
        Ok(())
    }

    async fn settle(&self, leases: Vec<Lease>) -> Result<(), String> {
        let disposition = || match self.number(10) {
            0 => Disposition::Requeue,
            1..=3 => Disposition::Failed("out of luck".to_owned()),
            4 => Disposition::Retry { pause: Duration::ZERO, error: "not yet".to_owned() },
            _ => Disposition::Done(Bytes::from_static(b"true")),
        };
        let settlement = |lease: &Lease| {
            let disposition = disposition();
            let has_follower = matches!(disposition, Disposition::Done(_)) && self.number(4) == 0;
            let follow = has_follower.then(|| self.task("cut_chain", &format!("after {}", lease.task.id)));
            Settlement {
                task: lease.task.id,
                token: lease.token,
                disposition,
                started_ms: 0,
                ran: Duration::ZERO,
                worker: None,
                follow: follow.into_iter().collect(),
            }
        };
        let settlements: Vec<_> = leases.iter().map(settlement).collect();
        let sent = settlements.iter().map(|one| (one.task, end_of(&one.disposition), !one.follow.is_empty()));
        let sent: Vec<(TaskId, Option<State>, bool)> = sent.collect();
        let answers = self.store.settle(settlements).await;
        let mut knowledge = self.play.knowledge();
        for ((id, end, has_follower), is_settled) in sent.into_iter().zip(answers) {
            let Some(task) = knowledge.tasks.get_mut(&id) else { continue };
            if !is_settled {
                // A lease that was lost may be held by another worker by now.
                if !task.may_have_crashed {
                    return Err(format!("the lease of task {id} is not held any more"));
                }
                continue;
            }
            task.is_leased = false;
            task.has_follower = has_follower;
            match end {
                Some(end) => knowledge.settle(id, end),
                None => drop(knowledge.note(id, State::Waiting)),
            }
        }
        Ok(())
    }
}

fn end_of(disposition: &Disposition) -> Option<State> {
    match disposition {
        Disposition::Done(_) => Some(State::Done),
        Disposition::Failed(_) => Some(State::Failed),
        _ => None,
    }
}
