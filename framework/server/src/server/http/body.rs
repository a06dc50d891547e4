//! The bodies of requests: read whole, within the bounds of a message.

use bytes::Bytes;
use framework_protocol::BYTE_ORDER_MARK;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::{HeaderMap, Request, StatusCode, header};
use tokio::time::timeout;

use super::problem::Problem;
use super::replies::too_long;
use super::response;
use crate::server::context::SessionContext;
use crate::server::metrics::Limit;

/// The body, which is to be JSON; empty if there is only white space.
///
/// # Errors
/// It is longer than `package_max_length`, pauses for longer than `http_body_timeout`, or is said to be of
/// another type.
pub(super) async fn read_json(
    request: Request<Incoming>,
    context: &SessionContext,
) -> Result<Vec<u8>, Problem> {
    let is_json = is_json(request.headers());
    let mut body = read_body(request.into_body(), context).await?;
    if body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    if !is_json {
        let detail = "The body is JSON: send it with Content-Type: application/json (curl --json).";
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
pub(super) async fn read_body(mut body: Incoming, context: &SessionContext) -> Result<Vec<u8>, Problem> {
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
