//! Asks for the end of the server, and hears of it until it has come.

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{Client, ClientError, Result};
use crate::server::{Farewell, Phase};

/// A server that stops.
#[derive(Debug)]
pub struct Leaving {
    client: Client,
    last: Farewell,
}

impl Client {
    /// Asks the server to stop: it accepts nothing more, waits for running tasks as long as its `max_wait_time`, or
    /// as long as `patience` says, such as `10s`, and keeps the rest for its next start.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when this client may not ask for it.
    pub async fn stop(mut self, patience: Option<&str>) -> Result<Leaving> {
        let last = self.ask("stop", json!({ "timeout": patience })).await?;
        Ok(Leaving { client: self, last })
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
            drop(self.client.reader.read_to_end(&mut Vec::new()).await);
            return Ok(None);
        }
        let answer = self.client.answer().await?;
        let farewell = answer.result.as_ref().and_then(|result| serde_json::from_str(result.get()).ok());
        match farewell {
            Some(farewell) => {
                self.last = farewell;
                Ok(Some(&self.last))
            }
            None if answer.code.is_some() => Err(ClientError::Refused(answer.refusal())),
            None => Err(self.client.foreign(format!("{answer:?}"))),
        }
    }
}
