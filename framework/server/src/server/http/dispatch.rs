//! One request: finds its route, authenticates the client, and does what the route says.

use framework_protocol::views::Protocol;
use framework_protocol::{CommandRequest, ErrorCode, RequestError, ShownName};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::body::read_json;
use super::matching::{Action, Route};
use super::origin_policy::OriginPolicy;
use super::params::Params;
use super::problem::Problem;
use super::replies::ReplyCollector;
use super::request_context::{RequestContext, SideTasks};
use super::response::{self, ALWAYS, Body, EVENTS, JSON, LINES, OPENMETRICS, PLAIN};
use super::routes::ROUTES;
use super::{openapi, pages, push_many, push_task, sse, work};
use crate::server::access::Access;
use crate::server::metrics::{Format, Limit};
use crate::server::service::Service;
use crate::server::websocket;

/// The headers of a response that a page may read.
const EXPOSED: &str = "location, content-location, retry-after, allow";

/// The response to one request, whatever it is.
pub(super) async fn respond(
    context: &RequestContext,
    side_tasks: &SideTasks,
    request: Request<Incoming>,
) -> Response<Body> {
    context.peer_check.reset();
    let origin_policy = OriginPolicy::new(&context.policy, &context.session.limits);
    // A page may read the response if its origin is allowed.
    let origin = origin_policy.allowed_origin(request.headers()).cloned();
    let result = match origin_policy.check(&request) {
        Ok(()) => dispatch(context, side_tasks, request).await,
        Err(error) => Err(error.into()),
    };
    let mut response = result.unwrap_or_else(Problem::respond);
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

async fn dispatch(
    context: &RequestContext,
    side_tasks: &SideTasks,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let max = context.session.limits.max_http_url;
    if request.uri().to_string().len() > max {
        let detail = format!("The URL is longer than {max} bytes (max_http_url).");
        context.session.metrics.limits.hit(Limit::MaxHttpUrl);
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "too_long", detail));
    }
    if !websocket::is_wanted(&request) {
        context.check_protocol(Protocol::Http)?;
        return route(context, side_tasks, request).await;
    }
    context.check_protocol(Protocol::Websocket)?;
    let limits = &context.session.limits;
    let response = websocket::accept(&request, &limits.websocket_path, &limits.websocket_protocols)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let token = bearer(request.headers()).or_else(|| websocket::token(request.headers()));
        let access = context.authenticate(side_tasks, token).await?;
        side_tasks.set_upgrade(hyper::upgrade::on(&mut request), access);
    }
    Ok(response.map(|()| response::nothing()))
}

/// Finds the route of a request, and does what it says.
async fn route(
    context: &RequestContext,
    side_tasks: &SideTasks,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let service = context.service();
    if let Some(pages) = &context.session.pages {
        if pages::is_page(request.uri().path()) {
            return pages::respond(pages.clone(), context.clone(), side_tasks, request).await;
        }
        if pages::is_for_browser(&request) {
            return Ok(pages::redirection("ui/"));
        }
    }
    let path = request.uri().path().to_owned();
    let found: Vec<_> =
        ROUTES.iter().filter_map(|route| Some((route, route.matches(request.method(), &path)?))).collect();
    if found.is_empty() {
        let path = ShownName(&path);
        let detail = format!("There is nothing at {path}; GET / lists what there is.");
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    }
    let allowed = allowed(found.iter().map(|(route, _)| *route));
    if request.method() == Method::OPTIONS {
        return Ok(options(&allowed));
    }
    let fits = |route: &Route| {
        request.method() == route.method || *request.method() == Method::HEAD && route.is_read_only()
    };
    let Some((route, path)) = found.into_iter().find(|(route, _)| fits(route)) else {
        let detail = format!("{} is not possible here, only {allowed}.", request.method());
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
        return Err(problem.with(header::ALLOW, allowed));
    };
    let mut context = context.clone();
    if let Some(scope) = route.scope(&service.verbs) {
        context.access = context.authenticate(side_tasks, bearer(request.headers())).await?;
        require_token(context.access)?;
        service.authorize(context.access, Some(scope))?;
    }
    check_accept(request.headers(), route)?;
    let params = Params::read(route, path, request.uri().query(), request.headers())?;
    run(route.action, context, side_tasks, params, request).await
}

async fn run(
    action: Action,
    context: RequestContext,
    side_tasks: &SideTasks,
    params: Params,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    match action {
        Action::Push => push_task::push(context, params, request).await,
        Action::PushMany => push_many::push(context, side_tasks, request).await,
        Action::Call(verb) => call(context, verb, &params).await,
        Action::CallWithBody(verb) => call_with_body(context, verb, request).await,
        Action::Work => work::poll(context, params, request).await,
        Action::Follow(verb) => sse::one(context, verb, &params, request.headers()).await,
        Action::FollowAll => Ok(sse::all(context)),
        Action::Health => Ok(document(&json!({ "status": "ok" }))),
        Action::Readiness => readiness(&context).await,
        Action::Metrics => Ok(metrics(&context, request.headers()).await),
        Action::Index => Ok(document(&index(context.service()))),
        Action::Document => {
            let requires_token = context.policy.access().is_unknown();
            let service = context.service();
            let handlers = service.intake.handlers();
            Ok(document(&openapi::document(handlers, &service.verbs, requires_token)))
        }
    }
}

/// Calls a verb, whose result is the body.
async fn call(
    context: RequestContext,
    verb: &'static str,
    params: &Params,
) -> Result<Response<Body>, Problem> {
    let outcome = ReplyCollector::new(context).call(verb, params).await?;
    let result = outcome.into_result();
    let mut body = result.map_or_else(|| b"null".to_vec(), |result| result.get().as_bytes().to_vec());
    body.push(b'\n');
    Ok(response::json(StatusCode::OK, body.into()))
}

/// Calls a verb whose fields are the body. Its result is the response, or what it replies with.
async fn call_with_body(
    context: RequestContext,
    verb: &'static str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let body = read_json(request, &context.session).await?;
    let body = if body.is_empty() { &b"{}"[..] } else { &body };
    let mut replies = ReplyCollector::new(context);
    let command = CommandRequest::with_body(verb, body)?;
    let caller = replies.context.caller(&replies.outbox);
    let outcome = replies.context.service().call(caller, command).await?;
    let mut body = match outcome.into_result() {
        Some(result) => result.get().as_bytes().to_vec(),
        None => replies.line().await.map(|line| line.trim_ascii_end().to_vec()).unwrap_or(b"{}".to_vec()),
    };
    body.push(b'\n');
    Ok(response::json(StatusCode::OK, body.into()))
}

/// Reports whether tasks are accepted.
async fn readiness(context: &RequestContext) -> Result<Response<Body>, Problem> {
    if *context.stop.borrow() {
        return Err(RequestError::shutting_down().into());
    }
    match context.session.metrics.storage_error().await {
        Some(error) => Err(RequestError::new(ErrorCode::StorageFailed, error).into()),
        None => Ok(document(&json!({ "status": "ready" }))),
    }
}

/// The figures of the server, in OpenMetrics if the client prefers or only takes that.
async fn metrics(context: &RequestContext, headers: &HeaderMap) -> Response<Body> {
    let names_openmetrics = headers.get_all(header::ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|range| names(range, OPENMETRICS)))
    });
    let format = if names_openmetrics { Format::OpenMetrics } else { Format::Text };
    response::text(format.media_type(), context.service().exposition().await.render(format))
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// # Errors
/// `unauthorized`, where a token is required and none was shown.
fn require_token(access: Access) -> Result<(), RequestError> {
    if !access.is_unknown() {
        return Ok(());
    }
    let message = "Authentication required: send the header Authorization: Bearer TOKEN.";
    Err(RequestError::new(ErrorCode::Unauthorized, message))
}

/// The response to `OPTIONS`, which a page requests before it sends what it wants to.
fn options(allowed: &str) -> Response<Body> {
    let response = response::with(response::empty(StatusCode::NO_CONTENT), header::ALLOW, allowed);
    let response = response::with(response, header::ACCESS_CONTROL_ALLOW_METHODS, allowed);
    response::with(
        response,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, idempotency-key",
    )
}

fn document(document: &serde_json::Value) -> Response<Body> {
    response::json(StatusCode::OK, format!("{document:#}\n").into())
}

fn index(service: &Service) -> serde_json::Value {
    let routes = ROUTES
        .iter()
        .map(|route| (format!("{} {}", route.method, route.path), route.summary(&service.verbs).into()));
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

/// # Errors
/// When the header `Accept` does not admit the media type of the route.
fn check_accept(headers: &HeaderMap, route: &Route) -> Result<(), Problem> {
    let own: &[&str] = match route.action {
        Action::PushMany => &[LINES],
        Action::Work => &[LINES, JSON],
        Action::Follow(_) | Action::FollowAll => &[EVENTS],
        Action::Metrics => &[PLAIN, OPENMETRICS],
        _ => &[JSON],
    };
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("*/*").split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() || ranges.any(|range| own.iter().any(|own| admits(range, own))) {
        return Ok(());
    }
    let detail =
        format!("Only {} is to be had here, which the header Accept does not admit.", own.join(" or "));
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail))
}

/// True when one range of `Accept` admits a media type by its name.
fn names(range: &str, own: &str) -> bool {
    admits(range.trim(), own) && !range.contains('*')
}

/// True when one range of `Accept` admits a media type.
fn admits(range: &str, own: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_refused = parts.any(|part| {
        let quality = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
        quality.and_then(|quality| quality.parse::<f64>().ok()) == Some(0.0)
    });
    let (family, _) = own.split_once('/').unwrap_or((own, ""));
    !is_refused && (range == "*/*" || range == own || range.strip_suffix("/*") == Some(family))
}
