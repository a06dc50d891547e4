//! Asks for the end of the server, and hears of it until it has come.

use std::fmt;

use framework_protocol::views::{ShutdownPhase, ShutdownStatus};
use serde_json::json;

use crate::client::Client;
use crate::dedicated::DedicatedConnection;
use crate::error::Result;

/// A server that stops.
pub struct ShutdownProgress {
    dialogue: DedicatedConnection,
    last: ShutdownStatus,
}

impl Client {
    /// Asks the server to stop: it accepts nothing more, waits for running tasks as long as its `max_wait_time`, or
    /// as long as `grace` says, such as `10s`, and keeps the rest for its next start.
    ///
    /// # Errors
    /// [`ClientError::Refused`](super::ClientError::Refused) when this client may not ask for it.
    pub async fn stop(&self, grace: Option<&str>) -> Result<ShutdownProgress> {
        let mut dialogue = self.ask_apart(&json!({ "command": "stop", "id": 0, "grace": grace })).await?;
        let last = dialogue.next().await?;
        Ok(ShutdownProgress { dialogue, last })
    }
}

impl ShutdownProgress {
    /// What was heard last.
    pub fn farewell(&self) -> &ShutdownStatus {
        &self.last
    }

    /// Waits for the next word; `None` when the process has ended.
    ///
    /// # Errors
    /// When the server ends before it has settled everything, as at once after a second signal.
    pub async fn next(&mut self) -> Result<Option<&ShutdownStatus>> {
        if self.last.phase == ShutdownPhase::Stopped {
            // However it ends: the process has gone.
            self.dialogue.end().await;
            return Ok(None);
        }
        self.last = self.dialogue.next().await?;
        Ok(Some(&self.last))
    }
}

impl fmt::Debug for ShutdownProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Leaving").field("last", &self.last).finish_non_exhaustive()
    }
}
