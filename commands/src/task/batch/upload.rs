//! Uploads a file as a batch: all of it, or nothing.

use framework::client::{Client, ClientError, Pipeline, Request};
use framework::config::called;
use framework::prelude::*;
use framework::task::BatchId;
use tokio::signal::unix::Signal;

use super::bad_lines::BadLines;
use super::piece::{Piece, Pieces};
use super::progress_bar::interrupted;
use crate::format::count_tasks;
use crate::options::server_address::exit_error;

/// A file that is to become a batch.
pub(super) struct Upload {
    pub(super) client: Client,
    pub(super) pieces: Pieces,
    pub(super) request: Request,
    pub(super) name: String,
    pub(super) then: Option<String>,
    pub(super) skip_bad: bool,
}

/// A batch that was accepted as a whole.
pub(super) struct SealedBatch {
    pub(super) batch: BatchId,
    pub(super) accepted: u64,
    pub(super) bad: BadLines,
}

/// The reason why a batch was not completed.
enum Abort {
    BadLine,
    Interrupted,
    /// The connection has failed, or the queue stays full.
    Client(ClientError),
    File(anyhow::Error),
}

impl Upload {
    /// Opens the batch, uploads the tasks, and seals it. On a bad line, a broken file or Ctrl-C it is
    /// cancelled.
    ///
    /// # Errors
    /// When the batch was not sealed; the error names its state.
    pub(super) async fn run(mut self, interrupt: &mut Signal, output: &mut Output) -> Result<SealedBatch> {
        let first = tokio::select! {
            piece = self.pieces.recv() => piece.transpose()?,
            () = interrupted(interrupt) => return Err(Exit::Interrupted.error("nothing was sent")),
        };
        let Some(first) = first else { bail!("the file holds no tasks") };
        let mut bad = BadLines::default();
        if !self.skip_bad {
            // The first lines are checked before a batch is opened.
            check(&first, &mut bad)?;
        }
        let function = self.request.function.clone().unwrap_or_default();
        let then = self.then.as_deref();
        let batch = self.client.open_batch(&self.name, &function, then).await.map_err(exit_error)?;
        let pipeline = self.client.pipeline(batch, &self.request).await;
        let mut pipeline = pipeline.map_err(|error| left_open(batch, 0, error))?;
        let uploaded =
            upload(&mut pipeline, first, &mut self.pieces, &mut bad, self.skip_bad, interrupt, output);
        let uploaded = uploaded.await;
        output.redraw("");
        match uploaded {
            Ok(()) if pipeline.accepted() > 0 => {
                let accepted = pipeline.accepted();
                let sealed = self.client.seal_batch(batch).await;
                sealed.map_err(|error| left_open(batch, accepted, error))?;
                Ok(SealedBatch { batch, accepted, bad })
            }
            uploaded => {
                abort_upload(
                    &self.client,
                    pipeline,
                    batch,
                    &mut bad,
                    uploaded.err().unwrap_or(Abort::BadLine),
                )
                .await
            }
        }
    }
}

fn check(first: &Piece, bad: &mut BadLines) -> Result<()> {
    for line in &first.lines {
        if let Err(reason) = &line.args {
            bad.add(line.number, reason.clone());
        }
    }
    match bad.first() {
        Some(first) => Err(anyhow!("{first}; nothing was sent. --skip-bad skips such lines")),
        None => Ok(()),
    }
}

/// Uploads piece after piece, and waits for the last reply.
async fn upload(
    pipeline: &mut Pipeline,
    first: Piece,
    pieces: &mut Pieces,
    bad: &mut BadLines,
    skip_bad: bool,
    interrupt: &mut Signal,
    output: &mut Output,
) -> Result<(), Abort> {
    let mut next = Some(Ok(first));
    while let Some(piece) = next {
        let piece = piece.map_err(Abort::File)?;
        tokio::select! {
            pushed = push(pipeline, &piece, bad) => pushed.map_err(Abort::Client)?,
            () = interrupted(interrupt) => return Err(Abort::Interrupted),
        }
        if bad.count > 0 && !skip_bad {
            return Err(Abort::BadLine);
        }
        output.redraw(format_args!("{} accepted", count_tasks(pipeline.accepted())));
        next = tokio::select! {
            piece = pieces.recv() => piece,
            () = interrupted(interrupt) => return Err(Abort::Interrupted),
        };
    }
    tokio::select! {
        finished = pipeline.finish() => finished.map_err(Abort::Client)?,
        () = interrupted(interrupt) => return Err(Abort::Interrupted),
    }
    take_rejected(pipeline, bad);
    if bad.count > 0 && !skip_bad { Err(Abort::BadLine) } else { Ok(()) }
}

async fn push(pipeline: &mut Pipeline, piece: &Piece, bad: &mut BadLines) -> Result<(), ClientError> {
    for line in &piece.lines {
        match &line.args {
            Ok(place) => pipeline.push(line.number, &piece.bytes[place.clone()]).await?,
            Err(reason) => bad.add(line.number, reason.clone()),
        }
    }
    take_rejected(pipeline, bad);
    Ok(())
}

fn take_rejected(pipeline: &mut Pipeline, bad: &mut BadLines) {
    for rejected in pipeline.take_rejected() {
        bad.add(rejected.number, rejected.error.to_string().trim_end_matches('.').to_owned());
    }
}

/// Cancels the batch, so that none of its tasks runs, and returns the reason as an error.
async fn abort_upload(
    client: &Client,
    mut pipeline: Pipeline,
    batch: BatchId,
    bad: &mut BadLines,
    abort: Abort,
) -> Result<SealedBatch> {
    let is_lost = matches!(&abort, Abort::Client(error) if !matches!(error, ClientError::Refused(_)));
    let accepted = pipeline.accepted();
    if let Abort::Client(error) = abort {
        if is_lost {
            return Err(left_open(batch, accepted, error));
        }
        cancel(client, pipeline, batch).await?;
        return Err(
            exit_error(error).context(format!("batch {batch} is cancelled, and none of its tasks runs"))
        );
    }
    pipeline.abandon().await.map_err(|error| left_open(batch, accepted, error))?;
    take_rejected(&mut pipeline, bad);
    cancel(client, pipeline, batch).await?;
    let cancelled = format!("batch {batch} is cancelled, and none of its tasks runs");
    Err(match abort {
        Abort::Interrupted => Exit::Interrupted.error(format!("interrupted; {cancelled}")),
        Abort::File(error) => error.context(cancelled),
        _ => match bad.first() {
            Some(first) => anyhow!("{first}; {cancelled}. --skip-bad skips such lines"),
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
        "batch {batch} is left open with about {}; none of them runs. {} task:cancel --batch {batch} removes it",
        count_tasks(accepted),
        called()
    ))
}
