//! `queue:list`: the queues with their counts.

use framework::prelude::*;

use crate::options::server_address::{ServerAddress, exit_error};

/// List the queues
///
/// Delayed tasks wait for their time, or for their batch to be sealed; parked ones are due, and nobody runs
/// their function at the moment (task:functions names it). Workers take tasks from the queues in proportion
/// to their weights, and not faster than their rate limits.
#[derive(Args, Command)]
#[command(name = "queue:list")]
struct List {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for List {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let queues = self.server.connect(app).await?.queues().await.map_err(exit_error)?;
        if self.json {
            return Ok(output.json(&queues)?);
        }
        if queues.is_empty() {
            output.note("No queues yet: a queue is created by its first task.");
            return Ok(());
        }
        let rows: Vec<_> = queues
            .into_iter()
            .map(|queue| {
                let count = |count: u64| count.to_string();
                let paused = if queue.depth.paused { "paused" } else { "" };
                [
                    queue.name,
                    count(queue.depth.waiting),
                    count(queue.depth.delayed),
                    count(queue.depth.running),
                    count(queue.depth.parked),
                    queue.weight.to_string(),
                    queue.rate.unwrap_or_default(),
                    paused.to_owned(),
                ]
            })
            .collect();
        output.table(["queue", "waiting", "delayed", "running", "parked", "weight", "rate", "state"], &rows);
        Ok(())
    }
}
