//! `POST /work`: tasks for a worker that keeps no connection.

use std::time::Duration;

use framework_protocol::CommandRequest;
use hyper::{Response, StatusCode};

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
pub(super) async fn poll(context: RequestContext, mut params: Params) -> Result<Response<Body>, Problem> {
    let max = context.session.limits.max_http_wait;
    let wait = params.take_wait(max)?.unwrap_or(WAIT.min(max));
    let replies = ReplyCollector::new(context);
    let caller = replies.context.caller(&replies.outbox);
    let request = verbs::poll_request(&caller, CommandRequest::new("work", params.fields()))?;
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
