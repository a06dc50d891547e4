//! The OpenAPI document, made of the routes, the verbs and the handlers.

use framework_protocol::task::{Function, Handlers};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::matching::{Action, BodySchema, Parameter, ParameterKind, ParameterPlace, ResponseSpec, Route};
use super::problem;
use super::response::{EVENTS, JSON, LINES, OPENMETRICS, PLAIN};
use super::routes::ROUTES;
use super::schemas::{self, Schemas};
use crate::server::service::VerbTable;

/// The problems that every route may have.
const PROBLEMS: [u16; 7] = [400, 403, 406, 414, 431, 500, 503];

/// The document; with `requires_token`, clients have to show one.
pub(super) fn document(handlers: &Handlers, verbs: &VerbTable, requires_token: bool) -> Value {
    let mut writer = DocumentWriter { schemas: Schemas::new(), handlers, verbs, requires_token };
    let mut paths = Map::new();
    for route in ROUTES {
        for (path, operation) in writer.operations(route) {
            let item = paths.entry(path).or_insert_with(|| json!({}));
            item[route.method.to_ascii_lowercase()] = operation;
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "think",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Hand over slow work, get an id that is safe on disk, and hear of its end.",
        },
        "paths": paths,
        "components": { "schemas": writer.schemas.finish() },
    });
    if requires_token {
        document["components"]["securitySchemes"] =
            json!({ "token": { "type": "http", "scheme": "bearer" } });
    }
    document
}

struct DocumentWriter<'a> {
    schemas: Schemas,
    handlers: &'a Handlers,
    verbs: &'a VerbTable,
    requires_token: bool,
}

impl DocumentWriter<'_> {
    /// The operations of a route with their paths: one, or one for each function.
    fn operations(&mut self, route: &Route) -> Vec<(String, Value)> {
        match route.action {
            Action::Push => {
                let functions = self.handlers.functions().into_iter();
                let functions = functions.filter(|function| is_plain(function.name()));
                functions.map(|function| self.push(route, &function)).collect()
            }
            _ => vec![(route.path.to_owned(), self.operation(route))],
        }
    }

    /// The operation that pushes a task of one function, whose arguments are the body.
    fn push(&mut self, route: &Route, function: &Function) -> (String, Value) {
        let name = &**function.name();
        let mut operation = self.operation(route);
        operation["operationId"] = format!("{}_{name}", route.operation).into();
        let about = function.describe();
        if let Some(summary) = about.description.as_deref().and_then(|text| text.lines().next()) {
            operation["summary"] = summary.into();
        }
        operation["requestBody"] = json!({
            "required": function.check(b"null").or_else(|_| function.check(b"{}")).is_err(),
            "content": { JSON: { "schema": self.schemas.embed(name, about.schema) } },
        });
        (route.path.replace("{function}", name), operation)
    }

    fn operation(&mut self, route: &Route) -> Value {
        let mut responses = Map::new();
        for response in route.responses {
            responses.insert(response.status.to_string(), self.response(route, *response));
        }
        let scope = route.scope(self.verbs);
        let mut problems: Vec<_> = PROBLEMS.iter().chain(route.problems).copied().collect();
        if self.requires_token && scope.is_some() {
            problems.push(401);
        }
        problems.sort_unstable();
        let problem = self.schemas.problem();
        for status in problems {
            responses.insert(status.to_string(), problem_response(status, &problem));
        }
        let in_path =
            |parameter: &Parameter| parameter.place == ParameterPlace::Path && route.action == Action::Push;
        let parameters = route.parameters.iter().filter(|parameter| !in_path(parameter));
        let parameters: Vec<_> = parameters.map(|parameter| describe(parameter, self.handlers)).collect();
        let mut operation = json!({
            "operationId": route.operation,
            "summary": route.summary(self.verbs),
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(scope) = scope.filter(|_| self.requires_token) {
            operation["security"] = json!([{ "token": [] }]);
            operation["description"] = format!("Needs a token with the scope `{scope}`.").into();
        }
        if let Action::CallWithBody(verb) = route.action {
            let body = schemas::of_body(verb);
            operation["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": body } } });
        }
        if route.action == Action::PushMany {
            let line = "Each line is a JSON object with `function`, `args` and the options of a task.";
            let body = json!({ "type": "string", "description": line });
            operation["requestBody"] = json!({ "required": true, "content": { LINES: { "schema": body } } });
        }
        operation
    }

    fn response(&mut self, route: &Route, spec: ResponseSpec) -> Value {
        let text = json!({ "type": "string" });
        if spec.body == BodySchema::Metrics {
            let content = json!({ PLAIN: { "schema": text }, OPENMETRICS: { "schema": text } });
            return json!({ "description": name(spec.status), "content": content });
        }
        let (media_type, schema) = match spec.body {
            BodySchema::Lines => (LINES, text),
            BodySchema::Metrics => (PLAIN, text),
            BodySchema::Events => (EVENTS, text),
            BodySchema::Queued => (JSON, self.schemas.queued()),
            BodySchema::Done => (JSON, self.schemas.done()),
            BodySchema::Object => (JSON, json!({ "type": "object" })),
            BodySchema::Result => {
                let verb = route.verb(self.verbs);
                (JSON, verb.map_or(Value::Bool(true), |verb| self.schemas.of_result(verb.result)))
            }
        };
        let mut response = json!({
            "description": name(spec.status),
            "content": { media_type: { "schema": schema } },
        });
        if spec.body == BodySchema::Queued {
            let place = json!({ "type": "string", "format": "uri-reference" });
            response["headers"] = json!({ "Location": { "required": true, "schema": place } });
        }
        response
    }
}

fn describe(parameter: &Parameter, handlers: &Handlers) -> Value {
    let place = match parameter.place {
        ParameterPlace::Path => "path",
        ParameterPlace::Query => "query",
        ParameterPlace::Header => "header",
    };
    let mut description = json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.place == ParameterPlace::Path,
        "description": parameter.about,
        "schema": schemas::of_value(parameter.kind, handlers),
    });
    if let ParameterKind::Names | ParameterKind::Texts | ParameterKind::Tags = parameter.kind {
        // With commas between them.
        description["explode"] = false.into();
    }
    description
}

fn problem_response(status: u16, problem: &Value) -> Value {
    let mut response = json!({
        "description": name(status),
        "content": { problem::MEDIA_TYPE: { "schema": problem } },
    });
    if status == 503 {
        let seconds = json!({ "type": "integer", "minimum": 0 });
        response["headers"] = json!({ "Retry-After": { "schema": seconds } });
    }
    response
}

fn name(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("An answer")
}

/// True when a name can stand in a path as it is; others are reached, but not described.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte))
}
