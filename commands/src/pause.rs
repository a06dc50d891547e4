//! Pausing and resuming of queues and schedules.

use framework::prelude::*;
use serde_json::json;

use crate::options::server_address::{ServerAddress, exit_error};

/// A thing that can be paused and resumed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pausable {
    Queue,
    Schedule,
}

/// The options of a command that pauses or resumes, beside the name.
#[derive(Debug, Clone, Args)]
pub(crate) struct PauseOptions {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Pausable {
    /// Pauses or resumes it on the server, and prints the new state.
    pub(crate) async fn set_paused(
        self,
        name: &str,
        paused: bool,
        options: PauseOptions,
        app: &App,
        output: &mut Output,
    ) -> Result<()> {
        let client = options.server.connect(app).await?;
        let changed = match (self, paused) {
            (Self::Queue, true) => client.pause(name).await,
            (Self::Queue, false) => client.resume(name).await,
            (Self::Schedule, true) => client.pause_schedule(name).await,
            (Self::Schedule, false) => client.resume_schedule(name).await,
        };
        changed.map_err(exit_error)?;
        let kind = match self {
            Self::Queue => "queue",
            Self::Schedule => "schedule",
        };
        if options.json {
            output.json(&json!({ kind: name, "paused": paused }))?;
        } else if paused {
            output.success(format_args!("The {kind} {name} is paused; {kind}:resume resumes it."));
        } else {
            output.success(format_args!("The {kind} {name} is resumed."));
        }
        Ok(())
    }
}
