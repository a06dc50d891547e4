//! `task:reload`: replaces the running server by a new process, without downtime.

use framework::client::ReloadProgress;
use framework::prelude::*;
use framework::views::{ReloadPhase, ReloadStatus};

use super::running_display::RunningDisplay;
use crate::options::server_address::exit_error;
use crate::options::shutdown::ShutdownOptions;

/// Reload program and settings without downtime
///
/// The server starts its program again with its options. The new process checks the settings and every
/// waiting task; running tasks end, and new ones are accepted but wait; then the new process takes over the
/// sockets and the queue. No connection is refused, and results that come within max_wait_time are still
/// delivered. If the new process fails, or a running task exceeds the grace period, the old process goes on,
/// and the reason is printed.
#[derive(Args, Command)]
#[command(name = "task:reload")]
struct Reload {
    #[command(flatten)]
    options: ShutdownOptions,
}

impl Execute for Reload {
    const BLOCK: Option<&'static str> = Some("server");
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        // The new process would find the same problems.
        app.config()?.check_all()?;
        let grace = self.options.wire_value();
        let client = self.options.server(app)?.connect(app).await?;
        let mut progress = client.reload(grace.as_deref()).await.map_err(exit_error)?;
        let status = follow(&mut progress, output).await?;
        match (status.new_pid, status.error) {
            (Some(pid), _) => {
                output.success(format_args!("The task server is reloaded; the new process is {pid}."));
                Ok(())
            }
            (None, error) => {
                let reason = error.unwrap_or_else(|| "no reason given".to_owned());
                Err(Exit::Failed.error(format!("reload failed, process {} goes on: {reason}", status.pid)))
            }
        }
    }
}

async fn follow(progress: &mut ReloadProgress, output: &mut Output) -> Result<ReloadStatus> {
    let mut display = RunningDisplay::default();
    while let Some(status) = progress.next().await.map_err(exit_error)? {
        if status.phase == ReloadPhase::Draining {
            display.show(status.grace_ms, &status.running, output);
        }
    }
    output.redraw("");
    Ok(progress.status().clone())
}
