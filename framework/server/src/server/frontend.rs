//! The network side of a running server: the listeners with their sessions, and the scheduler, on the I/O
//! threads.

use std::sync::Arc;

use framework_protocol::views::ListenAddress;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::access::policy::ListenerPolicy;
use super::context::SessionContext;
use super::listener::{BoundListener, ListenSocket, Listener};
use super::runtime::ThreadPool;
use super::service::Service;

/// Everything that makes requests: the listeners with their sessions, and the scheduler.
pub(super) struct Frontend {
    runtime: ThreadPool,
    sockets: Vec<Arc<ListenSocket>>,
    policies: Vec<Arc<ListenerPolicy>>,
    service: Arc<Service>,
    /// Raised: nothing more is accepted or read.
    stop: watch::Sender<bool>,
    /// Closed once no request can come any more.
    reading: mpsc::Receiver<()>,
    /// Tasks that end once every client has its last reply.
    clients: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
}

impl Frontend {
    /// Accepts connections on `listeners`, and starts the scheduler. `relay` is the task that reports to the
    /// clients of an old process, if there is one.
    pub(super) fn spawn(
        runtime: ThreadPool,
        listeners: Vec<BoundListener>,
        context: SessionContext,
        relay: Option<JoinHandle<()>>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (guard, reading) = mpsc::channel(1);
        let sockets = listeners.iter().map(|listener| listener.socket.clone()).collect();
        let policies = listeners.iter().map(|listener| listener.policy.clone()).collect();
        let context = Arc::new(context);
        let service = context.service.clone();
        let background = vec![
            runtime.spawn(context.metrics.clone().sample()),
            runtime.spawn(service.intake.clone().run_wakeups()),
            runtime.spawn(service.subscriptions.batches.clone().run()),
            runtime.spawn(service.scheduler.clone().run(stopped.clone(), guard.clone())),
        ];
        let listener = Listener { context, stop: stopped, reading: guard };
        let clients = std::iter::once(runtime.spawn(listener.run(listeners))).chain(relay).collect();
        Self { runtime, sockets, policies, service, stop, reading, clients, background }
    }

    pub(super) fn addresses(&self) -> &[ListenAddress] {
        &self.service.addresses
    }

    pub(super) fn sockets(&self) -> &[Arc<ListenSocket>] {
        &self.sockets
    }

    /// Reads tokens and certificates again if their files have changed.
    pub(super) fn reload_credentials(&self) {
        self.policies.iter().for_each(|policy| policy.reload());
    }

    /// Accepts no further connection, reads no further request, and accepts no further task once those that
    /// were read have their replies. Callbacks of connections may run up to `deadline`.
    pub(super) async fn close(&mut self, deadline: Instant) {
        self.sockets.clear();
        self.stop.send_replace(true);
        if timeout_at(deadline, self.reading.recv()).await.is_err() {
            tracing::warn!("callbacks of connections are still running and are abandoned");
        }
        self.service.store.close();
    }

    /// Waits until every client has its last reply and its connection is closed. May be cancelled and called
    /// again.
    pub(super) async fn finish(&mut self) {
        for task in &mut self.clients {
            if !task.is_finished() {
                let _ = task.await;
            }
        }
    }

    /// Spawns a task that ends once its clients have their last replies.
    pub(super) fn spawn_clients(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.clients.push(self.runtime.spawn(task));
    }

    /// Stops what runs beside the sessions.
    pub(super) async fn abort_background(&mut self) {
        for task in &mut self.background {
            task.abort();
            let _ = task.await;
        }
    }
}
