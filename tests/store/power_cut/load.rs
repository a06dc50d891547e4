//! A store under load through power cuts: the replies to its clients are true afterwards.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use framework::protocol::Durability;
use framework::store::AdminCommand;
use framework::store::Clock;
use framework::store::Disposition;
use framework::store::Query;
use framework::store::QueryResult;
use framework::store::Settlement;
use framework::store::Sqlite;
use framework::store::Store;
use framework::store::StoreOptions;
use framework::task::{Handlers, NewTask, TaskId};
use framework::views::{AdminResult, Cancelled, Filter, State, TaskSelector};

use tokio::sync::Notify;

use super::Survive;
use super::disk::Disk;
use super::machine::Machine;

/// The bound on every reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// A queue on a disk, and the knowledge of its clients.
pub(super) struct Load {
    machine: Machine,
    durability: Durability,
    random: Rng,
    known: RefCell<BTreeMap<TaskId, Known>>,
    /// The tasks that a cancel was sent for. One that runs may end before it stops; if a power cut undoes
    /// that end, it is cancelled after it.
    cancel_requested: RefCell<BTreeSet<TaskId>>,
    /// Notified when new tasks are acknowledged.
    acknowledged: Notify,
}

/// The knowledge of a task that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// No end was reported.
    Waiting,
    /// This end was reported, and a crash may undo it.
    Settled(State),
    /// This end was reported, and a later write was acknowledged.
    Sure(State),
}

impl Load {
    pub(super) fn new(seed: u64, durability: Durability, handlers: &Arc<Handlers>) -> Self {
        Self::on(Disk::new(seed), seed, durability, handlers)
    }

    pub(super) fn on(disk: Disk, seed: u64, durability: Durability, handlers: &Arc<Handlers>) -> Self {
        Self {
            machine: Machine::with(disk, handlers),
            durability,
            random: Rng::with_seed(seed),
            known: RefCell::default(),
            cancel_requested: RefCell::default(),
            acknowledged: Notify::new(),
        }
    }

    pub(super) fn disk(&self) -> Arc<Disk> {
        self.machine.disk()
    }

    pub(super) fn open(&self, clock: Clock) -> anyhow::Result<Sqlite> {
        self.machine.open(self.durability, clock, StoreOptions::default())
    }
}

impl Survive for Load {
    async fn survive(&mut self) -> Result<(), String> {
        let disk = self.disk();
        // Now and then it is cut while the queue is being opened.
        let is_early = self.random.u8(..10) == 0;
        if is_early {
            disk.cut_after(self.random.u64(..40));
        }
        match self.open(Clock::machine()) {
            Ok(store) => {
                if !is_early {
                    disk.cut_after(self.random.u64(..120));
                }
                // Now and then the process stays, and has to report that nothing works any more.
                let waits = self.random.u8(..50) == 0;
                self.work(&store, &disk, waits).await?;
            }
            Err(_) if disk.is_off() => {}
            Err(error) => return Err(format!("{error:#}")),
        }
        self.start_again();
        self.check().await
    }
}

impl Load {
    /// The next process finds what the cut has left.
    pub(super) fn start_again(&mut self) {
        self.machine.start_again(&mut self.random);
    }

    /// Clients that push, workers that settle, and a client that cancels, until the power is cut.
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
            // The process ends with the power, whatever it was about to do.
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
            // A reply that was received before the cut was sent before it.
            if disk.is_off() {
                return;
            }
            let mut known = self.known.borrow_mut();
            for accepted in answers.into_iter().flatten() {
                // It may have run before its client received the reply.
                known.entry(accepted.id).or_insert(Known::Waiting);
            }
            Self::is_sure(&mut known, &settled);
            drop(known);
            self.acknowledged.notify_one();
        }
    }

    /// Settlements before a push that was acknowledged are on the disk.
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
        NewTask::from_json(self.machine.handlers(), Some("test_shout"), args).unwrap()
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
                    worker: None,
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
            let acknowledged = std::pin::pin!(self.acknowledged.notified());
            futures_util::future::select(acknowledged, std::pin::pin!(disk.off())).await;
            let id = {
                let known = self.known.borrow();
                let waiting = known.iter().filter(|(_, known)| **known == Known::Waiting);
                random.borrow_mut().choice(waiting.map(|(id, _)| *id).collect::<Vec<_>>())
            };
            let Some(id) = id else { continue };
            let settled = self.settled();
            self.cancel_requested.borrow_mut().insert(id);
            let answer = store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await;
            if answer == Ok(AdminResult::Cancelled(Cancelled::AtOnce)) && !disk.is_off() {
                let mut known = self.known.borrow_mut();
                known.insert(id, Known::Sure(State::Cancelled));
                Self::is_sure(&mut known, &settled);
            }
        }
    }

    /// Checks that every reply is true.
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
                Known::Settled(end) => state.is_some_and(|state| {
                    let may_be_cancelled = self.cancel_requested.borrow().contains(id);
                    state == *end || state == State::Waiting || state == State::Cancelled && may_be_cancelled
                }),
                Known::Sure(end) => state == Some(*end),
            };
            if !is_so {
                return Err(format!("task {id} was known as {known:?}, and is {state:?}"));
            }
        }
        // The state that this process has found is durable.
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
