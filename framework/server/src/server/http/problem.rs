//! Errors as problem documents (RFC 9457), with the codes of the wire.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::task::TaskId;
use framework_protocol::{ErrorCode, RequestError, Status};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::response::{self, ALWAYS, Body};
use crate::server::waiters::TaskEnd;

pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The error response to a request.
#[derive(Debug)]
pub(crate) struct Problem {
    document: Box<Document>,
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    /// The connection closes, because the next request could not be told from the rest of this one.
    closes: bool,
}

/// The document of a problem.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document {
    /// Always `about:blank`: `code` says what it is.
    r#type: &'static str,
    /// The name of the HTTP status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong and what to do, for people.
    detail: String,
    /// For programs: the codes of the wire, and those of HTTP alone, such as `not_acceptable`.
    code: Cow<'static, str>,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
    /// When trying again makes sense, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// The task that has ended without a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<TaskId>,
}

impl Problem {
    /// The error, for people.
    pub(super) fn detail(&self) -> &str {
        &self.document.detail
    }

    pub(super) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        let document = Document {
            r#type: "about:blank",
            title: title(status),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
            suggestion: None,
            retry_after_ms: None,
            task_id: None,
        };
        Self { document: Box::new(document), status, headers: Vec::new(), closes: false }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        RequestError::bad_request(detail).into()
    }

    /// An error whose own status does not fit: 400.
    pub(crate) fn bad_request_of(error: RequestError) -> Self {
        let mut problem = Self::from(error);
        problem.set_status(StatusCode::BAD_REQUEST);
        problem
    }

    /// The head of a request has not come in time.
    pub(super) fn header_timeout(limit: Duration) -> Self {
        let limit = humantime::format_duration(limit);
        let detail = format!("No request has come within {limit} (http_header_timeout).");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).closing()
    }

    /// The body of a request pauses for too long.
    pub(super) fn body_timeout(limit: Duration) -> Self {
        let limit = humantime::format_duration(limit);
        let detail = format!("Nothing of the body has come for {limit} (http_body_timeout).");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).closing()
    }

    /// A task that was waited for has ended without a result.
    pub(super) fn ended(end: &TaskEnd) -> Self {
        let code = match end.status {
            Status::Cancelled => "cancelled",
            Status::Expired => "expired",
            _ => "failed",
        };
        let error = String::from_utf8_lossy(&end.text);
        let mut problem = Self::new(StatusCode::FAILED_DEPENDENCY, code, error);
        problem.document.task_id = Some(end.task);
        problem
    }

    fn set_status(&mut self, status: StatusCode) {
        self.status = status;
        self.document.status = status.as_u16();
        self.document.title = title(status);
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn suggesting(mut self, suggestion: Option<&str>) -> Self {
        self.document.suggestion = suggestion.map(str::to_owned);
        self
    }

    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub(super) fn respond(mut self) -> Response<Body> {
        if self.closes {
            self.headers.push((header::CONNECTION, "close".to_owned()));
        }
        let mut response = response::json(self.status, self.body());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }

    /// The whole response in bytes, for a connection that hyper does not serve any more.
    pub(crate) fn standalone_response(&self) -> Vec<u8> {
        let body = self.body();
        let mut head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n",
            self.document.status,
            self.document.title,
            body.len()
        );
        for (name, value) in ALWAYS {
            head += &format!("{name}: {value}\r\n");
        }
        [head.as_bytes(), b"\r\n", &body].concat()
    }

    fn body(&self) -> Bytes {
        let mut body = serde_json::to_vec(&self.document).unwrap_or_default();
        body.push(b'\n');
        body.into()
    }
}

impl From<RequestError> for Problem {
    fn from(refusal: RequestError) -> Self {
        let RequestError { code, message, suggestion, retry_after_ms } = refusal;
        let name = serde_json::to_value(code).ok().and_then(|name| name.as_str().map(str::to_owned));
        let mut problem = Self::new(status_of(code), name.unwrap_or_default(), message);
        problem.document.suggestion = suggestion;
        problem.document.retry_after_ms = retry_after_ms;
        if let Some(time) = retry_after_ms {
            problem = problem.with(header::RETRY_AFTER, time.div_ceil(1000).to_string());
        }
        match code {
            ErrorCode::Unauthorized => problem.with(header::WWW_AUTHENTICATE, "Bearer"),
            _ => problem,
        }
    }
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest | ErrorCode::UnknownQueue => StatusCode::BAD_REQUEST,
        ErrorCode::UnknownProtocol => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::BadArguments | ErrorCode::KeyConflict | ErrorCode::TooDeep => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorCode::UnknownFunction | ErrorCode::UnknownCommand | ErrorCode::UnknownTask => {
            StatusCode::NOT_FOUND
        }
        ErrorCode::Conflict | ErrorCode::SchemaConflict => StatusCode::CONFLICT,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Busy
        | ErrorCode::TooManyConnections
        | ErrorCode::ShuttingDown
        | ErrorCode::StorageFailed => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
