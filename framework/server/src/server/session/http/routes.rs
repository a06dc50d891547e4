//! The table of routes: both the router and the OpenAPI document are made of it.

use super::matching::{Action, BodySchema, Kind, Parameter, Place, ResponseSpec, Route};
use crate::server::access::Scope;

const fn path(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Path, kind, about }
}

const fn query(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, kind, about }
}

const fn header(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Header, kind, about }
}

const fn ok(holds: BodySchema) -> ResponseSpec {
    ResponseSpec { status: 200, holds }
}

const TASK: Parameter = path("task", Kind::Id, "The id of a task.");
const BATCH: Parameter = path("batch", Kind::Id, "The id of a batch.");
const AFTER: Parameter = query("after", Kind::Id, "Only connections that came after that of this number.");
const LIMIT: Parameter = query("limit", Kind::Number(1, 1000), "How many at most; 20.");

/// What a new task may say beside its arguments.
const OPTIONS: &[Parameter] = &[
    path("function", Kind::Function, "The name of a handler."),
    query("wait", Kind::Wait, "Answers with the result if the task has ended within this time."),
    query("delay", Kind::Span, "Starts it later."),
    query("at", Kind::Moment, "Starts it at this time; not together with `delay`."),
    query("queue", Kind::Queue, "Instead of the handler's own queue."),
    query("priority", Kind::Number(0, 9), "9 is taken first; 5."),
    query("attempts", Kind::Number(1, u32::MAX), "How many attempts may fail."),
    query("timeout", Kind::Span, "The longest an attempt may take."),
    query("backoff", Kind::Span, "What the pause after the first failed attempt is about."),
    query("expires", Kind::When, "Not to be begun any more after this time."),
    query("concurrency_key", Kind::Key, "Tasks with the same one take turns."),
    query("batch", Kind::Id, "The id of an open batch that it belongs to."),
    query("then", Kind::Names, "The functions to run with its result, one after the other."),
    header("Idempotency-Key", Kind::HeaderKey, "A second task with the same key is the first one again."),
];

const FILTER: &[Parameter] = &[
    query("state", Kind::State, "Only tasks in this state."),
    query("queue", Kind::Queue, "Only tasks of this queue."),
    query("function", Kind::Text, "Only tasks of this function."),
    query("batch", Kind::Id, "Only tasks of this batch."),
    query("before", Kind::Id, "Only ids below this one: the next page."),
    LIMIT,
];

/// A route that asks a command which only reads.
const fn asks(
    path: &'static str,
    command: &'static str,
    scope: Scope,
    parameters: &'static [Parameter],
    holds: &'static [ResponseSpec],
    summary: &'static str,
) -> Route {
    Route {
        method: "GET",
        path,
        operation: command,
        summary,
        scope: Some(scope),
        parameters,
        action: Action::Ask(command),
        answers: holds,
        problems: &[],
    }
}

/// Every route.
pub(super) static ROUTES: &[Route] = &[
    Route {
        method: "POST",
        path: "/tasks/{function}",
        operation: "push",
        summary: "Hand over a task; the body is its arguments",
        scope: Some(Scope::Send),
        parameters: OPTIONS,
        action: Action::Push,
        answers: &[ResponseSpec { status: 202, holds: BodySchema::Queued }, ok(BodySchema::Done)],
        problems: &[404, 408, 409, 413, 415, 422, 424, 507],
    },
    Route {
        method: "POST",
        path: "/tasks",
        operation: "push_many",
        summary: "Hand over many tasks, one JSON object a line; they are answered line by line while they come",
        scope: Some(Scope::Send),
        parameters: &[],
        action: Action::PushMany,
        answers: &[ok(BodySchema::Lines)],
        problems: &[408, 415],
    },
    Route {
        problems: &[404],
        ..asks(
            "/tasks/{task}",
            "show",
            Scope::Send,
            &[TASK],
            &[ok(BodySchema::Story)],
            "The whole story of a task",
        )
    },
    asks(
        "/tasks",
        "list",
        Scope::Inspect,
        FILTER,
        &[ok(BodySchema::Tasks)],
        "The tasks that were accepted last",
    ),
    Route {
        method: "DELETE",
        path: "/tasks/{task}",
        operation: "cancel",
        summary: "Cancel a task",
        scope: Some(Scope::Admin),
        parameters: &[TASK],
        action: Action::Ask("cancel"),
        answers: &[ok(BodySchema::Changed)],
        problems: &[404, 409, 507],
    },
    Route {
        method: "POST",
        path: "/tasks/{task}/retry",
        operation: "retry",
        summary: "Let a task that has ended wait again, with all its attempts before it",
        scope: Some(Scope::Admin),
        parameters: &[TASK],
        action: Action::Ask("retry"),
        answers: &[ok(BodySchema::Changed)],
        problems: &[404, 409, 507],
    },
    Route {
        method: "GET",
        path: "/tasks/{task}/events",
        operation: "follow",
        summary: "What becomes of a task, event by event, until its end",
        scope: Some(Scope::Send),
        parameters: &[TASK],
        action: Action::Follow,
        answers: &[ok(BodySchema::Events)],
        problems: &[404],
    },
    Route {
        method: "GET",
        path: "/events",
        operation: "follow_all",
        summary: "The progress and the end of every task from now on; `missed` says how many came too fast",
        scope: Some(Scope::Inspect),
        parameters: &[],
        action: Action::FollowAll,
        answers: &[ok(BodySchema::Events)],
        problems: &[],
    },
    asks("/status", "status", Scope::Inspect, &[], &[ok(BodySchema::Status)], "How the server is doing"),
    asks(
        "/connections",
        "connections",
        Scope::Inspect,
        &[AFTER, LIMIT],
        &[ok(BodySchema::Connections)],
        "Who is connected, the oldest connections first",
    ),
    asks(
        "/functions",
        "functions",
        Scope::Inspect,
        &[],
        &[ok(BodySchema::Functions)],
        "Every function with the schema of its arguments",
    ),
    asks(
        "/queues",
        "queues",
        Scope::Inspect,
        &[],
        &[ok(BodySchema::Queues)],
        "The queues and how much is in them",
    ),
    asks("/batches", "batches", Scope::Inspect, &[LIMIT], &[ok(BodySchema::Batches)], "The last batches"),
    Route {
        problems: &[404],
        ..asks(
            "/batches/{batch}",
            "batch",
            Scope::Send,
            &[BATCH],
            &[ok(BodySchema::Batch)],
            "A batch and how far it is",
        )
    },
    Route {
        method: "GET",
        path: "/batches/{batch}/events",
        operation: "follow_batch",
        summary: "How far a batch is, event by event, until all of its tasks have ended",
        scope: Some(Scope::Send),
        parameters: &[BATCH],
        action: Action::Follow,
        answers: &[ok(BodySchema::Events)],
        problems: &[404],
    },
    asks(
        "/schedules",
        "schedules",
        Scope::Inspect,
        &[],
        &[ok(BodySchema::Schedules)],
        "What runs by the clock",
    ),
    plain(
        "/healthz",
        "health",
        Action::Health,
        &[ok(BodySchema::Object)],
        &[],
        "Whether the process answers",
    ),
    plain(
        "/readyz",
        "readiness",
        Action::Readiness,
        &[ok(BodySchema::Object)],
        &[503, 507],
        "Whether tasks are taken",
    ),
    plain("/", "index", Action::Index, &[ok(BodySchema::Object)], &[], "The routes"),
    Route {
        scope: Some(Scope::Inspect),
        ..plain(
            "/openapi.json",
            "document",
            Action::Document,
            &[ok(BodySchema::Object)],
            &[],
            "This document",
        )
    },
];

/// A route that everybody may ask.
const fn plain(
    path: &'static str,
    operation: &'static str,
    action: Action,
    answers: &'static [ResponseSpec],
    problems: &'static [u16],
    summary: &'static str,
) -> Route {
    Route { method: "GET", path, operation, summary, scope: None, parameters: &[], action, answers, problems }
}
