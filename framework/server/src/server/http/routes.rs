//! The table of routes. The router and the OpenAPI document are made of it and of the table of verbs.

use super::matching::{Action, BodySchema, Parameter, ParameterKind, ParameterPlace, ResponseSpec, Route};

const fn path(name: &'static str, kind: ParameterKind, about: &'static str) -> Parameter {
    Parameter { name, place: ParameterPlace::Path, kind, about }
}

const fn query(name: &'static str, kind: ParameterKind, about: &'static str) -> Parameter {
    Parameter { name, place: ParameterPlace::Query, kind, about }
}

const fn header(name: &'static str, kind: ParameterKind, about: &'static str) -> Parameter {
    Parameter { name, place: ParameterPlace::Header, kind, about }
}

const fn ok(body: BodySchema) -> ResponseSpec {
    ResponseSpec { status: 200, body }
}

const RESULT: &[ResponseSpec] = &[ok(BodySchema::Result)];
const EVENTS: &[ResponseSpec] = &[ok(BodySchema::Events)];
const OBJECT: &[ResponseSpec] = &[ok(BodySchema::Object)];

const TASK: Parameter = path("task", ParameterKind::Id, "The id of a task.");
const BATCH: Parameter = path("batch", ParameterKind::Id, "The id of a batch.");
const AFTER: Parameter =
    query("after", ParameterKind::Id, "Only connections that came after that of this number.");
const LIMIT: Parameter = query("limit", ParameterKind::Number(1, 1000), "How many at most; 20.");

/// The options of a new task.
const OPTIONS: &[Parameter] = &[
    path("function", ParameterKind::Function, "The name of a handler."),
    query("wait", ParameterKind::Wait, "Answers with the result if the task has ended within this time."),
    query("delay", ParameterKind::Span, "Starts it later."),
    query("at", ParameterKind::Moment, "Starts it at this time; not together with `delay`."),
    query("queue", ParameterKind::Queue, "Instead of the handler's own queue."),
    query("priority", ParameterKind::Number(0, 9), "9 is taken first; 5."),
    query("attempts", ParameterKind::Number(1, 1_000), "How many attempts may fail."),
    query("timeout", ParameterKind::Span, "The longest an attempt may take."),
    query("backoff", ParameterKind::Backoff, "What the pause after the first failed attempt is about."),
    query("expires", ParameterKind::When, "Not to be begun any more after this time."),
    query("concurrency_key", ParameterKind::Key, "Tasks with the same one take turns."),
    query("batch", ParameterKind::Id, "The id of an open batch that it belongs to."),
    query("tags", ParameterKind::Tags, "What it is to be found by: `tenant=7,order=4711`."),
    query("then", ParameterKind::Names, "The functions to run with its result, one after the other."),
    header(
        "Idempotency-Key",
        ParameterKind::HeaderKey,
        "A second task with the same key is the first one again.",
    ),
];

const FILTER: &[Parameter] = &[
    query("state", ParameterKind::State, "Only tasks in this state."),
    query("queue", ParameterKind::Queue, "Only tasks of this queue."),
    query("function", ParameterKind::Text, "Only tasks of this function."),
    query("batch", ParameterKind::Id, "Only tasks of this batch."),
    query("before", ParameterKind::Id, "Only ids below this one: the next page."),
    LIMIT,
];

/// The parameters of a worker that keeps no connection.
const WORK: &[Parameter] = &[
    query("worker", ParameterKind::Text, "Its name for people, such as host:4242."),
    query("language", ParameterKind::Text, "Such as php/8.2."),
    query("functions", ParameterKind::Texts, "The functions that it runs, unless the body has them."),
    query("queues", ParameterKind::Texts, "The only queues that it takes tasks from; all."),
    query("credit", ParameterKind::Number(1, 10_000), "The most tasks to get; 1."),
    query(
        "credit_bytes",
        ParameterKind::Number(1, u32::MAX),
        "The most bytes of tasks to get, and one task more.",
    ),
    query("wait", ParameterKind::Wait, "The longest time to wait for the first task; 20s."),
];

/// A route that calls a verb.
const fn call(
    method: &'static str,
    path: &'static str,
    verb: &'static str,
    parameters: &'static [Parameter],
    problems: &'static [u16],
) -> Route {
    Route {
        method,
        path,
        operation: verb,
        summary: None,
        parameters,
        action: Action::Call(verb),
        responses: RESULT,
        problems,
    }
}

/// A route that calls a verb, whose fields are the body.
const fn call_with_body(path: &'static str, verb: &'static str, operation: &'static str) -> Route {
    let action = Action::CallWithBody(verb);
    Route { operation, action, ..call("POST", path, verb, &[], &[408, 409, 413, 415, 507]) }
}

/// A route that streams the events of one task or batch.
const fn follow(
    path: &'static str,
    operation: &'static str,
    parameters: &'static [Parameter],
    summary: &'static str,
) -> Route {
    Route {
        method: "GET",
        path,
        operation,
        summary: Some(summary),
        parameters,
        action: Action::Follow("watch"),
        responses: EVENTS,
        problems: &[404],
    }
}

/// A route about the server itself.
const fn plain(
    path: &'static str,
    operation: &'static str,
    action: Action,
    problems: &'static [u16],
    summary: &'static str,
) -> Route {
    Route {
        method: "GET",
        path,
        operation,
        summary: Some(summary),
        parameters: &[],
        action,
        responses: OBJECT,
        problems,
    }
}

/// All routes, in the order of the document.
pub(super) static ROUTES: &[Route] = &[
    Route {
        method: "POST",
        path: "/tasks/{function}",
        operation: "push",
        summary: Some("Hand over a task; the body is its arguments"),
        parameters: OPTIONS,
        action: Action::Push,
        responses: &[ResponseSpec { status: 202, body: BodySchema::Queued }, ok(BodySchema::Done)],
        problems: &[404, 408, 409, 413, 415, 422, 424, 507],
    },
    Route {
        method: "POST",
        path: "/tasks",
        operation: "push_many",
        summary: Some(
            "Hand over many tasks, one JSON object a line; they are answered line by line while they come",
        ),
        parameters: &[],
        action: Action::PushMany,
        responses: &[ok(BodySchema::Lines)],
        problems: &[408, 415],
    },
    call("GET", "/tasks/{task}", "show", &[TASK], &[404]),
    call("GET", "/tasks", "list", FILTER, &[]),
    call("DELETE", "/tasks/{task}", "cancel", &[TASK], &[404, 409, 507]),
    call("POST", "/tasks/{task}/retry", "retry", &[TASK], &[404, 409, 507]),
    follow(
        "/tasks/{task}/events",
        "follow",
        &[TASK],
        "The progress of a task, event by event, until its end",
    ),
    Route {
        problems: &[],
        action: Action::FollowAll,
        ..follow(
            "/events",
            "follow_all",
            &[],
            "The progress and the end of every task from now on; `missed` says how many came too fast",
        )
    },
    call(
        "GET",
        "/search",
        "search",
        &[
            query(
                "text",
                ParameterKind::Key,
                "Only tasks with this text in the function, the arguments or the error.",
            ),
            query("tags", ParameterKind::Tags, "Only tasks with these tags: `tenant=7,order=4711`."),
            query(
                "since",
                ParameterKind::When,
                "Only tasks that were accepted since this time, or so long ago.",
            ),
            query("until", ParameterKind::When, "Only tasks that were accepted before this time."),
            query("state", ParameterKind::State, "Only tasks in this state."),
            query("queue", ParameterKind::Queue, "Only tasks of this queue."),
            query("function", ParameterKind::Text, "Only tasks of this function."),
            query("batch", ParameterKind::Id, "Only tasks of this batch."),
            query("before", ParameterKind::Id, "Only ids below this one: where the search goes on."),
            LIMIT,
        ],
        &[],
    ),
    call(
        "GET",
        "/failures",
        "failures",
        &[
            query("queue", ParameterKind::Queue, "Only failed tasks of this queue."),
            query("function", ParameterKind::Text, "Only failed tasks of this function."),
            query("cause", ParameterKind::Cause, "Only those of this cause."),
            LIMIT,
        ],
        &[],
    ),
    call_with_body("/failures/retry", "retry", "retry_failures"),
    call_with_body("/failures/forget", "forget", "forget_failures"),
    call("GET", "/status", "status", &[], &[]),
    call(
        "GET",
        "/history",
        "history",
        &[
            query("hours", ParameterKind::Number(1, 2160), "The last hours; 1."),
            query("function", ParameterKind::Text, "Only tasks of this function."),
            query("queue", ParameterKind::Text, "Only tasks of this queue."),
        ],
        &[],
    ),
    call("GET", "/connections", "connections", &[AFTER, LIMIT], &[]),
    call("GET", "/functions", "functions", &[], &[]),
    call("GET", "/workers", "workers", &[], &[]),
    Route {
        method: "POST",
        path: "/work",
        operation: "work",
        summary: Some(
            "Get tasks to run, one JSON object a line; each is to be settled, within its timeout or with heartbeats",
        ),
        parameters: WORK,
        action: Action::Work,
        responses: &[ok(BodySchema::Lines)],
        problems: &[],
    },
    call_with_body("/work/settle", "settle", "settle"),
    call_with_body("/work/heartbeat", "heartbeat", "heartbeat"),
    call_with_body("/work/progress", "progress", "report_progress"),
    call_with_body("/work/log", "log", "report_line"),
    call("GET", "/queues", "queues", &[], &[]),
    call("GET", "/batches", "batches", &[LIMIT], &[]),
    call("GET", "/batches/{batch}", "batch", &[BATCH], &[404]),
    follow(
        "/batches/{batch}/events",
        "follow_batch",
        &[BATCH],
        "How far a batch is, event by event, until all of its tasks have ended",
    ),
    call("GET", "/schedules", "schedules", &[], &[]),
    plain("/healthz", "health", Action::Health, &[], "Whether the process answers"),
    plain("/readyz", "readiness", Action::Readiness, &[503, 507], "Whether tasks are taken"),
    Route {
        responses: &[ok(BodySchema::Metrics)],
        ..plain(
            "/metrics",
            "metrics",
            Action::Metrics,
            &[],
            "The figures of the server for Prometheus, in OpenMetrics where `Accept` admits it",
        )
    },
    plain("/", "index", Action::Index, &[], "The routes"),
    plain("/openapi.json", "document", Action::Document, &[], "This document"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::service::VerbTable;
    use crate::server::verbs;

    #[test]
    fn routes_call_verbs_with_fields_of_theirs() {
        let verbs = VerbTable::new(verbs::ALL);
        for route in ROUTES {
            let (Action::Call(name) | Action::Follow(name)) = route.action else { continue };
            let verb = verbs.find(name).unwrap();
            for parameter in route.parameters {
                assert!(verb.fields.iter().any(|field| field.name == parameter.name), "{}", route.path);
            }
        }
    }
}
