//! `POST /tasks/{function}`: one task, and its end if that is waited for.

use std::sync::{Arc, OnceLock};

use framework_protocol::task::NewTask;
use framework_protocol::{ErrorCode, ReplyWriter, RequestError, Status, TaskRequest};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Version, header};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::body::read_json;
use super::params::Params;
use super::problem::Problem;
use super::replies::ReplyCollector;
use super::request_context::RequestContext;
use super::response::{self, Body};
use crate::server::intake::acknowledge;
use crate::server::outbox::{Outbox, ReplyOrder};
use crate::server::waiters::{EndFormat, TaskEnd, Waiter};
use crate::store::Accepted;

/// Pushes one task, and waits for its end if `?wait` says so.
pub(super) async fn push(
    context: RequestContext,
    mut params: Params,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    // An unknown function is reported before its arguments are read.
    let function = params.take("function").unwrap_or_default();
    context.service().intake.handlers().function(&function)?;
    let wait = params.take_wait(context.session.limits.max_http_wait)?;
    let may_probe = request.version() >= Version::HTTP_11;
    let arguments = read_json(request, &context.session).await?;
    let task = check(&context, &function, &arguments, &params)?;
    let replies = ReplyCollector::new(context);
    let end = Arc::default();
    let accepted = accept(&replies, task, wait.is_some().then_some(&end)).await?;
    let place = format!("/tasks/{}", accepted.id);
    let ended = match wait {
        Some(wait) => {
            replies.context.peer_check.set_probe(may_probe);
            timeout(wait, ended(&replies.outbox, &end)).await.ok().flatten()
        }
        None => None,
    };
    replies.context.peer_check.set_probe(false);
    match ended {
        Some(TaskEnd { task, status: Status::Done, text }) => {
            let mut body = Vec::new();
            ReplyWriter::new(&mut body).done(None, *task, text);
            Ok(response::with(response::json(StatusCode::OK, body.into()), header::CONTENT_LOCATION, &place))
        }
        Some(end) => Err(Problem::ended(end).with(header::CONTENT_LOCATION, place)),
        // The task is accepted, even if its end cannot be waited for any more.
        None => {
            let mut body = Vec::new();
            let durability = replies.context.service().store.durability();
            acknowledge(accepted, ReplyWriter::new(&mut body), None, durability);
            Ok(response::with(response::json(StatusCode::ACCEPTED, body.into()), header::LOCATION, &place))
        }
    }
}

/// The task of a request, checked.
fn check(
    context: &RequestContext,
    function: &str,
    arguments: &[u8],
    params: &Params,
) -> Result<NewTask, Problem> {
    let args = if arguments.is_empty() {
        None
    } else {
        let json = serde_json::from_slice::<&RawValue>(arguments);
        Some(json.map_err(|error| RequestError::bad_request(format!("The body is no JSON: {error}.")))?)
    };
    let options: Vec<_> = params.fields().collect();
    let request = TaskRequest {
        function: Some(function.into()),
        args,
        ..TaskRequest::with_options(options.iter().map(|(name, value)| (*name, value)))?
    };
    Ok(context.service().check_task(context.access, &request)?)
}

/// Accepts a task; `end` is set once it has ended, if that is waited for.
pub(super) async fn accept(
    replies: &ReplyCollector,
    task: NewTask,
    end: Option<&Arc<OnceLock<TaskEnd>>>,
) -> Result<Accepted, RequestError> {
    let waiters = end.map(|end| {
        replies.outbox.reserve(1);
        let (outbox, format) = (replies.outbox.clone(), EndFormat::Value(end.clone()));
        (0, Waiter { outbox, id: None, place: ReplyOrder::Anywhere, format })
    });
    let service = replies.context.service();
    let mut pushed = service.push(vec![task], waiters.into_iter().collect()).await;
    let gone = || RequestError::new(ErrorCode::Internal, "The server gave no answer.");
    let accepted = pushed.results.pop().unwrap_or_else(|| Err(gone()))?;
    service.attach(pushed).await;
    Ok(accepted)
}

/// Waits for the end of a task; `None` when it will not come.
async fn ended<'a>(outbox: &Outbox, end: &'a OnceLock<TaskEnd>) -> Option<&'a TaskEnd> {
    loop {
        // Read before the end, which is set before its reservation is fulfilled.
        let is_settled = outbox.is_settled();
        if let Some(end) = end.get() {
            return Some(end);
        }
        if is_settled {
            return None;
        }
        outbox.changed().await;
    }
}
