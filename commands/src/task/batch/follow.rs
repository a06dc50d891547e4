//! Shows how far a batch is until it has ended, and its completion task, too.

use std::time::{Duration, Instant};

use framework::client::{Client, ClientError};
use framework::prelude::*;
use framework::protocol::Code;
use framework::store::{BatchState, BatchStory, State};
use framework::task::{BatchId, TaskId};
use tokio::signal::unix::Signal;

use super::interrupted;
use crate::people::{percent, span};
use crate::task::server_address::ended;

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a server may be away, as for a restart.
const PATIENCE: Duration = Duration::from_secs(60);
/// How wide the bar is.
const WIDTH: usize = 30;

pub(super) struct Follow {
    pub(super) batch: BatchId,
}

impl Follow {
    /// # Errors
    /// When the server stays away, the completion task has failed, or somebody presses Ctrl-C; the batch goes on.
    pub(super) async fn run(
        &self,
        client: Client,
        interrupt: &mut Signal,
        output: &mut Output,
    ) -> Result<BatchStory> {
        let batch = self.batch;
        let followed = tokio::select! {
            followed = self.follow(client, output) => followed,
            () = interrupted(interrupt) => {
                output.redraw("");
                let shows = format!("batch {batch} goes on; ./think task:show --batch {batch} shows how far it is");
                return Err(Exit::Interrupted.because(shows));
            }
        };
        output.redraw("");
        followed
    }

    async fn follow(&self, client: Client, output: &mut Output) -> Result<BatchStory> {
        let mut bar = Bar { begin: Instant::now(), told: 0 };
        let story = loop {
            match client.batch(self.batch).await {
                Ok(story) => {
                    bar.draw(&story, output);
                    if story.state == BatchState::Ended {
                        break story;
                    }
                }
                Err(error) => self.find_again(&client, error, output).await?,
            }
            tokio::time::sleep(PAUSE).await;
        };
        if let Some(task) = story.then_task {
            self.follow_then(&client, task, output).await?;
        }
        Ok(story)
    }

    /// Waits for the end of the completion task.
    async fn follow_then(&self, client: &Client, task: TaskId, output: &mut Output) -> Result<()> {
        loop {
            match client.show(task).await {
                Ok(story) if story.summary.state == State::Done => return Ok(()),
                Ok(story) if story.summary.state.is_terminal() => {
                    let why = story.summary.error.unwrap_or_else(|| story.summary.state.name().to_owned());
                    let function = story.summary.function;
                    return Err(Exit::Failed.because(format!(
                        "batch {} has ended, but its completion task {task} ({function}) is not done: {why}",
                        self.batch
                    )));
                }
                Ok(_) => {}
                // Nothing is kept of ended tasks.
                Err(ClientError::Refused(refusal)) if refusal.code == Code::UnknownTask => return Ok(()),
                Err(error) => self.find_again(client, error, output).await?,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Connects again to a server that has gone away; its batches survive a restart.
    async fn find_again(&self, client: &Client, error: ClientError, output: &mut Output) -> Result<()> {
        if !matches!(
            error,
            ClientError::Io { .. } | ClientError::NotRunning(_) | ClientError::Unreachable { .. }
        ) {
            return Err(ended(error));
        }
        output.redraw("");
        output.note(format_args!(
            "The connection is lost; trying again for {}.",
            span(PATIENCE.as_millis() as f64)
        ));
        let begin = Instant::now();
        loop {
            match client.open().await {
                Ok(()) => return Ok(()),
                Err(error) if begin.elapsed() > PATIENCE => return Err(ended(error)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// A progress bar on a terminal, else a line for every tenth.
struct Bar {
    begin: Instant,
    /// The tenths told.
    told: u64,
}

impl Bar {
    fn draw(&mut self, batch: &BatchStory, output: &mut Output) {
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
    fn left(&self, batch: &BatchStory) -> String {
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

fn mishaps(batch: &BatchStory) -> String {
    let counts = [(batch.failed, "failed"), (batch.cancelled, "cancelled"), (batch.expired, "expired")];
    let told = counts.iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| format!(", {count} {what}")).collect()
}
