//! Shows how far a batch is until it has ended, and its completion task, too.

use std::time::{Duration, Instant};

use framework::client::{BatchEvent, Client, ClientError, TaskEnd, TaskEvent};
use framework::prelude::*;
use framework::protocol::ErrorCode;
use framework::task::{BatchId, TaskId};
use framework::views::BatchInfo;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::format::{count_tasks, format_millis, percent};
use crate::task::server_address::exit_error;

/// How long a server may be away, as for a restart.
pub(in crate::task) const PATIENCE: Duration = Duration::from_secs(60);
/// How wide the bar is.
const WIDTH: usize = 30;

/// A batch that is followed for somebody at a terminal.
pub(in crate::task) struct Follow {
    pub(in crate::task) batch: BatchId,
    pub(in crate::task) json: bool,
}

impl Follow {
    /// Shows how far the batch is, and at last what has become of it. The client is to wait for [`PATIENCE`].
    ///
    /// # Errors
    /// When some of its tasks are not done, its completion task is not, the server stays away, or somebody presses
    /// Ctrl-C; the batch goes on.
    pub(in crate::task) async fn run(
        &self,
        client: &Client,
        interrupt: &mut Signal,
        output: &mut Output,
    ) -> Result<()> {
        let batch = self.batch;
        let followed = tokio::select! {
            followed = self.follow(client, output) => followed,
            () = interrupted(interrupt) => {
                output.redraw("");
                let shows = format!("batch {batch} goes on; ./think task:watch --batch {batch} shows how far it is");
                return Err(Exit::Interrupted.error(shows));
            }
        };
        output.redraw("");
        self.conclude(&followed?, output)
    }

    async fn follow(&self, client: &Client, output: &mut Output) -> Result<BatchInfo> {
        let mut bar = Bar { begin: Instant::now(), told: 0 };
        let mut following = client.follow_batch(self.batch).await.map_err(exit_error)?;
        bar.draw(following.story(), output);
        while let Some(news) = following.next().await.map_err(exit_error)? {
            match news {
                BatchEvent::Disconnected(_) => lost(output),
                BatchEvent::Progress(story) | BatchEvent::Reconnected(story) | BatchEvent::Ended(story) => {
                    bar.draw(&story, output)
                }
            }
        }
        let story = following.story().clone();
        if let Some(task) = story.then_task {
            self.follow_then(client, task, &story, output).await?;
        }
        Ok(story)
    }

    /// Waits for the end of the completion task.
    async fn follow_then(
        &self,
        client: &Client,
        task: TaskId,
        batch: &BatchInfo,
        output: &mut Output,
    ) -> Result<()> {
        let ended = match self.end_of(client, task, output).await {
            Ok(ended) => ended,
            // Nothing is kept of ended tasks.
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

    async fn end_of(
        &self,
        client: &Client,
        task: TaskId,
        output: &mut Output,
    ) -> Result<Option<TaskEnd>, ClientError> {
        let mut following = client.follow(task).await?;
        while let Some(news) = following.next().await? {
            match news {
                TaskEvent::Disconnected(_) => lost(output),
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
        match batch.total - batch.done.min(batch.total) {
            0 => Ok(()),
            _ => Err(Exit::Failed.error(format!(
                "{} failed, {} cancelled, {} expired; ./think task:list --batch {} shows them",
                batch.failed, batch.cancelled, batch.expired, batch.id
            ))),
        }
    }
}

/// Hears of Ctrl-C from now on.
pub(in crate::task) fn listen() -> Result<Signal> {
    signal(SignalKind::interrupt()).context("listening for Ctrl-C")
}

/// Waits for Ctrl-C.
pub(super) async fn interrupted(interrupt: &mut Signal) {
    if interrupt.recv().await.is_none() {
        std::future::pending().await
    }
}

fn lost(output: &mut Output) {
    output.redraw("");
    let grace = format_millis(PATIENCE.as_millis() as f64);
    output.note(format_args!("The connection is lost; trying again for {grace}."));
}

/// A progress bar on a terminal, else a line for every tenth.
struct Bar {
    begin: Instant,
    /// The tenths told.
    told: u64,
}

impl Bar {
    fn draw(&mut self, batch: &BatchInfo, output: &mut Output) {
        let percent = percent(batch);
        let text = format!("{percent:>3.0}% {} of {}{}", batch.ended(), batch.total, mishaps(batch));
        if output.is_watched() {
            let full = (percent / 100.0 * WIDTH as f64) as usize;
            let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
            return output.redraw(format_args!("[{bar}] {text}{}", self.left(batch)));
        }
        let tenths = (percent / 10.0) as u64;
        if tenths > self.told {
            self.told = tenths;
            output.note(text);
        }
    }

    /// When it will probably have ended.
    fn left(&self, batch: &BatchInfo) -> String {
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
    /// Beyond a year, nobody counts seconds.
    const LONGEST: f64 = 365.0 * 24.0 * 60.0 * 60.0;
    Duration::from_secs(seconds.clamp(1.0, LONGEST) as u64)
}

fn mishaps(batch: &BatchInfo) -> String {
    let counts = [(batch.failed, "failed"), (batch.cancelled, "cancelled"), (batch.expired, "expired")];
    let told = counts.iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| format!(", {count} {what}")).collect()
}
