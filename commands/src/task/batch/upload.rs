//! The way of a file into a batch: all of it, or nothing.

use framework::client::{Client, ClientError, Pipeline, Request};
use framework::prelude::*;
use framework::task::BatchId;
use tokio::signal::unix::Signal;

use super::bad_lines::BadLines;
use super::progress_bar::interrupted;
use super::reader::{Piece, Pieces};
use crate::format::count_tasks;
use crate::task::server_address::exit_error;

/// What is to be handed over.
pub(super) struct Upload {
    pub(super) client: Client,
    pub(super) pieces: Pieces,
    pub(super) request: Request,
    pub(super) name: String,
    pub(super) then: Option<String>,
    pub(super) skip_bad: bool,
}

/// A batch that is accepted as a whole.
pub(super) struct Sealed {
    pub(super) batch: BatchId,
    pub(super) accepted: u64,
    pub(super) bad: BadLines,
}

/// Why a batch is not completed.
enum Stop {
    BadLine,
    Interrupted,
    /// Nothing can be said to the server any more, or the queue stays full.
    Client(ClientError),
    File(anyhow::Error),
}

impl Upload {
    /// Opens the batch, hands over the tasks, and seals it. On a bad line, a broken file or Ctrl-C it is cancelled.
    ///
    /// # Errors
    /// When the batch was not sealed; says what became of it.
    pub(super) async fn run(mut self, interrupt: &mut Signal, output: &mut Output) -> Result<Sealed> {
        let first = tokio::select! {
            piece = self.pieces.recv() => piece.transpose()?,
            () = interrupted(interrupt) => return Err(Exit::Interrupted.error("nothing was sent")),
        };
        let Some(first) = first else { bail!("the file holds no tasks") };
        let mut bad = BadLines::default();
        if !self.skip_bad {
            // The first lines are looked at before the server hears of anything.
            check(&first, &mut bad)?;
        }
        let function = self.request.function.clone().unwrap_or_default();
        let then = self.then.as_deref();
        let batch = self.client.open_batch(&self.name, &function, then).await.map_err(exit_error)?;
        let pipeline = self.client.pipeline(batch, &self.request).await;
        let mut pipeline = pipeline.map_err(|error| left_open(batch, 0, error))?;
        let fed = feed(&mut pipeline, first, &mut self.pieces, &mut bad, self.skip_bad, interrupt, output);
        let fed = fed.await;
        output.redraw("");
        match fed {
            Ok(()) if pipeline.accepted() > 0 => {
                let accepted = pipeline.accepted();
                let sealed = self.client.seal_batch(batch).await;
                sealed.map_err(|error| left_open(batch, accepted, error))?;
                Ok(Sealed { batch, accepted, bad })
            }
            fed => give_up(&self.client, pipeline, batch, &mut bad, fed.err().unwrap_or(Stop::BadLine)).await,
        }
    }
}

fn check(first: &Piece, bad: &mut BadLines) -> Result<()> {
    for entry in &first.entries {
        if let Err(why) = &entry.args {
            bad.add(entry.line, why.clone());
        }
    }
    match bad.first() {
        Some(first) => Err(anyhow!("{first}; nothing was sent. --skip-bad leaves such lines out")),
        None => Ok(()),
    }
}

/// Hands over piece after piece, and waits for the last answer.
async fn feed(
    pipeline: &mut Pipeline,
    first: Piece,
    pieces: &mut Pieces,
    bad: &mut BadLines,
    skip_bad: bool,
    interrupt: &mut Signal,
    output: &mut Output,
) -> Result<(), Stop> {
    let mut next = Some(Ok(first));
    while let Some(piece) = next {
        let piece = piece.map_err(Stop::File)?;
        tokio::select! {
            pushed = push(pipeline, &piece, bad) => pushed.map_err(Stop::Client)?,
            () = interrupted(interrupt) => return Err(Stop::Interrupted),
        }
        if bad.count > 0 && !skip_bad {
            return Err(Stop::BadLine);
        }
        output.redraw(format_args!("{} accepted", count_tasks(pipeline.accepted())));
        next = tokio::select! {
            piece = pieces.recv() => piece,
            () = interrupted(interrupt) => return Err(Stop::Interrupted),
        };
    }
    tokio::select! {
        finished = pipeline.finish() => finished.map_err(Stop::Client)?,
        () = interrupted(interrupt) => return Err(Stop::Interrupted),
    }
    take_refused(pipeline, bad);
    if bad.count > 0 && !skip_bad { Err(Stop::BadLine) } else { Ok(()) }
}

async fn push(pipeline: &mut Pipeline, piece: &Piece, bad: &mut BadLines) -> Result<(), ClientError> {
    for entry in &piece.entries {
        match &entry.args {
            Ok(place) => pipeline.push(entry.line, &piece.bytes[place.clone()]).await?,
            Err(why) => bad.add(entry.line, why.clone()),
        }
    }
    take_refused(pipeline, bad);
    Ok(())
}

fn take_refused(pipeline: &mut Pipeline, bad: &mut BadLines) {
    for refused in pipeline.refused() {
        bad.add(refused.number, refused.refusal.to_string().trim_end_matches('.').to_owned());
    }
}

/// Cancels what was accepted so far, so that nothing of it runs, and says why.
async fn give_up(
    client: &Client,
    mut pipeline: Pipeline,
    batch: BatchId,
    bad: &mut BadLines,
    stop: Stop,
) -> Result<Sealed> {
    let is_lost = matches!(&stop, Stop::Client(error) if !matches!(error, ClientError::Refused(_)));
    let accepted = pipeline.accepted();
    if let Stop::Client(error) = stop {
        if is_lost {
            return Err(left_open(batch, accepted, error));
        }
        cancel(client, pipeline, batch).await?;
        return Err(exit_error(error).context(format!("batch {batch} is cancelled, and nothing of it runs")));
    }
    pipeline.abandon().await.map_err(|error| left_open(batch, accepted, error))?;
    take_refused(&mut pipeline, bad);
    cancel(client, pipeline, batch).await?;
    let cancelled = format!("batch {batch} is cancelled, and nothing of it runs");
    Err(match stop {
        Stop::Interrupted => Exit::Interrupted.error(format!("interrupted; {cancelled}")),
        Stop::File(error) => error.context(cancelled),
        _ => match bad.first() {
            Some(first) => anyhow!("{first}; {cancelled}. --skip-bad leaves such lines out"),
            None => anyhow!("the file holds no tasks; {cancelled}"),
        },
    })
}

async fn cancel(client: &Client, mut pipeline: Pipeline, batch: BatchId) -> Result<()> {
    let accepted = pipeline.accepted();
    pipeline.abandon().await.map_err(|error| left_open(batch, accepted, error))?;
    client.cancel_batch(batch).await.map_err(|error| left_open(batch, accepted, error))?;
    Ok(())
}

fn left_open(batch: BatchId, accepted: u64, error: ClientError) -> anyhow::Error {
    exit_error(error).context(format!(
        "batch {batch} is left open with about {}; nothing of it runs. ./think task:cancel --batch {batch} removes it",
        count_tasks(accepted)
    ))
}
