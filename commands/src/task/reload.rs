//! `task:reload`: lets the program as it is by now take the place of the running server.

use std::collections::BTreeMap;

use framework::client::{Address, ReloadProgress};
use framework::prelude::*;
use framework::views::{ReloadPhase, ReloadStatus};

use super::server_address::{ServerAddress, exit_error};
use super::shutdown_options::ShutdownOptions;
use super::stop::{control_socket, waiting};

/// Put a new program or new settings to work without losing anything
///
/// The server starts its program anew, with the options that it was started with. The new process looks whether it
/// understands the settings and every waiting task; running tasks end, and new ones are accepted but wait; then it gets
/// the sockets and the queue. No connection is refused meanwhile, and whoever waits for a result gets it. If something is
/// not right, or a running task takes longer than it may, the old process goes on as before, and this says why.
#[derive(Args, Command)]
#[command(name = "task:reload")]
struct Reload {
    #[command(flatten)]
    grace: ShutdownOptions,
}

impl Execute for Reload {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        // Without asking the server; it would find the same.
        app.config()?.check_all()?;
        let grace = self.grace.wire_value();
        let address = self.grace.address.map_or_else(|| control_socket(app).map(Address::Unix), Ok)?;
        let client = ServerAddress::at(Some(address)).connect(app).await?;
        let mut reloading = client.reload(grace.as_deref()).await.map_err(exit_error)?;
        let news = follow(&mut reloading, output).await?;
        match (news.new_pid, news.error) {
            (Some(pid), _) => {
                output.success(format_args!("The task server is reloaded; process {pid} serves."));
                Ok(())
            }
            (None, error) => {
                let reason = error.unwrap_or_else(|| "it gives no reason".to_owned());
                Err(Exit::Failed.error(format!("not reloaded, process {} serves on: {reason}", news.pid)))
            }
        }
    }
}

/// Shows what is waited for: in place where somebody watches, else when it has changed.
async fn follow(reloading: &mut ReloadProgress, output: &mut Output) -> Result<ReloadStatus> {
    let mut seen = BTreeMap::new();
    while let Some(news) = reloading.next().await.map_err(exit_error)? {
        if news.phase != ReloadPhase::Draining || news.running.is_empty() {
            continue;
        }
        let text = waiting(news.grace_ms, &news.running);
        if output.is_watched() {
            output.redraw(text);
        } else if seen != news.running {
            seen.clone_from(&news.running);
            output.note(text);
        }
    }
    output.redraw("");
    Ok(reloading.reload().clone())
}
