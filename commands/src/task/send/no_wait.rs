//! `task:send --no-wait`: fire and forget.

use framework::client::NoWaitOutcome;
use framework::prelude::*;
use serde_json::json;

use super::SendCommand;
use super::message::Message;
use crate::options::server_address::exit_error;

impl SendCommand {
    /// Sends the message without waiting for the acknowledgement.
    pub(super) async fn send_no_wait(self, message: Message, app: &App, output: &mut Output) -> Result<()> {
        if let Message::Raw(_) = &message {
            self.reject_options()?;
        }
        let client = self.server.connect(app).await?;
        let outcome = match &message {
            Message::Task(request) => client.send_no_wait(&**request).await,
            Message::Raw(text) => client.send_line_no_wait(text.as_bytes()).await,
        };
        let (outcome, address) = (outcome.map_err(exit_error)?, client.address());
        if self.json {
            output.json(&json!({
                "status": "sent", "address": address, "closed": outcome == NoWaitOutcome::Closed
            }))?;
        }
        if outcome == NoWaitOutcome::Silent {
            output.warn(format_args!(
                "the server on {address} did not close the connection in time (--connect-timeout); it may be busy and may \
                 not have read the task yet"
            ));
        }
        output.success(format_args!("Sent to {address}, not acknowledged."));
        Ok(())
    }
}
