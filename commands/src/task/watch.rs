//! `task:watch`: follows a task, or a batch, until its end.

use std::time::Duration;

use framework::client::{Client, ClientError, TaskEnd, TaskEvent, TaskEvents};
use framework::output::{escape_control, escape_json};
use framework::prelude::*;
use framework::protocol::ErrorCode;
use framework::task::{BatchId, LogLine, Progress, TaskId};
use framework::views::{State, TaskDetails};
use serde_json::json;
use serde_json::value::RawValue;

use super::batch::progress_bar::{Follow, PATIENCE, listen};
use super::server_address::{ServerAddress, exit_error};
use crate::format::{format_millis, format_timestamp};

/// Follow a task, or a batch, until its end
///
/// Its state, its progress and its log as they come, also over a restart of the server; the result is printed at the
/// end. Of a batch, how far it is, and what has become of its tasks. The exit code is 0 if it is done, of a batch if
/// all of its tasks are, else 1.
#[derive(Args, Command)]
#[command(name = "task:watch")]
struct Watch {
    /// The task
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    id: Option<TaskId>,
    /// This batch instead
    #[arg(long, value_name = "ID")]
    batch: Option<BatchId>,
    /// Print JSON, for programs: the whole story, at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// How often the server is asked for the state: nobody is told when an attempt begins or fails.
const PAUSE: Duration = Duration::from_secs(1);

impl Execute for Watch {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect_for(app, PATIENCE).await?;
        match (self.id, self.batch) {
            (Some(id), _) => WatchTask { id, json: self.json }.run(&client, output).await,
            (None, Some(batch)) => {
                Follow { batch, json: self.json }.run(&client, &mut listen()?, output).await
            }
            (None, None) => {
                Err(Exit::Usage.error("which task? Give its id, or --batch and the id of a batch"))
            }
        }
    }
}

struct WatchTask {
    id: TaskId,
    json: bool,
}

impl WatchTask {
    async fn run(&self, client: &Client, output: &mut Output) -> Result<()> {
        let following = client.follow(self.id).await.map_err(exit_error)?;
        let end = self.follow(client, following, output).await?;
        if self.json {
            match &end.story {
                Some(story) => output.json(story)?,
                None => output.json(&json!({ "id": self.id, "state": end.state, "result": end.result }))?,
            }
        } else if let Some(result) = end.result.as_ref().filter(|result| result.get() != "null") {
            output.line(escape_json(result.get()));
        }
        match (end.state, end.error) {
            (State::Done, _) => Ok(()),
            (state, Some(error)) => {
                Err(Exit::Failed.error(format!("task {} has {}: {error}", self.id, ended_as(state))))
            }
            (state, None) => Err(Exit::Failed.error(format!("task {} has {}", self.id, ended_as(state)))),
        }
    }

    /// Tells what becomes of the task, until its end.
    async fn follow(&self, client: &Client, mut following: TaskEvents, output: &mut Output) -> Result<End> {
        let mut seen = Seen::default();
        let mut clock = tokio::time::interval(PAUSE);
        loop {
            let news = tokio::select! {
                biased;
                news = following.next() => news.map_err(exit_error)?,
                _ = clock.tick() => None,
            };
            if let Some(TaskEvent::Disconnected(_)) = news {
                let grace = format_millis(PATIENCE.as_millis() as f64);
                output.note(format_args!("The connection is lost; trying again for {grace}."));
                continue;
            }
            if let Some(TaskEvent::Reconnected { .. }) = news {
                output.note("There is a connection again.");
            }
            let story = match client.show(self.id).await {
                Ok(story) => Some(story),
                // Nothing is kept of ended tasks.
                Err(ClientError::Refused(refusal)) if refusal.code == ErrorCode::UnknownTask => None,
                Err(error) => return Err(exit_error(error)),
            };
            if let Some(story) = &story {
                seen.print(story, output);
            }
            if let Some(TaskEvent::Ended(ended)) = news {
                return Ok(End::of(ended, story));
            }
        }
    }
}

/// How the task has ended.
struct End {
    state: State,
    result: Option<Box<RawValue>>,
    error: Option<String>,
    /// Unless nothing is kept of it.
    story: Option<TaskDetails>,
}

impl End {
    fn of(ended: TaskEnd, story: Option<TaskDetails>) -> Self {
        let (state, result, error) = match ended {
            TaskEnd::Done(result) => (State::Done, Some(result), None),
            TaskEnd::Failed(error) => (State::Failed, None, Some(error)),
            TaskEnd::Cancelled(error) => (State::Cancelled, None, Some(error)),
            TaskEnd::Expired(error) => (State::Expired, None, Some(error)),
        };
        // Somebody may have let the task run again.
        let story = story.filter(|story| story.summary.state == state);
        Self { state, result, error: error.filter(|error| !error.is_empty()), story }
    }
}

fn ended_as(state: State) -> &'static str {
    match state {
        State::Cancelled => "been cancelled",
        State::Expired => "expired",
        _ => "failed",
    }
}

/// What was told already.
#[derive(Default)]
struct Seen {
    state: Option<(State, u32)>,
    attempts: usize,
    progress: Option<Progress>,
    last: Option<LogLine>,
}

impl Seen {
    fn print(&mut self, story: &TaskDetails, output: &mut Output) {
        let task = &story.summary;
        for attempt in story.history.iter().skip(self.attempts) {
            if let Some(error) = &attempt.error {
                let took =
                    attempt.ran_ms.map(|ms| format!(" after {}", format_millis(ms))).unwrap_or_default();
                output.note(format_args!(
                    "attempt {} has failed{took}: {}",
                    attempt.number,
                    escape_control(error)
                ));
            }
        }
        self.attempts = story.history.len();
        self.print_progress(story, output);
        let state = (task.state, task.attempts);
        if self.state.replace(state) != Some(state) {
            let due = task.due_ms.filter(|_| task.state == State::Waiting);
            let due = due.map(|due| format!(", due {}", format_timestamp(due))).unwrap_or_default();
            output.note(format_args!("{}{due}", task.state.name()));
        }
    }

    fn print_progress(&mut self, story: &TaskDetails, output: &mut Output) {
        let log = &story.notes.log;
        // Nothing has a number in a log of which only the end is kept: what follows the last line told is new.
        let told = self.last.as_ref().and_then(|last| log.iter().rposition(|line| line == last));
        for line in log.iter().skip(told.map_or(0, |told| told + 1)) {
            output.note(format_args!("  {}", escape_control(&line.text)));
        }
        self.last = log.back().cloned().or(self.last.take());
        if self.progress != story.notes.progress {
            self.progress.clone_from(&story.notes.progress);
            if let Some(progress) = &self.progress {
                output.note(format_args!("{:>3.0}% {}", progress.percent, escape_control(&progress.text)));
            }
        }
    }
}
