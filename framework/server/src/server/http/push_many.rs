//! `POST /tasks`: many tasks, a line each, with the replies going out while tasks still come in.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::{LineDecoder, MessageBatch, RequestError};
use futures_util::stream::unfold;
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use tokio::sync::Notify;

use super::body::next_frame;
use super::problem::Problem;
use super::replies::{ReplyCollector, too_long};
use super::request_context::{RequestContext, SideTasks};
use super::response::{self, Body};
use crate::server::outbox::{Outbox, OutboxState};
use crate::server::poll::raised;

/// The media types of the body.
const MEDIA_TYPES: [&str; 4] =
    [response::LINES, "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// Pushes the tasks of the body's lines; each line of the response is the reply to one of them.
pub(super) async fn push(
    context: RequestContext,
    side_tasks: &SideTasks,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    check(request.headers())?;
    let mut body = request.into_body();
    // Before the response begins, so that a client which expects `100 Continue` gets it.
    let first = next_frame(&mut body, &context.session).await?;
    let replies = ReplyCollector::new(context);
    let collected = Arc::new(Notify::new());
    let response = ReplyStream { outbox: replies.outbox.clone(), collected: collected.clone() };
    let mut upload = NdjsonUpload {
        lines: LineDecoder::new(replies.context.session.limits.package_max_length),
        replies,
        collected,
    };
    side_tasks.set_upload(Box::pin(async move {
        if let Some(frame) = first {
            upload.run(frame, body).await;
        }
        upload.end().await;
    }));
    Ok(response::stream(response::LINES, unfold(response, ReplyStream::next)))
}

fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if MEDIA_TYPES.iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let detail = "Here a task a line is taken, with Content-Type: application/x-ndjson; one task alone goes to \
                  /tasks/NAME as application/json.";
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    Err(problem.with(header::ACCEPT, response::LINES))
}

/// The tasks on their way in.
struct NdjsonUpload {
    replies: ReplyCollector,
    lines: LineDecoder,
    /// Notified whenever replies have been collected.
    collected: Arc<Notify>,
}

type Frame = Result<hyper::body::Frame<Bytes>, hyper::Error>;

impl NdjsonUpload {
    /// Reads on for as long as the replies are read.
    async fn run(&mut self, mut frame: Frame, mut body: Incoming) {
        let mut stop = self.replies.context.stop.clone();
        loop {
            match frame {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        let batch = self.lines.feed(&data);
                        self.push_batch(&batch).await;
                    }
                }
                Err(error) => {
                    return self.refuse(&RequestError::bad_request(format!("The body broke off: {error}.")));
                }
            }
            self.wait_for_room().await;
            tokio::select! {
                next = next_frame(&mut body, &self.replies.context.session) => match next {
                    Ok(Some(next)) => frame = next,
                    Ok(None) => break,
                    Err(late) => return self.refuse(&RequestError::bad_request(late.detail())),
                },
                () = raised(&mut stop) => {
                    return self.refuse(&RequestError::shutting_down());
                }
            }
        }
        if let Some(rest) = self.lines.finish() {
            self.push_batch(&MessageBatch { bytes: rest, overflow: false }).await;
        }
    }

    async fn push_batch(&self, batch: &MessageBatch) {
        let limit = self.replies.context.session.limits.package_max_length;
        self.replies.push_lines(MessageBatch::lines(&batch.bytes), limit).await;
        if batch.overflow {
            self.replies.outbox.refuse(&too_long(limit));
        }
        self.replies.outbox.wake();
    }

    fn refuse(&self, refusal: &RequestError) {
        self.replies.outbox.refuse(refusal);
        self.replies.outbox.wake();
    }

    /// Waits until another read keeps this request within `max_output_buffer` and `max_in_flight`.
    async fn wait_for_room(&self) {
        let limits = &self.replies.context.session.limits;
        loop {
            let (held, awaited) = self.replies.outbox.load();
            if held < limits.max_output_buffer / 2 && awaited < limits.max_in_flight {
                return;
            }
            self.collected.notified().await;
        }
    }

    /// Waits for the results that are still to come.
    async fn end(self) {
        while !self.replies.outbox.is_settled() {
            self.collected.notified().await;
        }
    }
}

/// The replies on their way out.
struct ReplyStream {
    outbox: Arc<Outbox>,
    collected: Arc<Notify>,
}

impl ReplyStream {
    async fn next(self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            let mut output = Vec::new();
            let end = self.outbox.collect(&mut output);
            self.collected.notify_one();
            match end {
                _ if !output.is_empty() => return Some((Ok(output.into()), self)),
                OutboxState::Open => self.outbox.changed().await,
                OutboxState::Gone => return None,
                OutboxState::Overflowed => return Some((Err(io::ErrorKind::TimedOut.into()), self)),
            }
        }
    }
}
