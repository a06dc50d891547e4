//! `POST /tasks`: many tasks, a line each, answered while they come.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::{ErrorCode, LineDecoder, MessageBatch, RequestError};
use futures_util::stream::unfold;
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use tokio::sync::Notify;

use super::problem::Problem;
use super::push_task::part;
use super::replies::{ReplyCollector, too_long};
use super::response::{self, Body};
use super::{RequestContext, SideTasks};
use crate::server::outbox::{Outbox, OutboxState};
use crate::server::poll::raised;

/// What the lines may be called.
const MEDIA_TYPES: [&str; 4] =
    [response::LINES, "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// Hands over the tasks of the body's lines; each line of the answer is that to one of them.
pub(super) async fn push(
    caller: RequestContext,
    beside: &SideTasks,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    check(request.headers())?;
    let mut body = request.into_body();
    // Before the answer begins, so that a client which waits to be told to go on is told.
    let first = part(&mut body, &caller.context).await?;
    let mailbox = ReplyCollector::new(caller);
    let pace = Arc::new(Notify::new());
    let answers = Answers { outbox: mailbox.outbox.clone(), pace: pace.clone() };
    let upload = NdjsonUpload {
        lines: LineDecoder::new(mailbox.caller.context.settings.package_max_length),
        mailbox,
        pace,
    };
    beside.begin(Box::pin(async move {
        let mut upload = upload;
        if let Some(frame) = first {
            upload.run(frame, body).await;
        }
        upload.end().await;
    }));
    Ok(response::stream(response::LINES, unfold(answers, Answers::next)))
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
    mailbox: ReplyCollector,
    lines: LineDecoder,
    /// Rung whenever answers have gone out.
    pace: Arc<Notify>,
}

type Frame = Result<hyper::body::Frame<Bytes>, hyper::Error>;

impl NdjsonUpload {
    /// Reads on for as long as the answers are taken.
    async fn run(&mut self, mut frame: Frame, mut body: Incoming) {
        let mut stop = self.mailbox.caller.stop.clone();
        loop {
            match frame {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        let page = self.lines.feed(&data);
                        self.take_in(&page).await;
                    }
                }
                Err(error) => {
                    return self.refuse(&RequestError::new(
                        ErrorCode::BadRequest,
                        format!("The body broke off: {error}."),
                    ));
                }
            }
            if !self.may_go_on().await {
                return;
            }
            tokio::select! {
                next = part(&mut body, &self.mailbox.caller.context) => match next {
                    Ok(Some(next)) => frame = next,
                    Ok(None) => break,
                    Err(late) => return self.refuse(&RequestError::new(ErrorCode::BadRequest, late.detail())),
                },
                () = raised(&mut stop) => {
                    return self.refuse(&RequestError::new(ErrorCode::ShuttingDown, "The server is shutting down."));
                }
            }
        }
        if let Some(rest) = self.lines.finish() {
            self.take_in(&MessageBatch { bytes: rest, overflow: false }).await;
        }
    }

    async fn take_in(&self, page: &MessageBatch) {
        let limit = self.mailbox.caller.context.settings.package_max_length;
        self.mailbox.ask_all(&page.bytes, MessageBatch::lines(&page.bytes), limit).await;
        if page.overflow {
            self.mailbox.outbox.refuse(&too_long(limit));
        }
        self.mailbox.outbox.wake();
    }

    fn refuse(&self, refusal: &RequestError) {
        self.mailbox.outbox.refuse(refusal);
        self.mailbox.outbox.wake();
    }

    /// Waits until another read would not make this request hold more than it may; `false` when nobody listens.
    async fn may_go_on(&self) -> bool {
        let settings = &self.mailbox.caller.context.settings;
        loop {
            let (held, awaited) = self.mailbox.outbox.load();
            if held < settings.max_output_buffer / 2 && awaited < settings.max_in_flight {
                return true;
            }
            self.pace.notified().await;
        }
    }

    /// Waits for the results that are still to come.
    async fn end(self) {
        while !self.mailbox.outbox.is_settled() {
            self.pace.notified().await;
        }
    }
}

/// The answers on their way out.
struct Answers {
    outbox: Arc<Outbox>,
    pace: Arc<Notify>,
}

impl Answers {
    async fn next(self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            let mut output = Vec::new();
            let end = self.outbox.collect(&mut output);
            self.pace.notify_one();
            match end {
                _ if !output.is_empty() => return Some((Ok(output.into()), self)),
                OutboxState::Open => self.outbox.changed().await,
                OutboxState::Gone => return None,
                OutboxState::Overflowed => return Some((Err(io::ErrorKind::TimedOut.into()), self)),
            }
        }
    }
}
