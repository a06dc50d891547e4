//! The network side of a running server: the listeners with their sessions, and the scheduler, on the I/O
//! threads.

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::views::ListenAddress;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::access::policy::ListenerPolicy;
use super::context::SessionContext;
use super::history::HistoryRecorder;
use super::listener::{Admission, BoundListener, ListenSocket, Listener};
use super::runtime::ThreadPool;
use super::service::Service;
use super::worker::isolated::ChildConnection;

/// Everything that makes requests: the listeners with their sessions, and the scheduler.
pub(super) struct Frontend {
    runtime: ThreadPool,
    sockets: Vec<Arc<ListenSocket>>,
    policies: Vec<Arc<ListenerPolicy>>,
    service: Arc<Service>,
    /// Of all listeners but the control socket.
    public: AdmissionControl,
    /// Of the control socket, which stays open during a shutdown.
    control: AdmissionControl,
    /// Tasks that end once every client has its last reply.
    clients: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    history: Arc<HistoryRecorder>,
    /// Notices revoked tokens, for as long as there are clients.
    token_watch: Option<JoinHandle<()>>,
}

/// Admits connections and requests of some listeners until it is closed.
struct AdmissionControl {
    /// Raised: nothing more is accepted or read.
    stop: watch::Sender<bool>,
    /// Closed once no request can come any more.
    reading: mpsc::Receiver<()>,
}

impl AdmissionControl {
    fn open() -> (Self, Admission) {
        let (stop, stopped) = watch::channel(false);
        let (guard, reading) = mpsc::channel(1);
        (Self { stop, reading }, Admission { stop: stopped, reading: guard })
    }

    /// Accepts no further connection, and waits until no request can come any more; callbacks of connections
    /// may run up to `deadline`.
    async fn close(&mut self, deadline: Instant) {
        self.stop.send_replace(true);
        if timeout_at(deadline, self.reading.recv()).await.is_err() {
            tracing::warn!("callbacks of connections are still running and are abandoned");
        }
    }
}

impl Frontend {
    /// Accepts connections on `listeners`, serves those of `children`, and starts the scheduler. `relay` is
    /// the task that reports to the clients of an old process, if there is one.
    pub(super) fn spawn(
        runtime: ThreadPool,
        listeners: Vec<BoundListener>,
        children: mpsc::Receiver<ChildConnection>,
        context: SessionContext,
        relay: Option<JoinHandle<()>>,
    ) -> Self {
        let (public, admission) = AdmissionControl::open();
        let (control, control_admission) = AdmissionControl::open();
        let sockets = listeners.iter().map(|listener| listener.socket.clone()).collect();
        let policies: Vec<_> = listeners.iter().map(|listener| listener.policy.clone()).collect();
        // All listeners share the tokens.
        let token_watch = policies.iter().find_map(|policy| policy.watch_tokens());
        let token_watch = token_watch.map(|watch| runtime.spawn(watch));
        let context = Arc::new(context);
        let service = context.service.clone();
        let history = Arc::new(HistoryRecorder::new(service.store.clone(), context.metrics.clone()));
        let background = vec![
            runtime.spawn(history.clone().run()),
            runtime.spawn(context.metrics.clone().sample()),
            runtime.spawn(service.intake.clone().run_wakeups()),
            runtime.spawn(service.subscriptions.batches.clone().run()),
            runtime.spawn(service.scheduler.clone().run(admission.stop.clone(), admission.reading.clone())),
        ];
        let listener = Listener { context, public: admission, control: control_admission };
        let clients =
            std::iter::once(runtime.spawn(listener.run(listeners, children))).chain(relay).collect();
        Self {
            runtime,
            sockets,
            policies,
            service,
            public,
            control,
            clients,
            background,
            history,
            token_watch,
        }
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
    /// were read have their replies. Callbacks of connections may run up to `deadline`. The control socket
    /// stays open.
    pub(super) async fn close(&mut self, deadline: Instant) {
        self.sockets.clear();
        self.public.close(deadline).await;
        self.service.store.close();
    }

    /// Closes the control socket as well.
    pub(super) async fn close_control(&mut self, deadline: Instant) {
        self.control.close(deadline).await;
    }

    /// Waits until every client has its last reply and its connection is closed. May be cancelled and called
    /// again.
    pub(super) async fn finish(&mut self) {
        for task in &mut self.clients {
            if !task.is_finished() {
                let _ = task.await;
            }
        }
        self.token_watch.iter().for_each(JoinHandle::abort);
    }

    /// Spawns a task that ends once its clients have their last replies.
    pub(super) fn spawn_clients(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.clients.push(self.runtime.spawn(task));
    }

    /// Writes the history of the minute that is under way, as far as the disk accepts it in time.
    pub(super) async fn record_history(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.history.record()).await;
    }

    /// Stops what runs beside the sessions.
    pub(super) async fn abort_background(&mut self) {
        for task in &mut self.background {
            task.abort();
            let _ = task.await;
        }
    }
}
