//! Answers one request: finds its route, asks who it is, and does what the route says.

use bytes::Bytes;
use framework_protocol::views::Protocol;
use framework_protocol::{ErrorCode, RequestError};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::matching::{Action, Route};
use super::origin_policy::OriginPolicy;
use super::params::Params;
use super::problem::Problem;
use super::replies::ReplyCollector;
use super::response::{self, Body, EVENTS, JSON, LINES};
use super::routes::ROUTES;
use super::{HttpConnection, RequestContext, openapi, push_many, push_task, sse};
use crate::server::access::Access;
use crate::server::metrics::Limit;
use crate::server::session::websocket;

/// What a page may read of the head of an answer.
const EXPOSED: &str = "location, content-location, retry-after, allow";

impl HttpConnection {
    /// The response to one request, whatever it is.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let guard = OriginPolicy::new(&self.caller.policy, &self.caller.context.settings);
        // A page may read what it was let in for.
        let origin = guard.allowed_origin(request.headers()).cloned();
        let answered = match guard.check(&request) {
            Ok(()) => self.welcome(request).await,
            Err(refusal) => Err(refusal.into()),
        };
        let mut response = answered.unwrap_or_else(Problem::respond);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    async fn welcome(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let max = self.caller.context.settings.max_http_url;
        if request.uri().to_string().len() > max {
            let detail = format!("The URL is longer than {max} bytes (max_http_url).");
            self.caller.context.metrics.limits.hit(Limit::HttpUrlMax);
            return Err(Problem::new(StatusCode::URI_TOO_LONG, "too_long", detail));
        }
        if !websocket::is_wanted(&request) {
            self.caller.speaks(Protocol::Http)?;
            return self.find(request).await;
        }
        self.caller.speaks(Protocol::Websocket)?;
        let response = websocket::accept(&request)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let token = bearer(request.headers()).or_else(|| websocket::token(request.headers()));
            let access = self.caller.admit(token).await?;
            self.beside.become_another(hyper::upgrade::on(&mut request), access);
        }
        Ok(response.map(|()| response::nothing()))
    }

    async fn find(&self, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let path = request.uri().path().to_owned();
        let handlers = self.caller.context.queue.handlers();
        let here: Vec<_> = ROUTES
            .iter()
            .filter_map(|route| Some((route, route.matches(request.method(), &path, handlers)?)))
            .collect();
        if here.is_empty() {
            let detail = format!("There is nothing at {path}; GET / lists what there is.");
            return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
        }
        let allowed = allowed(here.iter().map(|(route, _)| *route));
        if request.method() == Method::OPTIONS {
            return Ok(options(&allowed));
        }
        let is_asked = |route: &Route| {
            request.method() == route.method || *request.method() == Method::HEAD && route.reads()
        };
        let Some((route, values)) = here.into_iter().find(|(route, _)| is_asked(route)) else {
            let detail = format!("{} is not possible here, only {allowed}.", request.method());
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            return Err(problem.with(header::ALLOW, allowed));
        };
        let mut caller = self.caller.clone();
        if let Some(scope) = route.scope {
            caller.access = caller.admit(bearer(request.headers())).await?;
            known(caller.access)?;
            caller.access.check(scope)?;
        }
        acceptable(request.headers(), route)?;
        let values = Params::read(route, values, request.uri().query(), request.headers())?;
        match route.action {
            Action::Push => push_task::push(caller, values, request).await,
            Action::PushMany => push_many::push(caller, &self.beside, request).await,
            Action::Ask(command) => caller.ask(command, &values).await,
            Action::Follow => sse::one(caller, &values, request.headers()).await,
            Action::FollowAll => sse::all(caller),
            Action::Health => Ok(shown(&json!({ "status": "ok" }))),
            Action::Readiness => caller.readiness().await,
            Action::Index => Ok(shown(&index())),
            Action::Document => {
                let asks = caller.policy.access().is_unknown();
                Ok(shown(&openapi::document(handlers, asks)))
            }
        }
    }
}

impl RequestContext {
    /// The listener may speak only one of the two.
    fn speaks(&self, protocol: Protocol) -> Result<(), RequestError> {
        match self.policy.allows(protocol) {
            true => Ok(()),
            false => {
                let message = format!("{} does not speak {} here.", self.policy.address, protocol.name());
                Err(RequestError::new(ErrorCode::UnknownProtocol, message))
            }
        }
    }

    /// What a client may do that shows this token, or none.
    async fn admit(&self, token: Option<&str>) -> Result<Access, RequestError> {
        match token {
            Some(token) => self.policy.authenticate(&self.peer, token).await,
            None => Ok(self.access),
        }
    }

    /// Asks a command of the wire; its result is the whole answer.
    async fn ask(self, command: &'static str, values: &Params) -> Result<Response<Body>, Problem> {
        let mut mailbox = ReplyCollector::new(self);
        mailbox.ask(&wire(command, values)).await;
        let (answer, _) = mailbox.answer().await?;
        let mut body =
            answer.result.map_or_else(|| b"null".to_vec(), |result| result.get().as_bytes().to_vec());
        body.push(b'\n');
        Ok(response::json(StatusCode::OK, body.into()))
    }

    /// Whether tasks are taken.
    async fn readiness(self) -> Result<Response<Body>, Problem> {
        if *self.stop.borrow() {
            return Err(RequestError::new(ErrorCode::ShuttingDown, "The server is shutting down.").into());
        }
        match self.context.metrics.storage_error().await {
            Some(trouble) => Err(RequestError::new(ErrorCode::StorageFailed, trouble).into()),
            None => Ok(shown(&json!({ "status": "ready" }))),
        }
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// # Errors
/// `unauthorized`, while nobody knows who asks.
fn known(access: Access) -> Result<(), RequestError> {
    match access.is_unknown() {
        true => Err(RequestError::new(
            ErrorCode::Unauthorized,
            "This server wants to know who you are: send the header Authorization: Bearer TOKEN.",
        )),
        false => Ok(()),
    }
}

/// What may be done at a path; a page asks this before it does it.
fn options(allowed: &str) -> Response<Body> {
    let response = response::with(response::empty(StatusCode::NO_CONTENT), header::ALLOW, allowed);
    let response = response::with(response, header::ACCESS_CONTROL_ALLOW_METHODS, allowed);
    response::with(
        response,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, idempotency-key",
    )
}

/// A command of the wire.
pub(super) fn wire(command: &str, values: &Params) -> Bytes {
    let mut request = format!("{{\"command\":\"{command}\"").into_bytes();
    values.write(&mut request);
    request.push(b'}');
    request.into()
}

fn shown(document: &serde_json::Value) -> Response<Body> {
    response::json(StatusCode::OK, format!("{document:#}\n").into())
}

fn index() -> serde_json::Value {
    let routes =
        ROUTES.iter().map(|route| (format!("{} {}", route.method, route.path), route.summary.into()));
    json!({
        "name": "think",
        "version": env!("CARGO_PKG_VERSION"),
        "document": "/openapi.json",
        "routes": routes.collect::<serde_json::Map<_, _>>(),
    })
}

/// The methods of some routes, for the header `Allow`.
fn allowed<'a>(routes: impl Iterator<Item = &'a Route>) -> String {
    let mut methods: Vec<_> = routes.map(|route| route.method).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.join(", ")
}

/// Whether the client takes what the route has.
fn acceptable(headers: &HeaderMap, route: &Route) -> Result<(), Problem> {
    let own = match route.action {
        Action::PushMany => LINES,
        Action::Follow | Action::FollowAll => EVENTS,
        _ => JSON,
    };
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("*/*").split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() || ranges.any(|range| takes(range, own)) {
        return Ok(());
    }
    let detail = format!("Only {own} is to be had here, which the header Accept does not admit.");
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail))
}

/// Whether one range of `Accept` admits a media type.
fn takes(range: &str, own: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_refused = parts.any(|part| {
        let quality = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
        quality.and_then(|quality| quality.parse::<f64>().ok()) == Some(0.0)
    });
    let (family, _) = own.split_once('/').unwrap_or((own, ""));
    !is_refused && (range == "*/*" || range == own || range.strip_suffix("/*") == Some(family))
}
