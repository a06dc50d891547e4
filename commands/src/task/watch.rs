//! `task:watch`: follows a task, or a batch, to its end.

mod changes;

use std::time::Duration;

use framework::client::{Client, ClientError, TaskEnd, TaskEvent, TaskEvents};
use framework::output::escape_json;
use framework::prelude::*;
use framework::protocol::ErrorCode;
use framework::task::{BatchId, TaskId};
use framework::views::{State, TaskDetails};
use serde_json::json;
use serde_json::value::RawValue;

use self::changes::Shown;
use super::batch::progress_bar::{BatchDisplay, RETRY_TIME, catch_interrupt, note_disconnected};
use crate::options::server_address::{ServerAddress, exit_error};

/// Follow a task, or a batch, to its end
///
/// Prints state, progress and log as they change, also across a restart of the server, and the result at the
/// end. For a batch, prints its progress and the counts. The exit code is 0 if the task, or every task of the
/// batch, is done, else 1.
#[derive(Args, Command)]
#[command(name = "task:watch")]
struct Watch {
    /// Id of the task
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    id: Option<TaskId>,
    /// Follow this batch instead
    #[arg(long, value_name = "ID")]
    batch: Option<BatchId>,
    /// Print JSON, for programs: a line for each event, and all details at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// The interval at which the state is polled: there is no event when an attempt begins or fails.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Execute for Watch {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect_for(app, RETRY_TIME).await?;
        match (self.id, self.batch) {
            (Some(id), _) => WatchTask { id, json: self.json }.run(&client, output).await,
            (None, Some(batch)) => {
                BatchDisplay { batch, json: self.json, events: self.json }
                    .run(&client, &mut catch_interrupt()?, output)
                    .await
            }
            (None, None) => Err(Exit::Usage.error("give the id of a task, or --batch and the id of a batch")),
        }
    }
}

/// The display of one task.
struct WatchTask {
    id: TaskId,
    json: bool,
}

impl WatchTask {
    async fn run(&self, client: &Client, output: &mut Output) -> Result<()> {
        let events = client.follow(self.id).await.map_err(exit_error)?;
        let end = self.follow(client, events, output).await?;
        if self.json {
            match &end.details {
                Some(details) => output.json(details)?,
                None => {
                    output.json(&json!({ "task_id": self.id, "state": end.state, "result": end.result }))?
                }
            }
        } else if let Some(result) = end.result.as_ref().filter(|result| result.get() != "null") {
            output.line(escape_json(result.get()));
        }
        match (end.state, end.error) {
            (State::Done, _) => Ok(()),
            (state, error) => {
                let error = error.map(|error| format!(": {error}")).unwrap_or_default();
                Err(Exit::Failed.error(format!("task {} {}{error}", self.id, past_tense(state))))
            }
        }
    }

    /// Prints the changes of the task until its end.
    async fn follow(&self, client: &Client, mut events: TaskEvents, output: &mut Output) -> Result<End> {
        let mut shown = Shown::default();
        let mut clock = tokio::time::interval(POLL_INTERVAL);
        loop {
            let event = tokio::select! {
                biased;
                event = events.next() => event.map_err(exit_error)?,
                _ = clock.tick() => None,
            };
            if let Some(TaskEvent::Disconnected(_)) = event {
                note_disconnected(output);
                continue;
            }
            if let Some(TaskEvent::Reconnected { .. }) = event {
                output.note("Reconnected.");
            }
            let details = match client.show(self.id).await {
                Ok(details) => Some(details),
                // The server keeps no ended tasks.
                Err(ClientError::Refused(refusal)) if refusal.code == ErrorCode::UnknownTask => None,
                Err(error) => return Err(exit_error(error)),
            };
            if let Some(details) = &details {
                for change in shown.update(details) {
                    if self.json {
                        output.json(&change.event(self.id))?;
                    } else {
                        change.print(output);
                    }
                }
                output.flush();
            }
            if let Some(TaskEvent::Ended(end)) = event {
                return Ok(End::of(end, details));
            }
        }
    }
}

/// The end of the task.
struct End {
    state: State,
    result: Option<Box<RawValue>>,
    error: Option<String>,
    /// `None` if the server keeps no ended tasks.
    details: Option<TaskDetails>,
}

impl End {
    fn of(end: TaskEnd, details: Option<TaskDetails>) -> Self {
        let (state, result, error) = match end {
            TaskEnd::Done(result) => (State::Done, Some(result), None),
            TaskEnd::Failed(error) => (State::Failed, None, Some(error)),
            TaskEnd::Cancelled(error) => (State::Cancelled, None, Some(error)),
            TaskEnd::Expired(error) => (State::Expired, None, Some(error)),
        };
        // The task may have been retried since.
        let details = details.filter(|details| details.summary.state == state);
        Self { state, result, error: error.filter(|error| !error.is_empty()), details }
    }
}

fn past_tense(state: State) -> &'static str {
    match state {
        State::Cancelled => "was cancelled",
        State::Expired => "expired",
        _ => "failed",
    }
}
