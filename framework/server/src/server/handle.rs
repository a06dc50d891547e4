//! A running server: its addresses, and its shutdown.

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::Durability;
use framework_protocol::views::ListenAddress;
use tokio::time::{Instant, timeout};

use super::control::Control;
use super::frontend::Frontend;
use super::notifier::ReplyTargets;
use super::takeover::control::ReloadControl;
use super::worker::Workers;
use crate::store::Store;

/// The time that the last replies and the last writes may take once the tasks have ended.
pub(super) const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server. Dropping it ends the server at once, whatever is running; [`ServerHandle::stop`] shuts
/// it down in order.
pub struct ServerHandle {
    pub(super) frontend: Frontend,
    pub(super) workers: Workers,
    pub(super) replies: ReplyTargets,
    pub(super) control: Control,
    pub(super) store: Arc<dyn Store>,
}

/// The tasks that are left after a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// The number of tasks that wait, or whose attempt was aborted.
    pub remaining: u64,
    /// These tasks run after the next start.
    pub durable: bool,
}

impl ServerHandle {
    /// Notes the arguments of this server, for a client that stops it to start it again; the first call wins.
    pub fn set_restart_args(&self, arguments: Vec<String>) {
        self.control.shutdown.set_restart_args(arguments);
    }

    /// Waits until a client requests the shutdown, and returns the grace period for
    /// [`ServerHandle::stop_within`].
    pub fn stop_requested(&self) -> impl Future<Output = Duration> + use<> {
        let shutdown = self.control.shutdown.clone();
        async move { shutdown.requested().await }
    }

    /// The reload that is requested, and the clients that follow its progress.
    pub fn reload_control(&self) -> Arc<ReloadControl> {
        self.control.reload.clone()
    }

    /// The addresses: the first listener, the further ones, then the control socket.
    pub fn addresses(&self) -> &[ListenAddress] {
        self.frontend.addresses()
    }

    /// Reads tokens and certificates again if their files have changed, without waiting for the next
    /// connection. Files that cannot be used are logged and change nothing.
    pub fn reload_credentials(&self) {
        self.frontend.reload_credentials();
    }

    /// Shuts down in the order of the stages: no new requests, then no new tasks, then the running tasks
    /// finish within `max_wait_time`, then all of it is settled and reported, then the connections close. The
    /// control socket goes on answering until nothing runs any more.
    ///
    /// A store that does not survive the process has its due tasks run to the end as well, within the same
    /// time.
    pub async fn stop(self) -> ShutdownReport {
        let grace = self.control.shutdown.grace();
        self.stop_within(grace).await
    }

    /// As [`ServerHandle::stop`], with another grace period for the running tasks.
    pub async fn stop_within(mut self, grace: Duration) -> ShutdownReport {
        let deadline = Instant::now() + grace;
        let shutdown = self.control.shutdown.clone();
        shutdown.begin();
        let progress = tokio::spawn(async move { shutdown.report_progress(deadline).await });
        self.frontend.close(deadline).await;
        self.workers.drain(deadline).await;
        self.replies.close_all("The server stops before the task has ended.");
        progress.abort();
        self.frontend.close_control(Instant::now() + FINISH_TIMEOUT).await;
        self.control.shutdown.finished().await;
        if timeout(FINISH_TIMEOUT, self.frontend.finish()).await.is_err() {
            tracing::warn!("not every client has received its replies before the end");
        }
        self.frontend.record_history(FINISH_TIMEOUT).await;
        flush(&*self.store).await;
        self.abort_background().await;
        let ledger = self.store.counts().await.ledger;
        ShutdownReport {
            remaining: ledger.waiting + ledger.running,
            durable: self.store.durability() != Durability::Memory,
        }
    }

    pub(super) async fn abort_background(&mut self) {
        self.workers.abort_background().await;
        self.frontend.abort_background().await;
    }
}

/// Writes what is still on its way to the disk, as far as the disk accepts it in time.
pub(super) async fn flush(store: &dyn Store) {
    if timeout(FINISH_TIMEOUT, store.flush()).await.is_err() {
        tracing::warn!("the disk does not accept the last outcomes; their tasks run once more");
    }
}
