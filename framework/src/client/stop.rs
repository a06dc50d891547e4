//! Asks for the end of the server, and hears of it until it has come.

use std::fmt;

use serde_json::json;

use super::Client;
use super::dialogue::Dialogue;
use super::error::{ClientError, Result};
use crate::server::{Farewell, Phase};

/// A server that stops.
pub struct Leaving {
    dialogue: Dialogue,
    last: Farewell,
}

impl Client {
    /// Asks the server to stop: it accepts nothing more, waits for running tasks as long as its `max_wait_time`, or
    /// as long as `patience` says, such as `10s`, and keeps the rest for its next start.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when this client may not ask for it.
    pub async fn stop(&self, patience: Option<&str>) -> Result<Leaving> {
        let mut dialogue =
            self.ask_apart(&json!({ "command": "stop", "id": 0, "timeout": patience })).await?;
        let last = farewell(&mut dialogue).await?;
        Ok(Leaving { dialogue, last })
    }
}

impl Leaving {
    /// What was heard last.
    pub fn farewell(&self) -> &Farewell {
        &self.last
    }

    /// Waits for the next word; `None` when the process has ended.
    ///
    /// # Errors
    /// When the server ends before it has settled everything, as at once after a second signal.
    pub async fn next(&mut self) -> Result<Option<&Farewell>> {
        if self.last.phase == Phase::Stopped {
            // However it ends: the process has gone.
            self.dialogue.end().await;
            return Ok(None);
        }
        self.last = farewell(&mut self.dialogue).await?;
        Ok(Some(&self.last))
    }
}

async fn farewell(dialogue: &mut Dialogue) -> Result<Farewell> {
    let Some(answer) = dialogue.answer().await? else { return Err(ClientError::closed(&dialogue.address)) };
    match answer.result.as_ref().and_then(|result| serde_json::from_str(result.get()).ok()) {
        Some(farewell) => Ok(farewell),
        None if answer.code.is_some() => Err(ClientError::Refused(answer.refusal())),
        None => Err(ClientError::odd(&dialogue.address, &answer)),
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Leaving").field("last", &self.last).finish_non_exhaustive()
    }
}
