//! `GET /tasks/{task}/events`, the same of a batch, and `GET /events`: what becomes of tasks, as server-sent events.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::{Reply, Status};
use futures_util::stream::unfold;
use hyper::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::RequestContext;
use super::dispatch::wire;
use super::params::Params;
use super::problem::Problem;
use super::replies::ReplyCollector;
use super::response::{self, Body};

/// The id of the last event of a task or a batch: a browser that comes back with it has seen all.
const END: &str = "end";

/// Follows one task, or one batch, until its end.
pub(super) async fn one(
    caller: RequestContext,
    values: &Params,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    if headers.get("last-event-id").is_some_and(|id| id == END) {
        // The one answer that keeps a browser from asking again.
        return Ok(response::empty(StatusCode::NO_CONTENT));
    }
    let mut mailbox = ReplyCollector::new(caller);
    mailbox.ask(&wire("watch", values)).await;
    let first = mailbox.line().await;
    let refusal = first.as_ref().and_then(|line| serde_json::from_slice::<Reply>(line).ok());
    match refusal.filter(|answer| answer.status == Status::Error) {
        Some(answer) => Err(answer.refusal().into()),
        None => Ok(stream(mailbox, first)),
    }
}

/// Follows all tasks until the client has enough.
pub(super) fn all(caller: RequestContext) -> Result<Response<Body>, Problem> {
    let mailbox = ReplyCollector::new(caller);
    mailbox.caller.context.subscriptions.subscribe_all(&mailbox.outbox);
    Ok(stream(mailbox, None))
}

fn stream(mailbox: ReplyCollector, first: Option<Bytes>) -> Response<Body> {
    let pause = mailbox.caller.context.settings.http_sse_keepalive;
    let is_one = first.is_some();
    let next = Some(first.map_or_else(comment, |line| event(&line, is_one)));
    let feed = Feed { mailbox, pause, is_one, next };
    response::stream(response::EVENTS, unfold(feed, Feed::next))
}

/// The lines of a mailbox on their way out as events.
struct Feed {
    mailbox: ReplyCollector,
    /// After so long without an event a comment shows that the connection is alive.
    pause: Duration,
    /// Whether the end of it is the end of all.
    is_one: bool,
    /// What goes out at once: nobody has to wait for the head.
    next: Option<Bytes>,
}

impl Feed {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if let Some(next) = self.next.take() {
            return Some((Ok(next), self));
        }
        match timeout(self.pause, self.mailbox.line()).await {
            Ok(Some(line)) => Some((Ok(event(&line, self.is_one)), self)),
            Ok(None) => None,
            Err(_) => Some((Ok(comment()), self)),
        }
    }
}

/// A line of the wire as an event; `is_one`: the end of what is followed is the last one.
fn event(line: &[u8], is_one: bool) -> Bytes {
    #[derive(Deserialize)]
    struct Named<'a> {
        status: &'a str,
    }
    let status = serde_json::from_slice::<Named>(line).map_or("message", |named| named.status);
    let id = match status {
        "done" | "failed" | "cancelled" | "expired" | "ended" if is_one => format!("id: {END}\n"),
        _ => String::new(),
    };
    [b"event: ", status.as_bytes(), b"\n", id.as_bytes(), b"data: ", line.trim_ascii_end(), b"\n\n"]
        .concat()
        .into()
}

fn comment() -> Bytes {
    Bytes::from_static(b": here\n\n")
}
