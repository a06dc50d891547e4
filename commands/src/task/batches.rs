//! `task:batches`: the latest batches.

use framework::prelude::*;
use framework::views::BatchState;

use crate::format::{format_optional_timestamp, format_timestamp, percent};
use crate::options::server_address::{ServerAddress, exit_error};

/// List batches, newest first
#[derive(Args, Command)]
#[command(name = "task:batches")]
struct Batches {
    /// Maximum number of batches
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Batches {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        let batches = client.batches(self.limit.into()).await.map_err(exit_error)?;
        if self.json {
            return Ok(output.json(&batches)?);
        }
        if batches.is_empty() {
            output.note("No batches.");
            return Ok(());
        }
        let rows: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let state = match batch.state {
                    BatchState::Open => "open".to_owned(),
                    BatchState::Abandoned => "cancelling".to_owned(),
                    BatchState::Running => format!("{:.0}%", percent(&batch)),
                    BatchState::Ended => "ended".to_owned(),
                };
                let failed = batch.failed + batch.cancelled + batch.expired;
                [
                    batch.id.to_string(),
                    batch.name,
                    batch.function,
                    state,
                    batch.total.to_string(),
                    batch.done.to_string(),
                    failed.to_string(),
                    format_timestamp(batch.opened_ms),
                    format_optional_timestamp(batch.ended_ms),
                ]
            })
            .collect();
        let headings = ["id", "name", "function", "state", "total", "done", "not done", "opened", "ended"];
        output.table(headings, &rows);
        Ok(())
    }
}
