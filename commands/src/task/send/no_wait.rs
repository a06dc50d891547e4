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
                return Err(Exit::Usage.because("there is nothing to send"));
            }
        }
        let client = self.server.connect(app).await?;
        let parting = match &message {
            Message::Task(request) => client.hand_over(&**request).await,
            Message::Raw(text) => client.hand_over_raw(text).await,
        };
        let (parting, address) = (parting.map_err(exit_error)?, client.address());
        if self.json {
            output.json(&json!({
                "status": "handed_over", "address": address, "closed": parting == NoWaitOutcome::Closed
            }))?;
        }
        if parting == NoWaitOutcome::Silent {
            output.warn(format_args!(
                "the server on {address} has not closed the connection in time (--timeout); it may be busy, and \
                 have read nothing yet"
            ));
        }
        output.success(format_args!("Handed over to {address}, not acknowledged."));
        Ok(())
    }
}
