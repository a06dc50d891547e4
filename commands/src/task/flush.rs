//! `task:flush`: cancels all waiting tasks.

use framework::prelude::*;
use framework::views::{ChangeKind, FailureFilter};
use serde_json::json;

use crate::format::count_tasks;
use crate::options::bulk_change::{BulkChange, print_preview};
use crate::options::server_address::{ServerAddress, exit_error};

/// Cancel all waiting tasks of a queue, or of all queues
///
/// Only their number in the ledger is kept. Asks for confirmation; without a terminal, use --force.
///
/// Many tasks are cancelled in steps, between which others are sent and run; tasks that come later are not
/// concerned. Ctrl-C ends it after a step: what is cancelled by then stays so. If the server dies meanwhile,
/// it goes on when it starts again.
#[derive(Args, Command)]
#[command(name = "task:flush")]
struct Flush {
    /// Only this queue
    #[arg(long)]
    queue: Option<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
    /// Only say how many tasks would be cancelled, and which are the oldest and the newest of them
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Flush {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        if self.dry_run {
            let preview = client.preview_flush(self.queue.as_deref()).await.map_err(exit_error)?;
            return print_preview(&preview, "cancelled", self.json, output);
        }
        if !self.force {
            let queues = client.queues().await.map_err(exit_error)?;
            let is_selected = |name: &str| self.queue.as_deref().is_none_or(|queue| queue == name);
            let selected = queues.iter().filter(|queue| is_selected(&queue.name));
            let count = selected.map(|queue| queue.depth.waiting + queue.depth.delayed).sum();
            let place =
                self.queue.as_ref().map_or("all queues".to_owned(), |queue| format!("the queue {queue}"));
            let question = format!("Cancel and delete {} waiting in {place}?", count_tasks(count));
            if !app.input().confirm(output, &question, false)? {
                return Err(Exit::Failed.error("no task was cancelled; --force skips the confirmation"));
            }
        }
        let filter = FailureFilter { queue: self.queue.clone(), ..FailureFilter::default() };
        let flush = BulkChange { kind: ChangeKind::Flush, batch: None, filter };
        let count = flush.run(client.flush(self.queue.as_deref()), &self.server, app, output).await?;
        if self.json {
            output.json(&json!({ "tasks": count }))?;
        } else {
            output.line(format_args!("cancelled: {}", count_tasks(count)));
        }
        Ok(())
    }
}
