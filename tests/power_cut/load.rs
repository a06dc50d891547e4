//! A store under load on a disk whose power goes: what clients were told, and whether it is so afterwards.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use framework::protocol::Durability;
use framework::store::sqlite::SqliteOptions;
use framework::store::{
    AdminCommand, Clock, Disposition, Query, QueryResult, Settlement, Sqlite, Store, StoreOptions,
};
use framework::task::{Handlers, NewTask, TaskId};
use framework::views::{AdminResult, Cancelled, Filter, State, TaskSelector};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;

use super::disk::Disk;
use super::vfs::{Mounted, VFS};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A queue on a disk, and what its clients know of it.
pub(super) struct Load {
    directory: tempfile::TempDir,
    mounted: Option<Mounted>,
    handlers: Arc<Handlers>,
    durability: Durability,
    random: Rng,
    known: RefCell<BTreeMap<TaskId, Known>>,
    /// Rung when a client was told of new tasks.
    told: Notify,
}

/// What is known of a task that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It has not ended as far as anybody was told.
    Waiting,
    /// It has ended so, and a crash may have taken that back.
    Settled(State),
    /// It has ended so, and what was acknowledged later was written after that.
    Sure(State),
}

impl Load {
    pub(super) fn new(seed: u64, durability: Durability, handlers: &Arc<Handlers>) -> Self {
        Self::on(Disk::new(seed), seed, durability, handlers)
    }

    pub(super) fn on(disk: Disk, seed: u64, durability: Durability, handlers: &Arc<Handlers>) -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        Self {
            mounted: Some(Mounted::at(directory.path(), disk)),
            directory,
            handlers: handlers.clone(),
            durability,
            random: Rng::with_seed(seed),
            known: RefCell::default(),
            told: Notify::new(),
        }
    }

    pub(super) fn disk(&self) -> Arc<Disk> {
        self.mounted.as_ref().expect("there always is a disk").disk.clone()
    }

    pub(super) fn open(&self, clock: Clock) -> anyhow::Result<Sqlite> {
        let opening = SqliteOptions {
            durability: self.durability,
            clock,
            vfs: Some(VFS.to_owned()),
            ..SqliteOptions::at(self.directory.path().join("queue.db"))
        };
        Sqlite::open(opening, StoreOptions::default(), self.handlers.clone())
    }

    /// Works until the power goes, starts again, and says what is wrong then.
    pub(super) async fn survive(&mut self) -> Result<(), String> {
        let disk = self.disk();
        // Now and then it goes while the queue is being opened.
        let is_early = self.random.u8(..10) == 0;
        if is_early {
            disk.cut_after(self.random.u64(..40));
        }
        match self.open(Clock::machine()) {
            Ok(store) => {
                if !is_early {
                    disk.cut_after(self.random.u64(..120));
                }
                // Now and then the process stays, and has to say that nothing works any more.
                let waits = self.random.u8(..50) == 0;
                self.work(&store, &disk, waits).await?;
            }
            Err(error) if disk.is_off() => drop(error),
            Err(error) => return Err(format!("{error:#}")),
        }
        self.start_again();
        self.check().await
    }

    /// The next process finds what the cut has left.
    pub(super) fn start_again(&mut self) {
        let left = self.disk().after_power_cut(&mut self.random);
        // What is mounted goes first: one directory, one disk.
        self.mounted = None;
        self.mounted = Some(Mounted::at(self.directory.path(), left));
    }

    /// Clients that push, workers that settle, somebody who cancels: each until the power goes.
    async fn work(&mut self, store: &Sqlite, disk: &Disk, waits: bool) -> Result<(), String> {
        let mut fork = || RefCell::new(self.random.fork());
        let random = [fork(), fork(), fork(), fork(), fork()];
        let this = &*self;
        let clients: [(&str, LocalBoxFuture<'_, ()>); 5] = [
            ("pushing one", this.push_on(store, disk, &random[0], 1).boxed_local()),
            ("pushing many", this.push_on(store, disk, &random[1], 20).boxed_local()),
            ("settling", this.settle_on(store, disk, &random[2]).boxed_local()),
            ("settling", this.settle_on(store, disk, &random[3]).boxed_local()),
            ("cancelling", this.cancel_on(store, disk, &random[4]).boxed_local()),
        ];
        if !waits {
            // The process goes with the power, whatever it was about to do.
            let working = futures_util::future::join_all(clients.map(|(_, client)| client));
            futures_util::future::select(working, std::pin::pin!(disk.off())).await;
            return Ok(());
        }
        let clients = clients.map(|(what, client)| async move {
            let end = tokio::time::timeout(PATIENCE, client).await;
            end.map_err(|_| format!("{what}: no answer although the power is gone"))
        });
        futures_util::future::join_all(clients).await.into_iter().collect()
    }

    async fn push_on(&self, store: &Sqlite, disk: &Disk, random: &RefCell<Rng>, most: usize) {
        while !disk.is_off() {
            let count = random.borrow_mut().usize(1..=most);
            let settled = self.settled();
            let answers = store.push((0..count).map(|_| self.task(random)).collect()).await;
            // What was heard while the power was on was said before the cut.
            if disk.is_off() {
                return;
            }
            let mut known = self.known.borrow_mut();
            for accepted in answers.into_iter().flatten() {
                // It may have been run before its client heard of it.
                known.entry(accepted.id).or_insert(Known::Waiting);
            }
            Self::is_sure(&mut known, &settled);
            drop(known);
            self.told.notify_one();
        }
    }

    /// What was settled before a push that was acknowledged is on the disk.
    fn is_sure(known: &mut BTreeMap<TaskId, Known>, settled: &[(TaskId, State)]) {
        for (id, state) in settled {
            known.insert(*id, Known::Sure(*state));
        }
    }

    fn settled(&self) -> Vec<(TaskId, State)> {
        let known = self.known.borrow();
        let settled = known.iter().filter_map(|(id, known)| match known {
            Known::Settled(state) => Some((*id, *state)),
            _ => None,
        });
        settled.collect()
    }

    fn task(&self, random: &RefCell<Rng>) -> NewTask {
        let text = "x".repeat(random.borrow_mut().usize(..400));
        let args = Bytes::from(format!("\"{text}\""));
        NewTask::from_json(&self.handlers, Some("test_shout"), args).unwrap()
    }

    async fn settle_on(&self, store: &Sqlite, disk: &Disk, random: &RefCell<Rng>) {
        while !disk.is_off() {
            let limit = random.borrow_mut().usize(1..30);
            let leases = store.take(0, limit).await;
            if leases.is_empty() {
                let ready = std::pin::pin!(store.ready(0));
                futures_util::future::select(ready, std::pin::pin!(disk.off())).await;
                continue;
            }
            let mut ends = Vec::new();
            let settle = |lease: &framework::store::Lease| {
                let disposition = match random.borrow_mut().u8(..10) {
                    0 => Disposition::Requeue,
                    1 => Disposition::Failed("out of luck".to_owned()),
                    2 => Disposition::Retry { pause: Duration::ZERO, error: "not yet".to_owned() },
                    _ => Disposition::Done(Bytes::from_static(b"true")),
                };
                match &disposition {
                    Disposition::Done(_) => ends.push((lease.task.id, State::Done)),
                    Disposition::Failed(_) => ends.push((lease.task.id, State::Failed)),
                    _ => {}
                }
                let (task, token) = (lease.task.id, lease.token);
                Settlement {
                    task,
                    token,
                    disposition,
                    started_ms: 0,
                    ran: Duration::ZERO,
                    follow: Vec::new(),
                }
            };
            let settlements = leases.iter().map(settle).collect();
            let answers = store.settle(settlements).await;
            assert!(answers.iter().all(|settled| *settled), "each lease is settled once");
            let mut known = self.known.borrow_mut();
            for (id, state) in ends {
                known.insert(id, Known::Settled(state));
            }
        }
    }

    async fn cancel_on(&self, store: &Sqlite, disk: &Disk, random: &RefCell<Rng>) {
        while !disk.is_off() {
            let told = std::pin::pin!(self.told.notified());
            futures_util::future::select(told, std::pin::pin!(disk.off())).await;
            let id = {
                let known = self.known.borrow();
                let waiting = known.iter().filter(|(_, known)| **known == Known::Waiting);
                random.borrow_mut().choice(waiting.map(|(id, _)| *id).collect::<Vec<_>>())
            };
            let Some(id) = id else { continue };
            let settled = self.settled();
            let answer = store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await;
            if answer == Ok(AdminResult::Cancelled(Cancelled::AtOnce)) && !disk.is_off() {
                let mut known = self.known.borrow_mut();
                known.insert(id, Known::Sure(State::Cancelled));
                Self::is_sure(&mut known, &settled);
            }
        }
    }

    /// Everything that anybody was told is so.
    async fn check(&mut self) -> Result<(), String> {
        let store = self.open(Clock::machine()).map_err(|error| format!("{error:#}"))?;
        let ledger = store.counts().await.ledger;
        if ledger.accepted != ledger.sum() || ledger.running != 0 {
            return Err(format!("{ledger:?} does not balance"));
        }
        let filter = Filter { limit: usize::MAX >> 1, ..Filter::default() };
        let Ok(QueryResult::Tasks(tasks)) = store.query(Query::Tasks(filter)).await else {
            return Err("the tasks cannot be listed".to_owned());
        };
        let states: BTreeMap<_, _> = tasks.iter().map(|task| (task.id, task.state)).collect();
        if states.len() as u64 != ledger.accepted {
            return Err(format!("{} tasks are there, and the ledger is {ledger:?}", states.len()));
        }
        for (id, known) in &*self.known.borrow() {
            let state = states.get(id).copied();
            let is_so = match known {
                Known::Waiting => state.is_some(),
                Known::Settled(end) => state.is_some_and(|state| state == *end || state == State::Waiting),
                Known::Sure(end) => state == Some(*end),
            };
            if !is_so {
                return Err(format!("task {id} was known as {known:?}, and is {state:?}"));
            }
        }
        // What the next process has found stays so.
        let now_known = |(id, state): (&TaskId, &State)| {
            (*id, if state.is_terminal() { Known::Sure(*state) } else { Known::Waiting })
        };
        self.known.replace(states.iter().map(now_known).collect());
        let waiting = states.iter().filter(|(_, state)| **state == State::Waiting).map(|(id, _)| *id);
        let waiting: BTreeSet<_> = waiting.collect();
        let leases = store.take(0, waiting.len() + 1).await;
        let taken: BTreeSet<_> = leases.iter().map(|lease| lease.task.id).collect();
        if taken != waiting || leases.len() != taken.len() {
            return Err(format!("{waiting:?} wait, and {taken:?} can be taken"));
        }
        Ok(())
    }
}
