//! `POST /tasks/{function}`: one task, and perhaps its end.

use std::time::Duration;

use bytes::Bytes;
use framework_protocol::{ErrorCode, Reply, RequestError, Status};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::RequestContext;
use super::params::Params;
use super::problem::Problem;
use super::replies::{ReplyCollector, too_long};
use super::response::{self, Body};
use crate::server::metrics::Limit;
use crate::server::session::SessionContext;

/// Hands over one task, and waits for its end if that is wanted.
pub(super) async fn push(
    caller: RequestContext,
    mut values: Params,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let settings = &caller.context.settings;
    // An unknown function is told before its arguments are read.
    let function = values.take("function").unwrap_or_default();
    caller.context.queue.handlers().find(&function)?;
    let wait = values.take("wait").map(|wait| span(&wait, settings.max_http_wait)).transpose()?;
    let arguments = arguments(request, &caller.context).await?;
    let mut mailbox = ReplyCollector::new(caller);
    mailbox.ask(&wire(&function, &arguments, &values, wait.is_some())).await;
    let (accepted, line) = mailbox.answer().await?;
    let place = format!("/tasks/{}", accepted.task_id.unwrap_or_default());
    let queued = || response::with(response::json(StatusCode::ACCEPTED, line), header::LOCATION, &place);
    let Some(wait) = wait else { return Ok(queued()) };
    match timeout(wait, mailbox.answer()).await {
        Ok(Ok((Reply { status: Status::Done, .. }, line))) => {
            Ok(response::with(response::json(StatusCode::OK, line), header::CONTENT_LOCATION, &place))
        }
        Ok(Ok((end, _))) => Err(Problem::ended(end).with(header::CONTENT_LOCATION, place)),
        // The task is accepted, even if its end cannot be told any more.
        Ok(Err(_)) | Err(_) => Ok(queued()),
    }
}

/// The request as it would stand on the wire.
fn wire(function: &str, arguments: &[u8], values: &Params, waits: bool) -> Bytes {
    let reply = if waits { "both" } else { "ack" };
    let function = serde_json::Value::from(function);
    let mut request = format!("{{\"function\":{function},\"reply\":\"{reply}\"").into_bytes();
    values.write(&mut request);
    if !arguments.is_empty() {
        request.extend_from_slice(b",\"args\":");
        request.extend_from_slice(arguments);
    }
    request.push(b'}');
    request.into()
}

/// The body, which is JSON or nothing.
async fn arguments(request: Request<Incoming>, context: &SessionContext) -> Result<Vec<u8>, Problem> {
    let is_json = is_json(request.headers());
    let body = read(request.into_body(), context).await?;
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    if !is_json {
        let detail = "The arguments are JSON: send them with Content-Type: application/json (curl --json).";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
        return Err(problem.with(header::ACCEPT, response::JSON));
    }
    let json = serde_json::from_slice::<&RawValue>(&body);
    json.map_err(|error| Problem::bad(format!("The body is no JSON: {error}.")))?;
    Ok(body)
}

/// The next part of a body; `None` after its end.
///
/// # Errors
/// When none has come for `http_body_timeout`.
pub(super) async fn part(
    body: &mut Incoming,
    context: &SessionContext,
) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Problem> {
    timeout(context.settings.http_body_timeout, body.frame()).await.map_err(|_| slow(context))
}

/// The whole body, as long as it is not longer than a message may be and keeps coming.
async fn read(mut body: Incoming, context: &SessionContext) -> Result<Vec<u8>, Problem> {
    let settings = &context.settings;
    let too_long = |limit| {
        context.metrics.limits.hit(Limit::PackageMaxLength);
        Problem::from(too_long(limit)).closing()
    };
    let limit = settings.package_max_length;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_long(limit));
    }
    let mut bytes = Vec::new();
    loop {
        let Some(frame) = part(&mut body, context).await? else { return Ok(bytes) };
        let frame =
            frame.map_err(|error| Problem::bad(format!("The body cannot be read: {error}.")).closing())?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(too_long(limit));
        }
        bytes.extend_from_slice(&data);
    }
}

fn slow(context: &SessionContext) -> Problem {
    context.metrics.limits.hit(Limit::HttpBodyTimeout);
    let time = humantime::format_duration(context.settings.http_body_timeout);
    let detail = format!("Nothing of the body has come for {time} (http_body_timeout).");
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).closing()
}

/// Whether the body is said to be JSON; who says nothing means it.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let value = value.to_str().unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(response::JSON) || media_type.to_ascii_lowercase().ends_with("+json")
}

/// How long to wait: `5s`, or a number of seconds.
fn span(text: &str, max: Duration) -> Result<Duration, Problem> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds.or_else(|| humantime::parse_duration(text).ok()) {
        Some(span) if span <= max => Ok(span),
        Some(_) => {
            let max = humantime::format_duration(max);
            Err(Problem::bad(format!("\"wait\" must be at most {max} (max_http_wait).")))
        }
        None => Err(RequestError::new(
            ErrorCode::BadRequest,
            "\"wait\" must be seconds, or a text such as \"5s\".",
        )
        .into()),
    }
}
