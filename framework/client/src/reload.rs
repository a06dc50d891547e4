//! Asks the server to let a new process take its place, and hears of it until that is over.

use std::fmt;

use framework_protocol::views::{ReloadPhase, ReloadStatus};
use serde_json::json;

use crate::client::Client;
use crate::dedicated::DedicatedConnection;
use crate::error::Result;

/// A server that reloads.
pub struct ReloadProgress {
    dialogue: DedicatedConnection,
    last: ReloadStatus,
}

impl Client {
    /// Asks the server to start its program anew and to hand everything over to it. Running tasks are waited for as long
    /// as its `max_wait_time`, or as long as `grace` says, such as `10s`; with `0s` they are given up.
    ///
    /// # Errors
    /// [`ClientError::Refused`](super::ClientError::Refused) when this client may not ask for it.
    pub async fn reload(&self, grace: Option<&str>) -> Result<ReloadProgress> {
        let command = json!({ "command": "reload", "id": 0, "grace": grace });
        let mut dialogue = self.ask_apart(&command).await?;
        let last = dialogue.next().await?;
        Ok(ReloadProgress { dialogue, last })
    }
}

impl ReloadProgress {
    /// What was heard last.
    pub fn reload(&self) -> &ReloadStatus {
        &self.last
    }

    /// Waits for the next word; `None` when it is over, however it has ended.
    ///
    /// # Errors
    /// When the server ends meanwhile.
    pub async fn next(&mut self) -> Result<Option<&ReloadStatus>> {
        if matches!(self.last.phase, ReloadPhase::Reloaded | ReloadPhase::Failed) {
            return Ok(None);
        }
        self.last = self.dialogue.next().await?;
        Ok(Some(&self.last))
    }
}

impl fmt::Debug for ReloadProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Reloading").field("last", &self.last).finish_non_exhaustive()
    }
}
