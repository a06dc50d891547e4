//! A server that runs: how it is stopped, and how it gives its place to another.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::views::ListenAddress;
use framework_protocol::{Durability, ErrorCode, RequestError};
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::handover::{Handover, Relay};
use super::intake::Intake;
use super::listener::Socket;
use super::policy::ListenerPolicy;
use super::reload::ReloadControl;
use super::runtime::ThreadPool;
use super::shutdown::ShutdownControl;
use super::subscriptions::Subscriptions;
use super::waiters::Waiters;
use super::worker::WorkerPool;
use crate::store::Store;

/// How long a stop waits for what cannot take long once the tasks are over.
const GRACE: Duration = Duration::from_secs(2);

/// A server that runs. Dropping it ends it at once, whatever is under way; [`ServerHandle::stop`] ends it properly.
pub struct ServerHandle {
    pub(super) pools: [ThreadPool; 2],
    pub(super) addresses: Vec<ListenAddress>,
    pub(super) sockets: Vec<Arc<Socket>>,
    pub(super) policies: Vec<Arc<ListenerPolicy>>,
    pub(super) max_wait_time: Duration,
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Intake,
    pub(super) stop: watch::Sender<bool>,
    pub(super) reading: mpsc::Receiver<()>,
    pub(super) listener: JoinHandle<()>,
    pub(super) work: WorkerRuntime,
    /// Tells the server before this one what becomes of its clients' tasks, until that has ended.
    pub(super) telling: Option<JoinHandle<()>>,
    pub(super) ending: Arc<ShutdownControl>,
    pub(super) reload_control: Arc<ReloadControl>,
}

/// The clients that hear of tasks.
pub(super) struct ReplyTargets {
    pub(super) waiters: Arc<Waiters>,
    pub(super) subscriptions: Arc<Subscriptions>,
}

/// The rooms behind the queue while they are open.
pub(super) struct WorkerRuntime {
    pools: Vec<Arc<WorkerPool>>,
    threads: usize,
    /// Raised, or gone, when no further task is to begin.
    pause: watch::Sender<bool>,
    halt: watch::Sender<bool>,
    pullers: Vec<JoinHandle<()>>,
    /// Whether a task that was given up goes on all the same, as a blocking one may.
    is_stuck: bool,
    notifier: JoinHandle<()>,
    /// What goes on beside the rooms for as long as they need it.
    add_background: Vec<JoinHandle<()>>,
    pub(super) hearing: ReplyTargets,
}

/// What was left when a server had stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Tasks that wait, or whose attempt was given up.
    pub remaining: u64,
    /// Whether these will be run after the next start.
    pub durable: bool,
}

/// What is left of a server that has given its place to another: the clients that still wait for an answer.
pub struct DrainingServer {
    _pools: [ThreadPool; 2],
    hearing: ReplyTargets,
    listener: JoinHandle<()>,
    relay: JoinHandle<()>,
    telling: Option<JoinHandle<()>>,
    /// Dropped when nobody is to wait any more.
    grace: Option<oneshot::Sender<()>>,
    is_stuck: bool,
}

/// What is needed to give everything away, which can then not fail any more.
pub struct PreparedHandover {
    handover: Handover,
    ours: UnixStream,
}

impl ReplyTargets {
    pub(super) fn new(store: &Arc<dyn Store>) -> Self {
        Self { waiters: Arc::default(), subscriptions: Arc::new(Subscriptions::new(store.clone())) }
    }

    /// Tells everybody who still waits that nothing will come.
    fn close_all(&self, reason: &str) {
        let refusal = RequestError::new(ErrorCode::ShuttingDown, reason);
        self.waiters.close_all(&refusal);
        self.subscriptions.close_all(&refusal);
    }
}

impl WorkerRuntime {
    pub(super) fn new(
        pools: Vec<Arc<WorkerPool>>,
        threads: usize,
        halt: watch::Sender<bool>,
        notifier: JoinHandle<()>,
        beside: Vec<JoinHandle<()>>,
        hearing: ReplyTargets,
    ) -> Self {
        let (rest, _) = watch::channel(true);
        Self {
            pools,
            threads,
            pause: rest,
            halt,
            pullers: Vec::new(),
            is_stuck: false,
            notifier,
            add_background: beside,
            hearing,
        }
    }

    pub(super) fn add_background(&mut self, tasks: impl IntoIterator<Item = JoinHandle<()>>) {
        self.add_background.extend(tasks);
    }

    /// Lets tasks begin: starts the pullers of each line, one for each thread as far as there are workers.
    pub(super) fn resume(&mut self, tasks: &ThreadPool) {
        let (rest, rests) = watch::channel(false);
        self.pause = rest;
        self.halt.send_replace(false);
        for pool in &self.pools {
            let pullers = (0..self.threads.min(pool.count)).map(|_| pool.clone().run_puller(rests.clone()));
            self.pullers.extend(pullers.map(|puller| tasks.spawn(puller)));
        }
    }

    /// Lets no further task begin, and waits until those under way have ended; `false` when some have not by then.
    async fn pause(&mut self, deadline: Instant) -> bool {
        self.pause.send_replace(true);
        self.wait_idle(deadline).await
    }

    /// Waits until the pullers have ended, as they do when a store has nothing more to give; `false` when some have not
    /// by then.
    async fn wait_idle(&mut self, deadline: Instant) -> bool {
        // Whoever waited before may have heard of some and not told.
        self.pullers.retain(|puller| !puller.is_finished());
        timeout_at(deadline, join_all(&mut self.pullers)).await.is_ok()
    }

    /// Gives up the tasks under way.
    async fn abort_running(&mut self) {
        self.halt.send_replace(true);
        self.is_stuck = !self.pause(Instant::now() + GRACE).await;
        if self.is_stuck {
            tracing::warn!("a task does not let go of its thread");
        }
    }

    /// Lets the rooms end one after the other, each when the one before it is gone and its inbox is empty; `false` when
    /// callbacks take longer.
    async fn drain_pipeline(&mut self, deadline: Instant) -> bool {
        self.pools.clear();
        timeout_at(deadline.max(Instant::now() + GRACE), &mut self.notifier).await.is_ok()
    }

    async fn abort_background(&mut self) {
        for task in &mut self.add_background {
            task.abort();
            drop(task.await);
        }
    }
}

impl ServerHandle {
    /// Notes what the server was started with, for whoever stops it to start it again.
    pub fn set_restart_args(&self, arguments: Vec<String>) {
        self.ending.set_restart_args(arguments);
    }

    /// Waits until a client asks for the end, and tells how long running tasks may take: [`ServerHandle::stop_within`].
    pub fn stop_requested(&self) -> impl Future<Output = Duration> + use<> {
        let ending = self.ending.clone();
        async move { ending.requested().await }
    }

    /// Whether a reload is asked for, and who hears of it.
    pub fn reload_control(&self) -> Arc<ReloadControl> {
        self.reload_control.clone()
    }

    /// Where it listens: the first listener, the further ones, then the control socket.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// Looks now whether the files of tokens and certificates have changed, which it otherwise does when somebody
    /// connects. What cannot be used leaves what was in force, and is logged.
    pub fn reload_credentials(&self) {
        self.policies.iter().for_each(|policy| policy.reload());
    }

    /// Ends the server in the order of the rooms: no new requests, then no new tasks, then the running tasks
    /// finish within `max_wait_time`, then all of it is settled and told, then the connections close.
    ///
    /// A store that does not survive the process has its due tasks run to the end as well, within the same time.
    pub async fn stop(self) -> ShutdownReport {
        let grace = self.max_wait_time;
        self.stop_within(grace).await
    }

    /// As [`ServerHandle::stop`], with a time of its own for the running tasks.
    pub async fn stop_within(mut self, grace: Duration) -> ShutdownReport {
        let deadline = Instant::now() + grace;
        let ending = self.ending.clone();
        let telling = tokio::spawn(async move { ending.report_progress(deadline).await });
        self.sockets.clear();
        self.close_doors(deadline).await;
        // Those of a store that survives the process find nothing more to pull.
        if !self.work.wait_idle(deadline).await {
            tracing::warn!("running tasks are given up after {grace:?}");
            self.work.abort_running().await;
        }
        let notified = self.work.drain_pipeline(deadline).await;
        self.work.hearing.close_all("The server stops before the task has ended.");
        telling.abort();
        self.ending.finished().await;
        let told = async {
            drop((&mut self.listener).await);
            ended(self.telling.as_mut()).await;
        };
        let told = timeout(GRACE, told).await;
        if !notified || told.is_err() {
            tracing::warn!("not every client could be told before the end");
        }
        self.flush().await;
        self.work.abort_background().await;
        let ledger = self.store.counts().await.ledger;
        ShutdownReport {
            remaining: ledger.waiting + ledger.running,
            durable: self.store.durability() != Durability::Memory,
        }
    }

    /// Reads no further request, and accepts no further task once those that were read have been answered.
    async fn close_doors(&mut self, deadline: Instant) {
        self.stop.send_replace(true);
        if timeout_at(deadline, self.reading.recv()).await.is_err() {
            tracing::warn!("callbacks of connections still run and are given up");
        }
        self.queue.close();
    }

    async fn flush(&self) {
        if timeout(GRACE, self.store.flush()).await.is_err() {
            tracing::warn!("the disk does not take the last ends; their tasks run once more");
        }
    }

    /// Why nobody can take this server's place at the moment, if that is so.
    pub async fn reload_blocker(&self) -> Option<String> {
        if self.store.durability() == Durability::Memory {
            let reason = "the memory store lives in this process, and no other can have its tasks: use task:restart, \
                          or a durability that survives";
            return Some(reason.to_owned());
        }
        self.store.counts().await.storage_error
    }

    /// Begins no further task, and waits until those under way have ended. With a patience of zero they are given up,
    /// and run again later; otherwise, when some have not ended within it, tasks begin again as before.
    ///
    /// # Errors
    /// What still runs.
    pub async fn drain(&mut self, grace: Duration) -> Result<(), String> {
        let deadline = Instant::now() + grace;
        let reload = self.reload_control.clone();
        let telling = tokio::spawn(async move { reload.report_progress(deadline).await });
        let is_over = match grace.is_zero() {
            true => {
                self.work.abort_running().await;
                true
            }
            false => self.work.pause(deadline).await,
        };
        telling.abort();
        if is_over {
            return Ok(());
        }
        let running = super::progress_listeners::running(&self.store).await;
        self.resume();
        let running: Vec<_> =
            running.iter().map(|(function, count)| format!("{count} of {function}")).collect();
        Err(running.join(", "))
    }

    /// Lets tasks begin again after [`ServerHandle::drain`].
    pub fn resume(&mut self) {
        self.work.resume(&self.pools[1]);
    }

    /// Prepares to give everything away.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub fn prepare_handover(&self) -> io::Result<PreparedHandover> {
        let sockets = self.sockets.iter().map(|socket| socket.try_clone()).collect::<io::Result<_>>()?;
        let (ours, line) = UnixStream::pair()?;
        Ok(PreparedHandover { handover: Handover { sockets, awaited: Vec::new(), line: Some(line) }, ours })
    }

    /// Gives everything away after [`ServerHandle::drain`]: reads no further request, settles what has ended, and lets go of
    /// the store. Whoever connects from now on waits, without being refused, until the sockets are accepted from again.
    ///
    /// Callbacks that still run may take as long as `grace`.
    pub async fn hand_over(mut self, offer: PreparedHandover, grace: Duration) -> (Handover, DrainingServer) {
        let PreparedHandover { mut handover, ours } = offer;
        let deadline = Instant::now() + grace.max(GRACE);
        self.sockets.iter().for_each(|socket| socket.detach());
        self.sockets.clear();
        self.close_doors(deadline).await;
        if !self.work.drain_pipeline(deadline).await {
            tracing::warn!("a callback still runs, and cannot push a task any more");
        }
        self.flush().await;
        let tickets = self.store.unlock().await;
        self.work.abort_background().await;
        let Self { pools, listener, telling, work: WorkerRuntime { hearing, is_stuck, .. }, .. } = self;
        let waiting = tickets.into_iter().filter_map(|(task, waiter)| {
            let waiter = hearing.waiters.take(waiter)?;
            Some((task, waiter, false))
        });
        let reason = RequestError::new(ErrorCode::ShuttingDown, "The server is reloaded: connect again.");
        let relay = Relay::new(waiting.chain(hearing.subscriptions.export(&reason)));
        handover.awaited = relay.awaited();
        let (grace, over) = oneshot::channel();
        let relay = pools[0].spawn(relay.run(ours, async { drop(over.await) }));
        let grace = Some(grace);
        (handover, DrainingServer { _pools: pools, hearing, listener, relay, telling, grace, is_stuck })
    }
}

impl DrainingServer {
    /// Waits until the last client has its answer, or `grace` is over; then the others are told that none will come.
    /// Nobody waits beside a task that was given up and goes on: it ends with this process, and runs in the next one.
    pub async fn finish(mut self, grace: Duration) {
        let grace = if self.is_stuck { Duration::ZERO } else { grace };
        if timeout(grace, self.answered()).await.is_err() {
            let Self { hearing, grace, .. } = &mut self;
            *grace = None;
            hearing.close_all("The server was reloaded while the task waited: ask for its result again.");
            drop(timeout(GRACE, self.answered()).await);
        }
    }

    async fn answered(&mut self) {
        let tasks = [Some(&mut self.listener), Some(&mut self.relay), self.telling.as_mut()];
        for task in tasks {
            ended(task).await;
        }
    }
}

/// Waits for the end of a task, which may be asked for again.
async fn ended(task: Option<&mut JoinHandle<()>>) {
    if let Some(task) = task.filter(|task| !task.is_finished()) {
        drop(task.await);
    }
}
