//! The pages for people below `/ui`: who has signed in, and what a page may do with the server.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::task::{TaskId, now_ms};
use framework_protocol::{CommandRequest, ErrorCode, RequestError, TaskRequest};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

use super::body::read_body;
use super::problem::Problem;
use super::push_task::accept;
use super::replies::ReplyCollector;
use super::request_context::{RequestContext, SideTasks};
use super::response::{self, Body};
use crate::server::access::{Scope, page_sessions};
use crate::server::pages::{PageBody, PageFields, PageRequest, PageResponse, PageServer, Pages};
use crate::server::poll::raised;

/// The name of the cookie that a session is in.
const SESSION_COOKIE: &str = "think_session";

/// The server as a page sees it, for one request.
struct RequestServer {
    context: RequestContext,
    form_key: String,
}

impl RequestServer {
    /// The value of `set-cookie`. The path is the folder of the page that sets it, so that one behind a path
    /// prefix fits as well.
    fn cookie(&self, value: &str, seconds: u64) -> String {
        let secure = if self.context.record.is_encrypted() { "; Secure" } else { "" };
        let name = cookie_name(&self.context);
        format!("{name}={value}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }
}

impl PageServer for RequestServer {
    fn allows(&self, scope: Scope) -> bool {
        self.context.access.check(scope).is_ok()
    }

    fn requires_token(&self) -> bool {
        self.context.policy.access().is_unknown()
    }

    fn keepalive(&self) -> Duration {
        self.context.session.limits.http_sse_keepalive
    }

    fn call(
        &self,
        verb: &'static str,
        fields: PageFields,
    ) -> BoxFuture<'_, Result<Box<RawValue>, RequestError>> {
        Box::pin(async move {
            let replies = ReplyCollector::new(self.context.clone());
            let request = CommandRequest::new(verb, fields);
            let service = self.context.service();
            let outcome = service.call(self.context.caller(&replies.outbox), request).await?;
            Ok(outcome.into_result().unwrap_or_else(|| RawValue::NULL.to_owned()))
        })
    }

    fn send(
        &self,
        function: String,
        args: Option<Box<RawValue>>,
        options: PageFields,
    ) -> BoxFuture<'_, Result<TaskId, RequestError>> {
        Box::pin(async move {
            let options = options.iter().map(|(name, value)| (*name, value));
            let request = TaskRequest {
                function: Some(function.as_str().into()),
                args: args.as_deref(),
                ..TaskRequest::with_options(options)?
            };
            let task = self.context.service().check_task(self.context.access, &request)?;
            let replies = ReplyCollector::new(self.context.clone());
            Ok(accept(&replies, task, None).await?.id)
        })
    }

    fn sign_in(&self, token: String) -> BoxFuture<'_, Result<String, RequestError>> {
        Box::pin(async move {
            let access = self.context.policy.authenticate(&self.context.peer, &token).await?;
            if access.check(Scope::Inspect).is_err() {
                let message = "This token has not the scope \"inspect\", which every page needs.";
                return Err(RequestError::new(ErrorCode::Forbidden, message));
            }
            let time = self.context.session.limits.ui_session_time;
            let sealed = page_sessions::seal(&token, now_ms() + time.as_millis() as u64);
            let sealed = sealed.ok_or_else(|| {
                RequestError::new(ErrorCode::Internal, "The system has no random numbers at the moment.")
            })?;
            Ok(self.cookie(&sealed, time.as_secs()))
        })
    }

    fn sign_out(&self) -> String {
        self.cookie("", 0)
    }

    fn form_key(&self) -> &str {
        &self.form_key
    }

    fn check_form(&self, key: &str) -> Result<(), RequestError> {
        if bool::from(self.form_key.as_bytes().ct_eq(key.as_bytes())) {
            return Ok(());
        }
        let message = "This form is of an earlier session, or of another page: load the page again.";
        Err(RequestError::new(ErrorCode::Forbidden, message))
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { raised(&mut self.context.stop.clone()).await })
    }
}

/// Whether this is the path of a page.
pub(super) fn is_page(path: &str) -> bool {
    path.strip_prefix("/ui").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a browser asks for a page where programs get the list of routes.
pub(super) fn is_for_browser<B>(request: &Request<B>) -> bool {
    let mut accepted = request.headers().get_all(header::ACCEPT).iter();
    let names_html = accepted.any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")));
    names_html && request.uri().path() == "/" && request.method() == Method::GET
}

/// The redirection to another place, relative to where the browser is.
pub(super) fn redirection(place: &'static str) -> Response<Body> {
    response::with(response::empty(StatusCode::SEE_OTHER), header::LOCATION, place)
}

/// The response to a request below the folder of the pages.
pub(super) async fn respond(
    pages: Arc<dyn Pages>,
    mut context: RequestContext,
    side_tasks: &SideTasks,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let is_post = match *request.method() {
        Method::POST => true,
        Method::GET | Method::HEAD => false,
        _ => {
            let detail = format!("{} is not possible here, only GET, HEAD, POST.", request.method());
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            return Err(problem.with(header::ALLOW, "GET, HEAD, POST"));
        }
    };
    let Some(path) = request.uri().path().strip_prefix("/ui/").map(str::to_owned) else {
        return Ok(redirection("ui/"));
    };
    let (Parts { headers, uri, .. }, body) = request.into_parts();
    let form = if is_post { read_body(body, &context.session).await?.into() } else { Bytes::new() };
    let query = uri.query().unwrap_or_default().to_owned();
    let page = PageRequest { is_post, path, query, form, headers };
    let session = page.cookie(&cookie_name(&context));
    let form_key = match session.and_then(|session| Some((session, context.policy.session(session)?))) {
        Some((session, access)) => {
            context.access = access;
            page_sessions::form_key(session.as_bytes())
        }
        None => page_sessions::form_key(&*PROCESS_KEY),
    };
    // From now on, the end of the token ends the connection.
    side_tasks.set_access(context.access);
    let peer = context.peer_check.clone();
    let response = pages.respond(page, Arc::new(RequestServer { context, form_key })).await;
    if matches!(response.body, PageBody::Stream(_)) {
        peer.end_with_input();
    }
    Ok(render(response))
}

/// Tells the forms of this process from those of others, where nobody signs in.
static PROCESS_KEY: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).expect("a system without random numbers serves nothing");
    key
});

fn render(page: PageResponse) -> Response<Body> {
    use futures_util::StreamExt;
    let mut response = match page.body {
        PageBody::Whole(bytes) => response::whole(StatusCode::OK, page.media_type, bytes),
        PageBody::Stream(parts) => response::stream(page.media_type, parts.map(Ok::<_, io::Error>)),
    };
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::OK);
    page.headers.into_iter().fold(response, |response, (name, value)| {
        match header::HeaderName::try_from(name) {
            Ok(name) => response::with(response, name, &value),
            Err(_) => response,
        }
    })
}

/// Servers on several ports of one machine share their cookies, as browsers see it.
fn cookie_name(context: &RequestContext) -> String {
    let port = context.policy.address.rsplit_once(':').map(|(_, port)| port);
    let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.map_or_else(|| SESSION_COOKIE.to_owned(), |port| format!("{SESSION_COOKIE}_{port}"))
}
