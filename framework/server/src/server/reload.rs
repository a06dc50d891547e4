//! The reload that a client asks for, and what the client hears of it until it is over.

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::views::{ReloadPhase, ReloadStatus};
use tokio::sync::watch;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::progress_listeners::{PACE, ProgressListeners, running};
use crate::store::Store;

/// Whether a reload was asked for, and who hears of it.
pub struct ReloadControl {
    /// How long running tasks may take.
    requested: watch::Sender<Option<Duration>>,
    listeners: ProgressListeners,
    grace: Duration,
    store: Arc<dyn Store>,
}

impl ReloadControl {
    /// `grace` is how long running tasks may take unless the request says otherwise.
    pub(super) fn new(store: Arc<dyn Store>, grace: Duration) -> Self {
        let (asked, _) = watch::channel(None);
        Self { requested: asked, listeners: ProgressListeners::default(), grace, store }
    }

    /// Asks for a reload, and to hear of it. One that is under way already is the one that is heard of.
    pub(super) fn request_from_client(
        &self,
        outbox: &Arc<Outbox>,
        id: Option<&str>,
        grace: Option<Duration>,
    ) {
        let grace = grace.unwrap_or(self.grace);
        let news =
            ReloadStatus { grace_ms: grace.as_millis() as u64, ..ReloadStatus::at(ReloadPhase::Preparing) };
        self.listeners.add(outbox, id, &news);
        self.requested.send_if_modified(|asked| asked.replace(asked.unwrap_or(grace)).is_none());
    }

    /// Asks for a reload that nobody hears of but the log.
    pub fn request(&self) {
        self.requested.send_if_modified(|asked| asked.replace(asked.unwrap_or(self.grace)).is_none());
    }

    /// Waits until a reload is asked for, and tells how long running tasks may take.
    pub async fn requested(&self) -> Duration {
        let mut asked = self.requested.subscribe();
        let grace = asked.wait_for(Option::is_some).await.ok().and_then(|grace| *grace);
        grace.unwrap_or(self.grace)
    }

    /// Tells from time to time which running tasks are waited for; has no end of its own.
    pub(super) async fn report_progress(&self, deadline: Instant) {
        loop {
            if !self.listeners.is_empty() {
                let grace = deadline.saturating_duration_since(Instant::now());
                self.listeners.update(&ReloadStatus {
                    grace_ms: grace.as_millis() as u64,
                    running: running(&self.store).await,
                    ..ReloadStatus::at(ReloadPhase::Draining)
                });
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Tells that everything has stayed as it was, and why. Another reload may be asked for from now on.
    pub fn fail(&self, error: String) {
        self.conclude(&ReloadStatus { error: Some(error), ..ReloadStatus::at(ReloadPhase::Failed) });
    }

    /// Tells which process serves from now on.
    pub fn complete(&self, successor: u32) {
        self.conclude(&ReloadStatus { new_pid: Some(successor), ..ReloadStatus::at(ReloadPhase::Reloaded) });
    }

    fn conclude(&self, news: &ReloadStatus) {
        // Whoever asks in between hears of this one, and begins another.
        self.requested.send_replace(None);
        self.listeners.finish_and_clear(news);
    }
}
