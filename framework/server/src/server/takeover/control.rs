//! The reload that is requested, and the status that its followers receive until it has succeeded or failed.

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::views::{ReloadPhase, ReloadStatus};
use tokio::time::Instant;

use crate::server::outbox::Outbox;
use crate::server::progress_listeners::{ControlRequest, INTERVAL, running};
use crate::store::Store;

/// The reload of a server, each time that one is requested.
pub struct ReloadControl {
    request: ControlRequest<ReloadStatus>,
    store: Arc<dyn Store>,
}

impl ReloadControl {
    /// `grace` is the time for running tasks where a request names none.
    pub(crate) fn new(store: Arc<dyn Store>, grace: Duration) -> Self {
        Self { request: ControlRequest::new(grace), store }
    }

    /// Requests a reload for a connection, which follows its progress; joins one that is under way.
    pub(crate) fn request_from_client(
        &self,
        outbox: &Arc<Outbox>,
        id: Option<&str>,
        grace: Option<Duration>,
    ) {
        let grace = grace.unwrap_or(self.request.grace);
        let status =
            ReloadStatus { grace_ms: grace.as_millis() as u64, ..ReloadStatus::at(ReloadPhase::Preparing) };
        self.request.request_from(outbox, id, grace, &status);
    }

    /// Requests a reload whose progress only the log shows.
    pub fn request(&self) {
        self.request.request(self.request.grace);
    }

    /// Waits for a request and returns its grace period.
    pub async fn requested(&self) -> Duration {
        self.request.requested().await
    }

    /// Sends which running tasks are waited for, at once and up to `deadline`; never ends.
    pub(crate) async fn report_progress(&self, deadline: Instant) {
        loop {
            if self.request.has_followers() {
                let grace = deadline.saturating_duration_since(Instant::now());
                self.request.update(&ReloadStatus {
                    grace_ms: grace.as_millis() as u64,
                    running: running(&self.store).await,
                    ..ReloadStatus::at(ReloadPhase::Draining)
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Ends the reload with an error: the old process goes on serving, and another reload may be requested.
    pub fn fail(&self, error: String) {
        let status = ReloadStatus { error: Some(error), ..ReloadStatus::at(ReloadPhase::Failed) };
        self.request.finish_and_reset(&status);
    }

    /// Ends the reload: the process `new_pid` serves from now on.
    pub fn complete(&self, new_pid: u32) {
        let status = ReloadStatus { new_pid: Some(new_pid), ..ReloadStatus::at(ReloadPhase::Reloaded) };
        self.request.finish_and_reset(&status);
    }
}
