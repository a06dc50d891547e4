//! The shutdown that a client requests, and the status that it receives until the process has ended.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use framework_protocol::Durability;
use framework_protocol::views::{ShutdownPhase, ShutdownStatus};
use tokio::time::Instant;

use super::outbox::Outbox;
use super::progress_listeners::{ControlRequest, INTERVAL, running};
use super::stream::Stream;
use crate::store::Store;

/// The shutdown of a server, once it is requested.
pub(super) struct ShutdownControl {
    request: ControlRequest<ShutdownStatus>,
    restart_args: OnceLock<Vec<String>>,
    is_under_way: AtomicBool,
    store: Arc<dyn Store>,
}

impl ShutdownControl {
    /// `grace` is the time for running tasks where the request names none.
    pub(super) fn new(store: Arc<dyn Store>, grace: Duration) -> Self {
        let is_under_way = AtomicBool::new(false);
        Self { request: ControlRequest::new(grace), restart_args: OnceLock::new(), is_under_way, store }
    }

    /// The grace period where the request names none.
    pub(super) fn grace(&self) -> Duration {
        self.request.grace
    }

    /// Notes that the shutdown has begun.
    pub(super) fn begin(&self) {
        self.is_under_way.store(true, Ordering::SeqCst);
    }

    /// `true` once the shutdown has begun, whoever has asked for it.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::SeqCst)
    }

    /// Notes the arguments that start the server again.
    pub(super) fn set_restart_args(&self, arguments: Vec<String>) {
        let _ = self.restart_args.set(arguments); // the first call wins
    }

    /// Requests the shutdown for a connection, which follows its progress. Counts as a request in flight,
    /// until the end.
    pub(super) async fn request(&self, outbox: &Arc<Outbox>, id: Option<&str>, grace: Option<Duration>) {
        let grace = grace.unwrap_or(self.request.grace);
        let status = self.status(ShutdownPhase::Stopping, grace).await;
        self.request.request_from(outbox, id, grace, &status);
    }

    /// Waits for the request and returns its grace period.
    pub(super) async fn requested(&self) -> Duration {
        self.request.requested().await
    }

    /// Sends the progress up to `deadline` to the connections that follow it; never ends.
    pub(super) async fn report_progress(&self, deadline: Instant) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if self.request.has_followers() {
                let grace = deadline.saturating_duration_since(Instant::now());
                self.request.update(&self.status(ShutdownPhase::Stopping, grace).await);
            }
        }
    }

    /// Sends that everything is settled.
    pub(super) async fn finished(&self) {
        self.request.finish(&self.status(ShutdownPhase::Stopped, Duration::ZERO).await);
    }

    /// Returns the stream of an ended session, unless it follows the shutdown: that one is closed by the end
    /// of the process and no sooner.
    pub(super) fn keep_open(&self, outbox: &Arc<Outbox>, stream: Stream) -> Option<Stream> {
        if self.request.is_followed_by(outbox) {
            mem::forget(stream);
            return None;
        }
        Some(stream)
    }

    async fn status(&self, phase: ShutdownPhase, grace: Duration) -> ShutdownStatus {
        let ledger = self.store.counts().await.ledger;
        ShutdownStatus {
            phase,
            pid: std::process::id(),
            arguments: self.restart_args.get().cloned().unwrap_or_default(),
            grace_ms: grace.as_millis() as u64,
            running: if ledger.running > 0 { running(&self.store).await } else { BTreeMap::new() },
            remaining: ledger.waiting + ledger.running,
            durable: self.store.durability() != Durability::Memory,
        }
    }
}
