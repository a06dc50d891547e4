//! `POST /work`: tasks for a worker that keeps no connection.

use std::time::Duration;

use framework_protocol::CommandRequest;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use super::body::read_json;
use super::params::Params;
use super::problem::Problem;
use super::replies::ReplyCollector;
use super::request_context::RequestContext;
use super::response::{self, Body};
use crate::server::verbs;

/// The time for which tasks are waited for where the request names none.
const WAIT: Duration = Duration::from_secs(20);

/// Answers with tasks, one JSON object a line, as soon as there are some; with an empty body when there were
/// none for as long as the client waits.
pub(super) async fn poll(
    context: RequestContext,
    mut params: Params,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let max = context.session.limits.max_http_wait;
    let wait = params.take_wait(max)?.unwrap_or(WAIT.min(max));
    let body = read_json(request, &context.session).await?;
    let replies = ReplyCollector::new(context);
    let caller = replies.context.caller(&replies.outbox);
    let fields = CommandRequest::new("work", params.fields());
    let body = (!body.is_empty()).then(|| CommandRequest::with_body("work", &body)).transpose()?;
    let request = verbs::poll_request(&caller, fields, body)?;
    // A task that is handed to a client that is gone would be lost.
    let peer_check = &replies.context.peer_check;
    peer_check.end_with_input();
    let check = async {
        peer_check.request();
        // The connection is polled meanwhile, and drops this request if its client is gone.
        tokio::task::yield_now().await;
    };
    replies.context.service().remote.poll(&replies.outbox, request, wait, check).await?;
    peer_check.reset();
    let mut lines = Vec::new();
    replies.outbox.collect(&mut lines);
    Ok(response::whole(StatusCode::OK, response::LINES, lines.into()))
}
