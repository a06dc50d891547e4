//! Shuts the server down or reloads it: a stream of statuses until that is over.

use std::fmt;

use framework_protocol::views::{ReloadPhase, ReloadStatus, ShutdownPhase, ShutdownStatus};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::client::Client;
use crate::dedicated::DedicatedConnection;
use crate::error::Result;

/// The progress of a shutdown or a reload, on a connection of its own.
pub struct ControlStream<S> {
    connection: DedicatedConnection,
    status: S,
}

/// The progress of a shutdown.
pub type ShutdownProgress = ControlStream<ShutdownStatus>;

/// The progress of a reload.
pub type ReloadProgress = ControlStream<ReloadStatus>;

/// A status that [`ControlStream`] receives.
pub trait ControlStatus: DeserializeOwned {
    /// Whether the end of the process follows the last status, and is to be waited for.
    #[doc(hidden)]
    const ENDS_PROCESS: bool;

    /// Whether no other status follows.
    fn is_final(&self) -> bool;
}

impl Client {
    /// Shuts the server down: it accepts nothing more, waits for running tasks as long as its
    /// `max_wait_time`, or as `grace`, such as `10s`, and keeps the rest for its next start.
    ///
    /// # Errors
    /// [`ClientError::Refused`](crate::ClientError::Refused) when this client has no right to.
    pub async fn stop(&self, grace: Option<&str>) -> Result<ShutdownProgress> {
        self.control("stop", grace).await
    }

    /// Replaces the server's process by one of the program and the settings as they are now. Running tasks
    /// are waited for as long as its `max_wait_time`, or as `grace`, such as `10s`; with `0s` they are
    /// aborted and queued again.
    ///
    /// # Errors
    /// [`ClientError::Refused`](crate::ClientError::Refused) when this client has no right to.
    pub async fn reload(&self, grace: Option<&str>) -> Result<ReloadProgress> {
        self.control("reload", grace).await
    }

    async fn control<S: ControlStatus>(
        &self,
        command: &str,
        grace: Option<&str>,
    ) -> Result<ControlStream<S>> {
        let request = json!({ "command": command, "id": 0, "grace": grace });
        let mut connection = DedicatedConnection::send(self.pool.connect().await?, &request);
        let status = connection.next_result().await?;
        Ok(ControlStream { connection, status })
    }
}

impl<S: ControlStatus> ControlStream<S> {
    /// The status that was received last.
    pub fn status(&self) -> &S {
        &self.status
    }

    /// Waits for the next status; `None` when it is over: the server that stops has ended, the reload has
    /// succeeded or failed.
    ///
    /// # Errors
    /// When the server ends before it has settled everything, such as after a second signal.
    pub async fn next(&mut self) -> Result<Option<&S>> {
        if self.status.is_final() {
            if S::ENDS_PROCESS {
                self.connection.closed().await;
            }
            return Ok(None);
        }
        self.status = self.connection.next_result().await?;
        Ok(Some(&self.status))
    }
}

impl ControlStatus for ShutdownStatus {
    const ENDS_PROCESS: bool = true;

    fn is_final(&self) -> bool {
        self.phase == ShutdownPhase::Stopped
    }
}

impl ControlStatus for ReloadStatus {
    const ENDS_PROCESS: bool = false;

    fn is_final(&self) -> bool {
        matches!(self.phase, ReloadPhase::Reloaded | ReloadPhase::Failed)
    }
}

impl<S: fmt::Debug> fmt::Debug for ControlStream<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("ControlStream").field("status", &self.status).finish_non_exhaustive()
    }
}
