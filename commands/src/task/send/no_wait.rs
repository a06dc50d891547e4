//! `task:send --no-wait`: hands something over, and leaves.

use framework::client::NoWaitOutcome;
use framework::prelude::*;
use serde_json::json;

use super::super::server_address::exit_error;
use super::{Message, SendCommand};

impl SendCommand {
    /// Prints what is known of it: that it has left, and not whether it is accepted.
    pub(super) async fn hand_over(self, message: Message, app: &App, output: &mut Output) -> Result<()> {
        if let Message::Raw(text) = &message {
            self.refuse_options()?;
            if text.is_empty() {
                return Err(Exit::Usage.error("there is nothing to send"));
            }
        }
        let client = self.server.connect(app).await?;
        let parting = match &message {
            Message::Task(request) => client.send_no_wait(&**request).await,
            Message::Raw(text) => client.send_raw_no_wait(text).await,
        };
        let (parting, address) = (parting.map_err(exit_error)?, client.address());
        if self.json {
            output.json(&json!({
                "status": "handed_over", "address": address, "closed": parting == NoWaitOutcome::Closed
            }))?;
        }
        if parting == NoWaitOutcome::Silent {
            output.warn(format_args!(
                "the server on {address} has not closed the connection in time (--connect-timeout); it may be busy, and \
                 have read nothing yet"
            ));
        }
        output.success(format_args!("Handed over to {address}, not acknowledged."));
        Ok(())
    }
}
