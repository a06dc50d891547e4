//! `GET /tasks/{task}/events`, the same of a batch, and `GET /events`: server-sent events.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use hyper::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::params::Params;
use super::problem::Problem;
use super::replies::ReplyCollector;
use super::request_context::RequestContext;
use super::response::{self, Body};

/// The id of the last event of a task or a batch: a browser that comes back with it has seen all.
const END: &str = "end";

/// Follows one task, or one batch, until its end.
pub(super) async fn one(
    context: RequestContext,
    verb: &'static str,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    if headers.get("last-event-id").is_some_and(|id| id == END) {
        // The one status that keeps a browser from reconnecting.
        return Ok(response::empty(StatusCode::NO_CONTENT));
    }
    let mut replies = ReplyCollector::new(context);
    replies.call(verb, params).await?;
    let first = replies.line().await;
    Ok(stream(replies, first))
}

/// Follows all tasks until the client disconnects.
pub(super) fn all(context: RequestContext) -> Response<Body> {
    let replies = ReplyCollector::new(context);
    replies.context.service().subscriptions.subscribe_all(&replies.outbox);
    stream(replies, None)
}

fn stream(replies: ReplyCollector, first: Option<Bytes>) -> Response<Body> {
    replies.context.peer_check.end_with_input();
    let keepalive = replies.context.session.limits.http_sse_keepalive;
    let has_end = first.is_some();
    let next = Some(first.map_or_else(comment, |line| event(&line, has_end)));
    let events = EventStream { replies, keepalive, has_end, next };
    response::stream(response::EVENTS, unfold(events, EventStream::next))
}

/// Replies on their way out as events.
struct EventStream {
    replies: ReplyCollector,
    /// After so long without an event a comment shows that the connection is alive.
    keepalive: Duration,
    /// The stream follows one task or one batch, and ends with it.
    has_end: bool,
    /// An event that goes out at once, together with the head of the response.
    next: Option<Bytes>,
}

impl EventStream {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if let Some(next) = self.next.take() {
            return Some((Ok(next), self));
        }
        match timeout(self.keepalive, self.replies.line()).await {
            Ok(Some(line)) => Some((Ok(event(&line, self.has_end)), self)),
            Ok(None) => None,
            Err(_) => Some((Ok(comment()), self)),
        }
    }
}

/// A reply as an event, named by its status. With `has_end`, an end of a task or a batch is the last event.
fn event(line: &[u8], has_end: bool) -> Bytes {
    #[derive(Deserialize)]
    struct Named<'a> {
        status: &'a str,
    }
    let status = serde_json::from_slice::<Named>(line).map_or("message", |named| named.status);
    let id = match status {
        "done" | "failed" | "cancelled" | "expired" | "ended" if has_end => format!("id: {END}\n"),
        _ => String::new(),
    };
    [b"event: ", status.as_bytes(), b"\n", id.as_bytes(), b"data: ", line.trim_ascii_end(), b"\n\n"]
        .concat()
        .into()
}

fn comment() -> Bytes {
    Bytes::from_static(b": here\n\n")
}
