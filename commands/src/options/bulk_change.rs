//! A command that changes many tasks: it shows the progress, and Ctrl-C ends the change.

use std::time::Duration;

use framework::client::{Client, ClientError};
use framework::prelude::*;
use framework::task::BatchId;
use framework::views::{ChangeInfo, ChangeKind, ChangePreview, FailureFilter, PreviewedTask};
use tokio::signal::unix::{SignalKind, signal};

use super::server_address::{ServerAddress, exit_error};
use crate::format::{count_tasks, format_timestamp};

/// The time between two looks at the progress.
const INTERVAL: Duration = Duration::from_millis(200);

/// A change of many tasks that a command asks for.
pub(crate) struct BulkChange {
    pub(crate) kind: ChangeKind,
    pub(crate) batch: Option<BatchId>,
    /// The failed tasks; of a flush only the queue counts.
    pub(crate) filter: FailureFilter,
}

impl BulkChange {
    /// Waits for the answer to the change, the number of changed tasks, and shows how far it is meanwhile.
    ///
    /// # Errors
    /// When the server refuses the change or is gone, or Ctrl-C was pressed: the change ends then, unless it
    /// has to be carried to its end.
    pub(crate) async fn run(
        &self,
        change: impl Future<Output = Result<u64, ClientError>>,
        server: &ServerAddress,
        app: &App,
        output: &mut Output,
    ) -> Result<u64> {
        let mut change = std::pin::pin!(change);
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        // The connection of the change is busy until its end.
        let mut watching = None;
        loop {
            tokio::select! {
                biased;
                changed = &mut change => {
                    output.redraw("");
                    return changed.map_err(exit_error);
                }
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(INTERVAL) => self.show(server, app, &mut watching, output).await,
            }
        }
        output.redraw("");
        self.stop(server, app, &mut watching).await?;
        let changed = change.await.map_err(exit_error)?;
        let note = format!("interrupted: {} {}; these stay so", count_tasks(changed), self.past_tense());
        Err(Exit::Interrupted.error(note))
    }

    async fn show(
        &self,
        server: &ServerAddress,
        app: &App,
        watching: &mut Option<Client>,
        output: &mut Output,
    ) {
        // Whoever may change tasks need not have the right to look: then the result has to do.
        let Ok(Some(ChangeInfo { changed, total, .. })) = self.find(server, app, watching).await else {
            return;
        };
        let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
        output.redraw(format_args!("{changed}{of} tasks {}", self.past_tense()));
    }

    async fn stop(&self, server: &ServerAddress, app: &App, watching: &mut Option<Client>) -> Result<()> {
        let found = self.find(server, app, watching).await?;
        if let (Some(change), Some(client)) = (found, watching) {
            client.stop_change(change.id).await.map_err(exit_error)?;
        }
        Ok(())
    }

    /// The change on the server; it is the last one of its kind.
    async fn find(
        &self,
        server: &ServerAddress,
        app: &App,
        watching: &mut Option<Client>,
    ) -> Result<Option<ChangeInfo>> {
        let client = match watching {
            Some(client) => client,
            None => watching.insert(server.connect(app).await?),
        };
        let mut changes = client.changes().await.map_err(exit_error)?;
        changes.retain(|change| {
            let FailureFilter { queue, function, cause } = &self.filter;
            (change.kind, change.batch) == (self.kind, self.batch)
                && (&change.queue, &change.function, &change.cause) == (queue, function, cause)
        });
        Ok(changes.pop())
    }

    fn past_tense(&self) -> &'static str {
        match self.kind {
            ChangeKind::Cancel | ChangeKind::Flush => "cancelled",
            ChangeKind::Retry => "retried",
            ChangeKind::Forget => "forgotten",
            ChangeKind::Release => "released",
            ChangeKind::Expire => "expired",
        }
    }
}

/// Prints what a change would change.
pub(crate) fn print_preview(
    preview: &ChangePreview,
    past_tense: &str,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    if json {
        return Ok(output.json(preview)?);
    }
    output.line(format_args!("would be {past_tense}: {}", count_tasks(preview.tasks)));
    for (age, task) in [("oldest", preview.oldest), ("newest", preview.newest)] {
        if let Some(PreviewedTask { id, accepted_ms }) = task {
            output.line(format_args!("{age}: task {id}, accepted {}", format_timestamp(accepted_ms)));
        }
    }
    Ok(())
}
