//! The end of the server that a client asks for, and what the client hears of it until it has come.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use framework_protocol::Durability;
use framework_protocol::views::{ShutdownPhase, ShutdownStatus};
use tokio::sync::watch;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::progress_listeners::{PACE, ProgressListeners, running};
use super::stream::Stream;
use crate::store::Store;

/// Whether the end was asked for, and by whom.
pub(super) struct ShutdownControl {
    /// How long running tasks may take from now on.
    requested: watch::Sender<Option<Duration>>,
    listeners: ProgressListeners,
    arguments: OnceLock<Vec<String>>,
    grace: Duration,
    store: Arc<dyn Store>,
}

impl ShutdownControl {
    /// `grace` is how long running tasks may take unless the request says otherwise.
    pub(super) fn new(store: Arc<dyn Store>, grace: Duration) -> Self {
        let (asked, _) = watch::channel(None);
        Self {
            requested: asked,
            listeners: ProgressListeners::default(),
            arguments: OnceLock::new(),
            grace,
            store,
        }
    }

    pub(super) fn set_restart_args(&self, arguments: Vec<String>) {
        // The first word counts.
        drop(self.arguments.set(arguments));
    }

    /// Asks for the end, and to hear of it. Counts as a request in flight, until the end.
    pub(super) async fn request(&self, outbox: &Arc<Outbox>, id: Option<&str>, grace: Option<Duration>) {
        let grace = grace.unwrap_or(self.grace);
        let farewell = self.status(ShutdownPhase::Stopping, grace).await;
        self.listeners.add(outbox, id, &farewell);
        // Who was first has said how long.
        self.requested.send_if_modified(|asked| asked.replace(asked.unwrap_or(grace)).is_none());
    }

    /// Waits until the end is asked for, and tells how long running tasks may take.
    pub(super) async fn requested(&self) -> Duration {
        let mut asked = self.requested.subscribe();
        let grace = asked.wait_for(Option::is_some).await.ok().and_then(|grace| *grace);
        grace.unwrap_or(self.grace)
    }

    /// Tells the witnesses from time to time what is waited for; has no end of its own.
    pub(super) async fn report_progress(&self, deadline: Instant) {
        loop {
            tokio::time::sleep(PACE).await;
            if !self.listeners.is_empty() {
                let grace = deadline.saturating_duration_since(Instant::now());
                self.listeners.update(&self.status(ShutdownPhase::Stopping, grace).await);
            }
        }
    }

    /// Tells the witnesses that it has come.
    pub(super) async fn finished(&self) {
        self.listeners.finish(&self.status(ShutdownPhase::Stopped, Duration::ZERO).await);
    }

    /// Lets go of a connection: that of a witness ends with the process, and no sooner.
    pub(super) fn keep_open(&self, outbox: &Arc<Outbox>, stream: Stream) -> Option<Stream> {
        if self.listeners.contains(outbox) {
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
            arguments: self.arguments.get().cloned().unwrap_or_default(),
            grace_ms: grace.as_millis() as u64,
            running: if ledger.running > 0 { running(&self.store).await } else { BTreeMap::new() },
            remaining: ledger.waiting + ledger.running,
            durable: self.store.durability() != Durability::Memory,
        }
    }
}
