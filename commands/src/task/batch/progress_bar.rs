//! Shows the progress of a batch and of its completion task until both have ended.

use std::time::{Duration, Instant};

use framework::client::{BatchEvent, Client, ClientError, TaskEnd, TaskEvent};
use framework::config::called;
use framework::prelude::*;
use framework::protocol::{ErrorCode, Status};
use framework::task::{BatchId, TaskId};
use framework::views::BatchInfo;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::format::{count_tasks, format_millis, percent};
use crate::options::server_address::exit_error;

/// The time that the client waits for a server that is away, as during a restart.
pub(crate) const RETRY_TIME: Duration = Duration::from_secs(60);
/// The width of the bar in characters, in a terminal that has room for it.
const WIDTH: usize = 30;
/// A shorter bar shows nothing.
const LEAST_WIDTH: usize = 6;

/// The display of a batch.
pub(crate) struct BatchDisplay {
    pub(crate) batch: BatchId,
    pub(crate) json: bool,
    /// Whether each event is printed as a line of JSON.
    pub(crate) events: bool,
}

impl BatchDisplay {
    /// Shows the progress until the batch has ended, and then its counts. The client should retry for
    /// [`RETRY_TIME`].
    ///
    /// # Errors
    /// When a task or the completion task is not done, the server stays away, or Ctrl-C is pressed; the batch
    /// goes on.
    pub(crate) async fn run(
        &self,
        client: &Client,
        interrupt: &mut Signal,
        output: &mut Output,
    ) -> Result<()> {
        let batch = self.batch;
        let result = tokio::select! {
            result = self.follow(client, output) => result,
            () = interrupted(interrupt) => {
                output.redraw("");
                output.note(format_args!(
                    "Batch {batch} goes on; {} task:watch --batch {batch} shows its progress.",
                    called()
                ));
                return Err(Exit::Interrupted.silent());
            }
        };
        output.redraw("");
        self.conclude(&result?, output)
    }

    async fn follow(&self, client: &Client, output: &mut Output) -> Result<BatchInfo> {
        let mut bar = Bar { begin: Instant::now(), shown: 0 };
        let mut events = client.follow_batch(self.batch).await.map_err(exit_error)?;
        self.show(events.latest(), Status::Watching, &mut bar, output)?;
        while let Some(event) = events.next().await.map_err(exit_error)? {
            match event {
                BatchEvent::Disconnected(_) => note_disconnected(output),
                BatchEvent::Progress(batch) | BatchEvent::Reconnected(batch) => {
                    self.show(&batch, Status::Progress, &mut bar, output)?;
                }
                BatchEvent::Ended(batch) => self.show(&batch, Status::Ended, &mut bar, output)?,
            }
        }
        let batch = events.latest().clone();
        if let Some(task) = batch.then_task {
            self.follow_completion_task(client, task, &batch, output).await?;
        }
        Ok(batch)
    }

    fn show(&self, batch: &BatchInfo, status: Status, bar: &mut Bar, output: &mut Output) -> Result<()> {
        if self.events {
            output.json(&json!({ "status": status, "batch": batch }))?;
            output.flush();
        } else {
            bar.draw(batch, output);
        }
        Ok(())
    }

    /// Waits for the end of the completion task.
    async fn follow_completion_task(
        &self,
        client: &Client,
        task: TaskId,
        batch: &BatchInfo,
        output: &mut Output,
    ) -> Result<()> {
        let ended = match self.task_end(client, task, output).await {
            Ok(ended) => ended,
            // The server keeps no ended tasks.
            Err(ClientError::Refused(refusal)) if refusal.code == ErrorCode::UnknownTask => return Ok(()),
            Err(error) => return Err(exit_error(error)),
        };
        match ended {
            None | Some(TaskEnd::Done(_)) => Ok(()),
            Some(ended) => {
                let function = batch.then.as_deref().unwrap_or_default();
                Err(Exit::Failed.error(format!(
                    "batch {} has ended, but its completion task {task} ({function}) {ended}",
                    self.batch
                )))
            }
        }
    }

    async fn task_end(
        &self,
        client: &Client,
        task: TaskId,
        output: &mut Output,
    ) -> Result<Option<TaskEnd>, ClientError> {
        let mut events = client.follow(task).await?;
        while let Some(event) = events.next().await? {
            match event {
                TaskEvent::Disconnected(_) => note_disconnected(output),
                TaskEvent::Ended(ended) => return Ok(Some(ended)),
                TaskEvent::Progress { .. } | TaskEvent::Log { .. } | TaskEvent::Reconnected { .. } => {}
            }
        }
        Ok(None)
    }

    fn conclude(&self, batch: &BatchInfo, output: &mut Output) -> Result<()> {
        if self.json {
            output.json(batch)?;
        } else {
            let took = batch.ended_ms.map(|ended| ended.saturating_sub(batch.opened_ms) as f64);
            let took = took.map(|took| format!(" in {}", format_millis(took))).unwrap_or_default();
            output.line(format_args!(
                "batch {}: {} of {} done{took}",
                batch.id,
                batch.done,
                count_tasks(batch.total)
            ));
        }
        if batch.done >= batch.total {
            return Ok(());
        }
        let BatchInfo { id, failed, cancelled, expired, .. } = batch;
        let counts = format!("{failed} failed, {cancelled} cancelled, {expired} expired");
        Err(Exit::Failed.error(format!("{counts}; {} task:list --batch {id} shows them", called())))
    }
}

/// Catches Ctrl-C from now on.
pub(crate) fn catch_interrupt() -> Result<Signal> {
    signal(SignalKind::interrupt()).context("listening for Ctrl-C")
}

/// Waits for Ctrl-C.
pub(super) async fn interrupted(interrupt: &mut Signal) {
    if interrupt.recv().await.is_none() {
        std::future::pending().await
    }
}

/// Reports a lost connection, to which the client reconnects by itself.
pub(crate) fn note_disconnected(output: &mut Output) {
    output.redraw("");
    let time = format_millis(RETRY_TIME.as_millis() as f64);
    output.note(format_args!("Connection lost; trying to reconnect for {time}."));
}

/// A progress bar on a terminal, elsewhere a line for every tenth.
struct Bar {
    begin: Instant,
    /// The number of tenths printed.
    shown: u64,
}

impl Bar {
    fn draw(&mut self, batch: &BatchInfo, output: &mut Output) {
        let percent = percent(batch);
        let text = format!("{percent:>3.0}% {} of {}{}", batch.ended(), batch.total, failures(batch));
        if output.is_interactive() {
            let text = format!("{text}{}", self.time_left(batch));
            let room = output.note_width().saturating_sub(text.len() + "[]  ".len()).min(WIDTH);
            if room < LEAST_WIDTH {
                return output.redraw(text);
            }
            let full = (percent / 100.0 * room as f64) as usize;
            let bar: String = (0..room).map(|at| if at < full { '#' } else { '.' }).collect();
            return output.redraw(format_args!("[{bar}] {text}"));
        }
        let tenths = (percent / 10.0) as u64;
        if tenths > self.shown {
            self.shown = tenths;
            output.note(text);
        }
    }

    /// The estimated time until the end.
    fn time_left(&self, batch: &BatchInfo) -> String {
        match (batch.ended(), batch.total.saturating_sub(batch.ended())) {
            (0, _) | (_, 0) => String::new(),
            (ended, left) => {
                let rate = ended as f64 / self.begin.elapsed().as_secs_f64().max(0.001);
                format!(", about {} left", framework::humantime::format_duration(whole(left as f64 / rate)))
            }
        }
    }
}

fn whole(seconds: f64) -> Duration {
    /// A longer estimate would mean nothing.
    const LONGEST: f64 = 365.0 * 24.0 * 60.0 * 60.0;
    Duration::from_secs(seconds.clamp(1.0, LONGEST) as u64)
}

fn failures(batch: &BatchInfo) -> String {
    let counts = [(batch.failed, "failed"), (batch.cancelled, "cancelled"), (batch.expired, "expired")];
    let shown = counts.iter().filter(|(count, _)| *count > 0);
    shown.map(|(count, what)| format!(", {count} {what}")).collect()
}
