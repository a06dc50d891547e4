//! Verbs about the server itself.

use framework_protocol::RequestError;
use framework_protocol::task::{Function, HandlerInfo};
use framework_protocol::views::{
    ConnectionInfo, HISTORY_HOURS, HistoryFilter, HistoryPoint, ProjectInfo, ServerStatus,
};

use super::fields::{self, FUNCTION, GRACE, LIMIT, NOW, QUEUE, field};
use crate::server::access::Scope;
use crate::server::service::{Call, Outcome, ResultSchema, Verb};
use crate::store::Query;

pub(super) static VERBS: &[Verb] = &[
    Verb {
        name: "status",
        scope: Some(Scope::Inspect),
        fields: &[],
        about: "How the server is doing",
        result: ResultSchema::of::<ServerStatus>(),
        run: |call| Box::pin(status(call)),
    },
    Verb {
        name: "connections",
        scope: Some(Scope::Inspect),
        fields: &[field("after", "12"), LIMIT],
        about: "Who is connected, the oldest connections first",
        result: ResultSchema::of::<Vec<ConnectionInfo>>(),
        run: |call| Box::pin(connections(call)),
    },
    Verb {
        name: "functions",
        scope: Some(Scope::Inspect),
        fields: &[FUNCTION],
        about: "Every function with the schema of its arguments",
        result: ResultSchema::of::<Vec<HandlerInfo>>(),
        run: |call| Box::pin(functions(call)),
    },
    Verb {
        name: "history",
        scope: Some(Scope::Inspect),
        fields: &[field("hours", "24"), FUNCTION, QUEUE],
        about: "What came and ended in the last hours, up to a day by the minute, up to 90 days by the hour",
        result: ResultSchema::of::<Vec<HistoryPoint>>(),
        run: |call| Box::pin(history(call)),
    },
    Verb {
        name: "project",
        scope: None,
        fields: &[],
        about: "The project that the server belongs to",
        result: ResultSchema::of::<ProjectInfo>(),
        run: |call| Box::pin(project(call)),
    },
    Verb {
        name: "stop",
        scope: Some(Scope::Admin),
        fields: &[NOW, GRACE],
        about: "Stop the server when running tasks have ended, or their time is over",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(stop(call)),
    },
    Verb {
        name: "reload",
        scope: Some(Scope::Admin),
        fields: &[NOW, GRACE],
        about: "Replace the process by a new one, without closing the sockets",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(reload(call)),
    },
];

async fn status(call: Call<'_>) -> Result<Outcome, RequestError> {
    Ok(Outcome::result(&call.service.status().await))
}

async fn connections(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    // The number of the last connection of the page before; 0 comes before all.
    let after = call.take("after", "the number of a connection")?.unwrap_or(0);
    let limit = fields::limit(&mut call)?;
    Ok(Outcome::result(&call.service.metrics.registry.list(after, limit)))
}

async fn functions(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let handlers = call.service.intake.handlers();
    let mut found: Vec<HandlerInfo> = match call.take::<String>("function", "the name of a function")? {
        Some(name) => vec![handlers.function(&name)?.describe()],
        None => handlers.functions().iter().map(Function::describe).collect(),
    };
    call.service.remote.describe_workers(&mut found);
    Ok(Outcome::result(&found))
}

async fn history(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let hours = call.take("hours", "a number from 1 to 2160")?.unwrap_or(1);
    if !(1..=HISTORY_HOURS).contains(&hours) {
        return Err(RequestError::bad_request("\"hours\" must be a number from 1 to 2160."));
    }
    let filter = HistoryFilter {
        hours,
        function: call.take("function", "the name of a function")?,
        queue: call.take("queue", "the name of a queue")?,
    };
    fields::list(&call, Query::History(filter)).await
}

async fn project(call: Call<'_>) -> Result<Outcome, RequestError> {
    Ok(Outcome::result(&ProjectInfo { root: call.service.root.display().to_string() }))
}

async fn stop(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let grace = fields::grace(&mut call)?;
    // The first request has fixed the grace period.
    if grace.is_some() && call.service.control.shutdown.is_under_way() {
        return Err(RequestError::shutting_down());
    }
    call.service.control.shutdown.request(call.caller.outbox, call.id(), grace).await;
    Ok(Outcome::Streaming)
}

async fn reload(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let grace = fields::grace(&mut call)?;
    if call.service.control.shutdown.is_under_way() {
        return Err(RequestError::shutting_down());
    }
    call.service.control.reload.request_from_client(call.caller.outbox, call.id(), grace);
    Ok(Outcome::Streaming)
}
