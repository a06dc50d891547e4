//! `POST /tasks/{function}`: one task, and its end if that is waited for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use framework_console::config::duration;
use framework_protocol::task::NewTask;
use framework_protocol::{BYTE_ORDER_MARK, ErrorCode, ReplyWriter, RequestError, Status, TaskRequest};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode, Version, header};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::params::Params;
use super::problem::Problem;
use super::replies::{ReplyCollector, too_long};
use super::request_context::RequestContext;
use super::response::{self, Body};
use crate::server::context::SessionContext;
use crate::server::intake::acknowledge;
use crate::server::metrics::Limit;
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
    let max_wait = context.session.limits.max_http_wait;
    let wait = params.take("wait").map(|wait| parse_wait(&wait, max_wait)).transpose()?;
    let may_probe = request.version() >= Version::HTTP_11;
    let arguments = read_arguments(request, &context.session).await?;
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
async fn accept(
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

/// The body; empty if there is only white space.
async fn read_arguments(request: Request<Incoming>, context: &SessionContext) -> Result<Vec<u8>, Problem> {
    let is_json = is_json(request.headers());
    let mut body = read_body(request.into_body(), context).await?;
    if body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    if !is_json {
        let detail = "The arguments are JSON: send them with Content-Type: application/json (curl --json).";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
        return Err(problem.with(header::ACCEPT, response::JSON));
    }
    Ok(body)
}

/// The next part of a body; `None` after its end.
///
/// # Errors
/// When none has come for `http_body_timeout`.
pub(super) async fn next_frame(
    body: &mut Incoming,
    context: &SessionContext,
) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Problem> {
    let limit = context.limits.http_body_timeout;
    timeout(limit, body.frame()).await.map_err(|_| {
        context.metrics.limits.hit(Limit::HttpBodyTimeout);
        Problem::body_timeout(limit)
    })
}

/// The whole body, which must not be longer than a message may be, nor pause.
async fn read_body(mut body: Incoming, context: &SessionContext) -> Result<Vec<u8>, Problem> {
    let limit = context.limits.package_max_length;
    let too_long = || {
        context.metrics.limits.hit(Limit::PackageMaxLength);
        Problem::from(too_long(limit)).closing()
    };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    loop {
        let Some(frame) = next_frame(&mut body, context).await? else { return Ok(bytes) };
        let frame =
            frame.map_err(|error| Problem::bad(format!("The body cannot be read: {error}.")).closing())?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&data);
    }
}

/// True when the body is JSON, which it is unless the request says otherwise.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let value = value.to_str().unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(response::JSON) || media_type.to_ascii_lowercase().ends_with("+json")
}

/// Parses `?wait`: `5s`, or a number of seconds.
fn parse_wait(text: &str, max: Duration) -> Result<Duration, RequestError> {
    match duration::parse(text) {
        Some(wait) if wait <= max => Ok(wait),
        Some(_) => {
            let max = humantime::format_duration(max);
            Err(RequestError::bad_request(format!("\"wait\" must be at most {max} (max_http_wait).")))
        }
        None => Err(RequestError::bad_request("\"wait\" must be seconds, or a text such as \"5s\".")),
    }
}
