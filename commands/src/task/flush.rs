//! `task:flush`: cancels all that waits.

use framework::prelude::*;
use serde_json::json;

use super::server_address::{ServerAddress, exit_error};
use crate::format::count_tasks;

/// Cancel all waiting tasks of a queue, or of all queues
///
/// Nothing of them is kept but their number in the ledger. Asks first; where nobody can answer, --force is needed.
#[derive(Args, Command)]
#[command(name = "task:flush")]
struct Flush {
    /// Only this queue
    #[arg(long)]
    queue: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Flush {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        if !self.force {
            let queues = client.queues().await.map_err(exit_error)?;
            let is_meant = |name: &str| self.queue.as_deref().is_none_or(|queue| queue == name);
            let meant = queues.iter().filter(|queue| is_meant(&queue.name));
            let count = meant.map(|queue| queue.depth.waiting + queue.depth.delayed).sum();
            let place =
                self.queue.as_ref().map_or("all queues".to_owned(), |queue| format!("the queue {queue}"));
            let question =
                format!("Cancel {} waiting in {place}, and keep nothing of them?", count_tasks(count));
            if !app.input().confirm(output, &question, false)? {
                return Err(Exit::Failed.error("nothing was cancelled; --force does it without asking"));
            }
        }
        let count = client.flush(self.queue.as_deref()).await.map_err(exit_error)?;
        match self.json {
            true => output.json(&json!({ "tasks": count }))?,
            false => output.line(format_args!("cancelled: {}", count_tasks(count))),
        }
        Ok(())
    }
}
