//! The OpenAPI document of the table of routes and of the handlers: what the router does, written down.

use framework_protocol::task::{Handler, Handlers};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::matching::{Action, BodySchema, Kind, Parameter, Place, ResponseSpec, Route};
use super::problem;
use super::response::{EVENTS, JSON, LINES};
use super::routes::ROUTES;
use super::schemas::Schemas;

/// The problems that every route may have.
const PROBLEMS: [u16; 7] = [400, 403, 406, 414, 431, 500, 503];

/// The document; `asks`: clients have to show a token.
pub(super) fn document(handlers: &Handlers, asks: bool) -> Value {
    let mut writer = Writer { schemas: Schemas::new(), handlers, asks };
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
    if asks {
        document["components"]["securitySchemes"] =
            json!({ "token": { "type": "http", "scheme": "bearer" } });
    }
    document
}

struct Writer<'a> {
    schemas: Schemas,
    handlers: &'a Handlers,
    asks: bool,
}

impl Writer<'_> {
    /// The operations of a route with their paths: one, or one for each handler.
    fn operations(&mut self, route: &Route) -> Vec<(String, Value)> {
        match route.action {
            Action::Push => {
                let handlers = self.handlers.iter().filter(|handler| is_plain(handler.name));
                handlers.map(|handler| self.push(route, handler)).collect()
            }
            _ => vec![(route.path.to_owned(), self.operation(route))],
        }
    }

    /// Handing over a task of one handler, whose arguments are the body.
    fn push(&mut self, route: &Route, handler: &Handler) -> (String, Value) {
        let mut operation = self.operation(route);
        operation["operationId"] = format!("{}_{}", route.operation, handler.name).into();
        let about = handler.describe();
        if let Some(summary) = about.description.as_deref().and_then(|text| text.lines().next()) {
            operation["summary"] = summary.into();
        }
        operation["requestBody"] = json!({
            "required": handler.check(b"null").or_else(|_| handler.check(b"{}")).is_err(),
            "content": { JSON: { "schema": self.schemas.embed(handler.name, about.schema) } },
        });
        (route.path.replace("{function}", handler.name), operation)
    }

    fn operation(&mut self, route: &Route) -> Value {
        let mut responses = Map::new();
        for answer in route.answers {
            responses.insert(answer.status.to_string(), self.answer(*answer));
        }
        let mut problems: Vec<_> = PROBLEMS.iter().chain(route.problems).copied().collect();
        if self.asks && route.scope.is_some() {
            problems.push(401);
        }
        problems.sort_unstable();
        let problem = self.schemas.problem();
        for status in problems {
            responses.insert(status.to_string(), refused(status, &problem));
        }
        let in_path = |parameter: &Parameter| parameter.place == Place::Path && route.action == Action::Push;
        let parameters = route.parameters.iter().filter(|parameter| !in_path(parameter));
        let parameters: Vec<_> = parameters.map(|parameter| parameter.describe(self.handlers)).collect();
        let mut operation = json!({
            "operationId": route.operation,
            "summary": route.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let (true, Some(scope)) = (self.asks, route.scope) {
            operation["security"] = json!([{ "token": [] }]);
            operation["description"] = format!("Needs a token with the scope `{scope}`.").into();
        }
        if route.action == Action::PushMany {
            let line = "Each line is a JSON object with `function`, `args` and the options of a task.";
            let body = json!({ "type": "string", "description": line });
            operation["requestBody"] = json!({ "required": true, "content": { LINES: { "schema": body } } });
        }
        operation
    }

    fn answer(&mut self, answer: ResponseSpec) -> Value {
        let text = json!({ "type": "string" });
        let (media_type, schema) = match answer.holds {
            BodySchema::Lines => (LINES, text),
            BodySchema::Events => (EVENTS, text),
            holds => (JSON, self.schemas.of(holds)),
        };
        let mut response = json!({
            "description": name(answer.status),
            "content": { media_type: { "schema": schema } },
        });
        if answer.holds == BodySchema::Queued {
            let place = json!({ "type": "string", "format": "uri-reference" });
            response["headers"] = json!({ "Location": { "required": true, "schema": place } });
        }
        response
    }
}

impl Parameter {
    fn describe(&self, handlers: &Handlers) -> Value {
        let place = match self.place {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        };
        let mut parameter = json!({
            "name": self.name,
            "in": place,
            "required": self.place == Place::Path,
            "description": self.about,
            "schema": self.kind.schema(handlers),
        });
        if self.kind == Kind::Names {
            // With commas between them.
            parameter["explode"] = false.into();
        }
        parameter
    }
}

fn refused(status: u16, problem: &Value) -> Value {
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

/// Whether a name can stand in a path as it is; others are reached, but not described.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte))
}
