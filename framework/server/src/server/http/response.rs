//! Responses with a whole body, and with a stream.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The body of a response. An error aborts it, so that it is not taken for complete.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) const JSON: &str = "application/json";
pub(super) const LINES: &str = "application/x-ndjson";
pub(super) const EVENTS: &str = "text/event-stream";

/// The formats of Prometheus, without their versions.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text";
pub(super) const PLAIN: &str = "text/plain";

/// The headers of every response: nothing is stored, guessed to be of another type, or embedded in foreign
/// pages.
pub(super) const ALWAYS: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A JSON document.
pub(super) fn json(status: StatusCode, document: Bytes) -> Response<Body> {
    whole(status, JSON, document)
}

/// A body of any type.
pub(super) fn whole(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Body> {
    head(status, media_type, Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

/// A text of this media type.
pub(super) fn text(media_type: &'static str, text: String) -> Response<Body> {
    whole(StatusCode::OK, media_type, text.into())
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(nothing());
    *response.status_mut() = status;
    response
}

/// A response whose body ends with the stream.
pub(super) fn stream(
    media_type: &'static str,
    parts: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    use futures_util::TryStreamExt;
    let body = StreamBody::new(parts.map_ok(Frame::data)).boxed_unsync();
    // A proxy such as nginx would hold the parts back until there are many.
    with(head(StatusCode::OK, media_type, body), HeaderName::from_static("x-accel-buffering"), "no")
}

pub(super) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn with(mut response: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn head(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
