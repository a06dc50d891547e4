//! The wire's commands: what each is called, which fields it has, and what is asked of the store for it.

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{BatchId, Handler, HandlerInfo, TaskId};
use framework_protocol::views::{
    AdminResult, BatchInfo, ConnectionInfo, Filter, QueueInfo, ScheduleInfo, ServerStatus, TaskDetails,
    TaskSelector, TaskSummary,
};
use framework_protocol::{CommandRequest, ErrorCode, RequestError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::SessionContext;
use crate::server::access::{Access, Scope};
use crate::server::outbox::Outbox;
use crate::server::status;
use crate::store::{AdminCommand, Query, QueryResult};

/// The commands, the scope that each needs, and their fields.
const COMMANDS: &[(&str, Scope, &[&str])] = &[
    ("status", Scope::Inspect, &[]),
    ("connections", Scope::Inspect, &["after", "limit"]),
    ("show", Scope::Send, &["task"]),
    ("watch", Scope::Send, &["task", "batch"]),
    ("list", Scope::Inspect, &["state", "queue", "function", "batch", "before", "limit"]),
    ("cancel", Scope::Admin, &["task", "batch"]),
    ("retry", Scope::Admin, &["task", "batch", "failed", "queue"]),
    ("forget", Scope::Admin, &["task", "batch", "failed", "queue"]),
    ("flush", Scope::Admin, &["queue"]),
    ("queues", Scope::Inspect, &[]),
    ("pause", Scope::Admin, &["queue"]),
    ("resume", Scope::Admin, &["queue"]),
    ("open_batch", Scope::Send, &["name", "function", "then"]),
    ("seal_batch", Scope::Send, &["batch"]),
    ("batches", Scope::Inspect, &["limit"]),
    ("batch", Scope::Send, &["batch"]),
    ("functions", Scope::Inspect, &["function"]),
    ("schedules", Scope::Inspect, &[]),
    ("run_schedule", Scope::Admin, &["schedule"]),
    ("pause_schedule", Scope::Admin, &["schedule"]),
    ("resume_schedule", Scope::Admin, &["schedule"]),
    ("stop", Scope::Admin, &["now", "grace"]),
    ("reload", Scope::Admin, &["now", "grace"]),
];

/// How many lines a list has unless the command says so, and at most.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// How long the name of a batch may be, in bytes.
const NAME_MAX: usize = 200;
/// Longer times would overflow: a century.
const PATIENCE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What the answer of a command holds.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum VerbResult {
    Status(Box<ServerStatus>),
    Connections(Vec<ConnectionInfo>),
    Task(Box<TaskDetails>),
    Tasks(Vec<TaskSummary>),
    Batch(Box<BatchInfo>),
    Batches(Vec<BatchInfo>),
    Queues(Vec<QueueInfo>),
    Schedules(Vec<ScheduleInfo>),
    Functions(Vec<HandlerInfo>),
    Changed(AdminResult),
    /// The task that was made.
    Made {
        task_id: TaskId,
    },
}

/// What a command comes down to.
enum Verb {
    Status,
    /// Tells of so many connections after the one of this number.
    Connections(u64, usize),
    /// Describes this function, or all of them.
    Describe(Option<String>),
    Find(Query),
    Change(AdminCommand),
    /// Follows this task, line by line.
    Watch(TaskId),
    /// Follows this batch, line by line.
    WatchBatch(BatchId),
    /// Makes a task of this schedule now.
    Run(String),
    /// Pauses this schedule, or ends its pause.
    Pause(String, bool),
    /// Stops the server, after so long at most.
    Stop(Option<Duration>),
    /// Lets a new process take its place, when running tasks have ended within so long.
    Reload(Option<Duration>),
}

/// Does what a command asks; `None` when the answer goes its own way to the outbox.
pub(super) async fn answer(
    context: &SessionContext,
    access: Access,
    outbox: &Arc<Outbox>,
    mut request: CommandRequest<'_>,
) -> Result<Option<VerbResult>, RequestError> {
    let answer = match read(context, access, &mut request).await? {
        Verb::Status => {
            Ok(VerbResult::Status(Box::new(status::report(&context.metrics, &context.addresses).await)))
        }
        Verb::Connections(after, limit) => {
            Ok(VerbResult::Connections(context.metrics.registry.list(after, limit)))
        }
        Verb::Describe(function) => functions(context, function.as_deref()).map(VerbResult::Functions),
        Verb::Find(question) => find(context, question).await,
        Verb::Change(change) => {
            let _changing = context.subscriptions.batches.changing(&change);
            context.queue.apply(change).await.map(VerbResult::Changed)
        }
        Verb::Watch(task) => {
            let id = request.id.map(RawValue::get);
            return context.subscriptions.subscribe(outbox, task, id).await.map(|()| None);
        }
        Verb::WatchBatch(batch) => {
            let id = request.id.map(RawValue::get);
            return context.subscriptions.batches.subscribe(outbox, batch, id).await.map(|()| None);
        }
        Verb::Stop(grace) => {
            context.control.shutdown.request(outbox, request.id.map(RawValue::get), grace).await;
            return Ok(None);
        }
        Verb::Reload(grace) => {
            context.control.reload.request_from_client(outbox, request.id.map(RawValue::get), grace);
            return Ok(None);
        }
        Verb::Run(schedule) => {
            context.scheduler.run_now(&schedule).await.map(|task_id| VerbResult::Made { task_id })
        }
        Verb::Pause(schedule, paused) => {
            context.scheduler.pause(&schedule, paused).await.map(|()| VerbResult::Changed(AdminResult::Done))
        }
    };
    answer.map(Some)
}

async fn read(
    context: &SessionContext,
    access: Access,
    request: &mut CommandRequest<'_>,
) -> Result<Verb, RequestError> {
    let (name, scope, fields) = find_command(&request.command)?;
    access.check(scope)?;
    request.only(fields)?;
    Ok(match name {
        "status" => Verb::Status,
        "connections" => Verb::Connections(after(request)?, limit(request)?),
        "show" => Verb::Find(Query::Task(request.need("task", "the id of a task")?)),
        "watch" => watched(request)?,
        "list" => Verb::Find(Query::Tasks(filter(context, request).await?)),
        "queues" => Verb::Find(Query::Queues),
        "functions" => Verb::Describe(request.take("function", "the name of a function")?),
        "batch" => Verb::Find(Query::Batch(batch(request)?)),
        "batches" => Verb::Find(Query::Batches { limit: limit(request)? }),
        "schedules" => Verb::Find(Query::Schedules),
        "run_schedule" => Verb::Run(schedule(request)?),
        "pause_schedule" | "resume_schedule" => Verb::Pause(schedule(request)?, name == "pause_schedule"),
        "cancel" => Verb::Change(AdminCommand::Cancel(target(context, request, fields).await?)),
        "retry" => Verb::Change(AdminCommand::Retry(target(context, request, fields).await?)),
        "forget" => Verb::Change(AdminCommand::Forget(target(context, request, fields).await?)),
        "flush" => Verb::Change(AdminCommand::Flush { queue: queue(context, request).await? }),
        "pause" | "resume" => {
            let queue = queue(context, request).await?.ok_or_else(|| bad("Which \"queue\"?"))?;
            Verb::Change(AdminCommand::Pause { queue, paused: name == "pause" })
        }
        "stop" => Verb::Stop(grace(request)?),
        "reload" => Verb::Reload(grace(request)?),
        "open_batch" => Verb::Change(open_batch(context, request)?),
        "seal_batch" => Verb::Change(AdminCommand::SealBatch(batch(request)?)),
        _ => return Err(unknown_command(name)),
    })
}

fn find_command(name: &str) -> Result<(&'static str, Scope, &'static [&'static str]), RequestError> {
    COMMANDS.iter().copied().find(|(known, ..)| *known == name).ok_or_else(|| unknown_command(name))
}

fn unknown_command(name: &str) -> RequestError {
    RequestError::new(ErrorCode::UnknownCommand, format!("There is no command \"{name}\"."))
        .suggesting(name, COMMANDS.iter().map(|(name, ..)| *name))
}

async fn find(context: &SessionContext, question: Query) -> Result<VerbResult, RequestError> {
    let nothing = match &question {
        Query::Task(id) => RequestError::new(
            ErrorCode::UnknownTask,
            format!("There is no task {id}, or it is not kept any more."),
        ),
        Query::Batch(id) => RequestError::new(
            ErrorCode::UnknownTask,
            format!("There is no batch {id}, or it is not kept any more."),
        ),
        other => RequestError::new(ErrorCode::Internal, format!("The store has no answer to {other:?}.")),
    };
    Ok(match context.queue.query(question).await? {
        QueryResult::Task(story) => VerbResult::Task(story),
        QueryResult::Tasks(tasks) => VerbResult::Tasks(tasks),
        QueryResult::Batch(story) => VerbResult::Batch(story),
        QueryResult::Batches(batches) => VerbResult::Batches(batches),
        QueryResult::Queues(queues) => VerbResult::Queues(queues),
        QueryResult::Schedules(schedules) => VerbResult::Schedules(schedules),
        QueryResult::Nothing => return Err(nothing),
    })
}

fn functions(context: &SessionContext, name: Option<&str>) -> Result<Vec<HandlerInfo>, RequestError> {
    let handlers = context.queue.handlers();
    match name {
        Some(name) => handlers.find(name).map(|handler| vec![handler.describe()]),
        None => Ok(handlers.iter().map(Handler::describe).collect()),
    }
}

async fn filter(context: &SessionContext, request: &mut CommandRequest<'_>) -> Result<Filter, RequestError> {
    Ok(Filter {
        state: request.take("state", "waiting, running, done, failed, cancelled or expired")?,
        queue: queue(context, request).await?,
        function: request.take("function", "a string")?,
        batch: request.take("batch", "the id of a batch")?,
        before: request.take("before", "the id of a task")?,
        limit: limit(request)?,
    })
}

/// What is to be followed: exactly one task or batch.
fn watched(request: &mut CommandRequest) -> Result<Verb, RequestError> {
    let task = request.take("task", "the id of a task")?;
    match (task, request.take("batch", "the id of a batch")?) {
        (Some(task), None) => Ok(Verb::Watch(task)),
        (None, Some(batch)) => Ok(Verb::WatchBatch(batch)),
        (Some(_), Some(_)) => Err(bad("The command \"watch\" takes either \"task\" or \"batch\", not both.")),
        (None, None) => Err(bad("The command \"watch\" needs either \"task\" or \"batch\".")),
    }
}

/// The tasks that a change is about: exactly one of the ways to name them.
async fn target(
    context: &SessionContext,
    request: &mut CommandRequest<'_>,
    fields: &[&str],
) -> Result<TaskSelector, RequestError> {
    let task = request.take("task", "the id of a task")?;
    let batch = request.take("batch", "the id of a batch")?;
    let failed = request.take("failed", "true or false")?.unwrap_or(false);
    match (task, batch, failed, queue(context, request).await?) {
        (Some(task), None, false, None) => Ok(TaskSelector::Task(task)),
        (None, Some(batch), false, None) => Ok(TaskSelector::Batch(batch)),
        (None, None, true, queue) => Ok(TaskSelector::Failed { queue }),
        _ if fields.contains(&"failed") => Err(bad(format!(
            "The command \"{}\" needs either \"task\", or \"batch\", or \"failed\":true and perhaps \"queue\".",
            request.command
        ))),
        _ => Err(bad(format!("The command \"{}\" needs either \"task\" or \"batch\".", request.command))),
    }
}

fn open_batch(context: &SessionContext, request: &mut CommandRequest) -> Result<AdminCommand, RequestError> {
    let handlers = context.queue.handlers();
    let name: String = request.need("name", "a string")?;
    if name.len() > NAME_MAX {
        return Err(bad(format!("\"name\" must be at most {NAME_MAX} bytes long.")));
    }
    let function = handlers.find(&request.need::<String>("function", "the name of a function")?)?;
    let then = request.take::<String>("then", "the name of a function")?;
    let then = then.map(|then| handlers.find(&then).and_then(told_of_ends)).transpose()?;
    Ok(AdminCommand::OpenBatch { name, function: function.name.to_owned(), then })
}

/// A function that runs when a batch has ended has to understand what it is told then.
fn told_of_ends(handler: &'static Handler) -> Result<&'static Handler, RequestError> {
    let told =
        br#"{"batch":1,"name":"","function":"","total":0,"done":0,"failed":0,"cancelled":0,"expired":0}"#;
    handler.check(told).map(|()| handler)
}

fn batch(request: &mut CommandRequest) -> Result<u64, RequestError> {
    request.need("batch", "the id of a batch")
}

/// How long running tasks may take when the server stops or reloads.
fn grace(request: &mut CommandRequest) -> Result<Option<Duration>, RequestError> {
    #[derive(Deserialize)]
    struct Span(#[serde(with = "framework_console::config::duration")] Duration);
    let now = request.take("now", "true or false")?.unwrap_or(false);
    let timeout = request.take::<Span>("grace", "a time such as \"10s\", or a number of seconds")?;
    match timeout {
        Some(Span(timeout)) if timeout > PATIENCE_MAX => Err(bad("\"grace\" must be at most 100 years.")),
        _ if now => Ok(Some(Duration::ZERO)),
        timeout => Ok(timeout.map(|Span(timeout)| timeout)),
    }
}

fn schedule(request: &mut CommandRequest) -> Result<String, RequestError> {
    request.need("schedule", "the name of a schedule")
}

/// The number of the last connection of the page before; 0 comes before all.
fn after(request: &mut CommandRequest) -> Result<u64, RequestError> {
    Ok(request.take("after", "the number of a connection")?.unwrap_or(0))
}

fn limit(request: &mut CommandRequest) -> Result<usize, RequestError> {
    match request.take("limit", "a number from 1 to 1000")?.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(bad("\"limit\" must be a number from 1 to 1000.")),
    }
}

/// A queue that some handler belongs to, or that tasks of an earlier program still wait in.
async fn queue(
    context: &SessionContext,
    request: &mut CommandRequest<'_>,
) -> Result<Option<String>, RequestError> {
    let Some(name) = request.take::<String>("queue", "a string")? else { return Ok(None) };
    let Err(unknown) = context.queue.handlers().queue(&name) else { return Ok(Some(name)) };
    match context.queue.query(Query::Queues).await? {
        QueryResult::Queues(queues) if queues.iter().any(|queue| queue.name == name) => Ok(Some(name)),
        _ => Err(unknown),
    }
}

fn bad(message: impl Into<String>) -> RequestError {
    RequestError::new(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_command_is_told_the_near_one() {
        let refusal = find_command("statsu").unwrap_err();
        assert_eq!(
            (refusal.code, refusal.suggestion.as_deref()),
            (ErrorCode::UnknownCommand, Some("status"))
        );
    }
}
