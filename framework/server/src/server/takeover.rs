//! The takeover of a server by a new process: draining, the handover of sockets, queue and waiting clients.
//!
//! The old process drains ([`ServerHandle::drain`]), prepares ([`ServerHandle::prepare_handover`]) and hands
//! over ([`ServerHandle::hand_over`]); the new one starts from the [`Handover`]. What is left of the old
//! process, the [`DrainingServer`], relays the ends of tasks to the clients that still wait there.

pub(super) mod control;
pub(super) mod relay;
pub(super) mod sockets;
mod subscriptions;

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use framework_protocol::{Durability, ErrorCode, RequestError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use self::relay::Relay;
use self::sockets::InheritedSocket;
pub use self::subscriptions::PendingWaiter;
use super::frontend::Frontend;
use super::handle::{FINISH_TIMEOUT, ServerHandle, flush};
use super::notifier::ReplyTargets;
use super::progress_listeners::running;
use super::worker::Workers;

/// The sockets and waiting clients that a server takes over from the old process or a service manager; none
/// by default.
#[derive(Debug, Default)]
pub struct Handover {
    pub sockets: Vec<InheritedSocket>,
    /// The tasks whose ends clients of the old process still wait for.
    pub awaited: Vec<PendingWaiter>,
    /// The stream over which these ends are reported to the old process.
    pub line: Option<UnixStream>,
}

/// A handover with everything that could fail already done.
pub struct PreparedHandover {
    handover: Handover,
    /// The old process's end of the stream over which ends are reported.
    events: UnixStream,
}

/// A server that was taken over and only serves the clients that still wait for replies.
pub struct DrainingServer {
    frontend: Frontend,
    workers: Workers,
    replies: ReplyTargets,
    /// Dropped when the relay is to end.
    relay: Option<oneshot::Sender<()>>,
}

impl ServerHandle {
    /// Why no other process can take over at the moment; `None` if one can.
    pub async fn reload_blocker(&self) -> Option<String> {
        if self.store.durability() == Durability::Memory {
            let reason = "the memory store lives in this process, and no other can have its tasks: use task:restart, \
                          or a durability that survives";
            return Some(reason.to_owned());
        }
        self.store.counts().await.storage_error
    }

    /// Lets no further task begin, and waits for the running ones. With a grace period of zero they are
    /// aborted, and run again later; otherwise, when some have not ended within it, tasks begin again as
    /// before.
    ///
    /// # Errors
    /// The running tasks, when the grace period is over.
    pub async fn drain(&mut self, grace: Duration) -> Result<(), String> {
        let deadline = Instant::now() + grace;
        let reload = self.control.reload.clone();
        let progress = tokio::spawn(async move { reload.report_progress(deadline).await });
        let is_idle = if grace.is_zero() {
            self.workers.abort_running(true).await;
            true
        } else {
            self.workers.pause(deadline).await
        };
        progress.abort();
        if is_idle {
            return Ok(());
        }
        let running = running(&self.store).await;
        self.resume();
        let running: Vec<_> =
            running.iter().map(|(function, count)| format!("{count} of {function}")).collect();
        Err(running.join(", "))
    }

    /// Lets tasks begin again after [`ServerHandle::drain`].
    pub fn resume(&mut self) {
        self.workers.resume();
    }

    /// Prepares a handover, which cannot fail any more after that.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn prepare_handover(&self) -> io::Result<PreparedHandover> {
        let sockets = self.frontend.sockets().iter().map(|socket| socket.try_clone());
        let sockets = sockets.collect::<io::Result<_>>()?;
        let (events, line) = UnixStream::pair()?;
        Ok(PreparedHandover { handover: Handover { sockets, awaited: Vec::new(), line: Some(line) }, events })
    }

    /// Hands everything over after [`ServerHandle::drain`]: reads no further request, settles what has ended,
    /// and unlocks the store. Connections made from now on wait, without being refused, until the new process
    /// accepts them.
    ///
    /// Callbacks that are still running may take as long as `grace`.
    pub async fn hand_over(
        mut self,
        prepared: PreparedHandover,
        grace: Duration,
    ) -> (Handover, DrainingServer) {
        let PreparedHandover { mut handover, events } = prepared;
        let deadline = Instant::now() + grace.max(FINISH_TIMEOUT);
        self.workers.remote().hand_over();
        self.workers.replace_programs().await;
        self.frontend.sockets().iter().for_each(|socket| socket.detach());
        self.frontend.close_control(deadline).await;
        self.frontend.close(deadline).await;
        self.workers.finish(deadline).await;
        self.frontend.record_history(FINISH_TIMEOUT).await;
        flush(&*self.store).await;
        self.store.unlock().await;
        self.abort_background().await;
        let Self { mut frontend, workers, replies, .. } = self;
        let waiting = replies.waiters.take_all().map(|(task, waiter)| (task, waiter, false));
        let error = RequestError::new(ErrorCode::ShuttingDown, "The server is reloaded: connect again.");
        let subscribers = subscriptions::export(&replies.subscriptions, &error);
        let relay = Relay::new(waiting.chain(subscribers));
        handover.awaited = relay.awaited();
        let (end, ended) = oneshot::channel();
        frontend.spawn_clients(relay.run(events, async {
            let _ = ended.await;
        }));
        (handover, DrainingServer { frontend, workers, replies, relay: Some(end) })
    }
}

impl DrainingServer {
    /// Waits until the last client has its reply, or `grace` is over; the others then receive an error. An
    /// aborted task that goes on is not waited for: it ends with this process, and runs again in the new one.
    pub async fn finish(mut self, grace: Duration) {
        let grace = if self.workers.is_stuck() { Duration::ZERO } else { grace };
        if timeout(grace, self.frontend.finish()).await.is_err() {
            self.relay = None;
            self.replies.close_all(relay::RELOADED);
            let _ = timeout(FINISH_TIMEOUT, self.frontend.finish()).await;
        }
    }
}
