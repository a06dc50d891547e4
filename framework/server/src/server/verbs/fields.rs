//! Fields that several verbs have, and how they are read.

use std::time::Duration;

use framework_console::config::duration;
use framework_protocol::RequestError;
use framework_protocol::task::{BatchId, parse_moment};
use framework_protocol::views::{AdminResult, ChangePreview, FailureFilter, TaskSelector};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::server::service::{Call, Field, Outcome};
use crate::store::{AdminCommand, PlannedSelection, Query, QueryResult};

/// The length of a list unless the call says so, and the longest.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// Longer times would overflow: a century.
const GRACE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

pub(super) const TASK: Field = field("task", "12");
pub(super) const BATCH: Field = field("batch", "3");
pub(super) const QUEUE: Field = field("queue", "\"mail\"");
pub(super) const FAILED: Field = field("failed", "true");
pub(super) const FUNCTION: Field = field("function", "\"echo\"");
pub(super) const CAUSE: Field = field("cause", "\"0123456789abcdef\"");
pub(super) const DRY_RUN: Field = field("dry_run", "true");
pub(super) const LIMIT: Field = field("limit", "20");
pub(super) const NOW: Field = field("now", "true");
pub(super) const GRACE: Field = field("grace", "\"30s\"");

/// The result of a change of many tasks, or what it would change.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it only describes the results")]
pub(super) enum ChangeReply {
    Changed(AdminResult),
    Preview(ChangePreview),
}

pub(super) const fn field(name: &'static str, example: &'static str) -> Field {
    Field { name, example }
}

/// Queries the store; `nothing` is the error when it has none of this id.
pub(super) async fn find(
    call: &Call<'_>,
    query: Query,
    nothing: impl FnOnce() -> RequestError,
) -> Result<Outcome, RequestError> {
    Ok(match call.service.store.query(query).await? {
        QueryResult::Task(details) => Outcome::result(&details),
        QueryResult::Tasks(tasks) => Outcome::result(&tasks),
        QueryResult::Found(found) => Outcome::result(&found),
        QueryResult::Batch(batch) => Outcome::result(&batch),
        QueryResult::Batches(batches) => Outcome::result(&batches),
        QueryResult::Queues(queues) => Outcome::result(&queues),
        QueryResult::Schedules(schedules) => Outcome::result(&schedules),
        QueryResult::Functions(functions) => Outcome::result(&functions),
        QueryResult::Changes(changes) => Outcome::result(&changes),
        QueryResult::Failures(report) => Outcome::result(&report),
        QueryResult::Preview(preview) => Outcome::result(&preview),
        QueryResult::History(points) => Outcome::result(&points),
        QueryResult::Backlog(queues) => Outcome::result(&queues),
        QueryResult::Next(tasks) => Outcome::result(&tasks),
        QueryResult::Nothing => return Err(nothing()),
    })
}

/// Queries the store for a list, which it always has.
pub(super) async fn list(call: &Call<'_>, query: Query) -> Result<Outcome, RequestError> {
    let internal = framework_protocol::ErrorCode::Internal;
    find(call, query, || RequestError::new(internal, "The store has no answer.")).await
}

pub(super) fn batch(call: &mut Call<'_>) -> Result<BatchId, RequestError> {
    call.need("batch", "the id of a batch")
}

pub(super) fn limit(call: &mut Call<'_>) -> Result<usize, RequestError> {
    match call.take("limit", "a number from 1 to 1000")?.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(RequestError::bad_request("\"limit\" must be a number from 1 to 1000.")),
    }
}

/// A queue that some handler belongs to, or that tasks of an earlier program still wait in.
pub(super) async fn queue(call: &mut Call<'_>) -> Result<Option<String>, RequestError> {
    let Some(name) = call.take::<String>("queue", "a string")? else { return Ok(None) };
    let Err(unknown) = call.service.intake.handlers().queue(&name) else { return Ok(Some(name)) };
    match call.service.store.query(Query::Queues).await? {
        QueryResult::Queues(queues) if queues.iter().any(|queue| queue.name == name) => Ok(Some(name)),
        _ => Err(unknown),
    }
}

/// Which of the failed tasks.
pub(super) async fn failure_filter(call: &mut Call<'_>) -> Result<FailureFilter, RequestError> {
    let cause = call.take("cause", "a cause: 16 hexadecimal digits, as task:failures shows it")?;
    let function = call.take("function", "the name of a function")?;
    Ok(FailureFilter { queue: queue(call).await?, function, cause })
}

/// Whether the call only asks what it would change.
pub(super) fn dry_run(call: &mut Call<'_>) -> Result<bool, RequestError> {
    Ok(call.take("dry_run", "true or false")?.unwrap_or(false))
}

/// Carries out a change of many tasks, or says what it would change.
pub(super) async fn change(
    call: &Call<'_>,
    command: AdminCommand,
    is_dry_run: bool,
) -> Result<Outcome, RequestError> {
    let planned = match &command {
        AdminCommand::Cancel(TaskSelector::Batch(batch)) => Some(PlannedSelection::Cancel(*batch)),
        AdminCommand::Flush { queue } => Some(PlannedSelection::Flush { queue: queue.clone() }),
        AdminCommand::Retry(selector) => Some(PlannedSelection::Retry(selector.clone())),
        AdminCommand::Forget(selector) => Some(PlannedSelection::Forget(selector.clone())),
        _ => None,
    };
    match planned.filter(|_| is_dry_run) {
        Some(planned) => list(call, Query::Preview(planned)).await,
        None if is_dry_run => {
            Err(RequestError::bad_request("\"dry_run\" is for changes of many tasks, not for one."))
        }
        None => call.service.apply(command).await.map(|result| Outcome::result(&result)),
    }
}

/// The tasks to change: exactly one of the ways to name them.
pub(super) async fn selection(call: &mut Call<'_>) -> Result<TaskSelector, RequestError> {
    let task = call.take("task", "the id of a task")?;
    let batch = call.take("batch", "the id of a batch")?;
    let failed = call.take("failed", "true or false")?.unwrap_or(false);
    let filter = failure_filter(call).await?;
    let is_plain = filter == FailureFilter::default();
    let ways = match (task, batch, failed) {
        (Some(task), None, false) if is_plain => return Ok(TaskSelector::Task(task)),
        (None, Some(batch), false) if is_plain => return Ok(TaskSelector::Batch(batch)),
        (None, None, failed) if failed || filter.cause.is_some() => return Ok(TaskSelector::Failed(filter)),
        _ if call.verb.fields.iter().any(|field| field.name == FAILED.name) => {
            "\"task\", or \"batch\", or \"failed\":true or \"cause\", and perhaps \"queue\" and \"function\""
        }
        _ => "\"task\" or \"batch\"",
    };
    Err(RequestError::bad_request(format!("The command \"{}\" needs either {ways}.", call.verb.name)))
}

/// A moment in milliseconds since 1970: a date and time with its offset, or a span that lies back so long.
pub(super) fn moment(call: &mut Call<'_>, name: &'static str) -> Result<Option<u64>, RequestError> {
    let expected = "a date and time with its offset, such as \"2026-12-01T09:00:00Z\", or a span such as \"2h\", \
        which is so long ago";
    let Some(text) = call.take::<String>(name, expected)? else { return Ok(None) };
    parse_moment(&text)
        .map(Some)
        .ok_or_else(|| RequestError::bad_request(format!("\"{name}\" must be {expected}.")))
}

/// The grace period of running tasks when the server stops or reloads; `None` is that of the settings.
pub(super) fn grace(call: &mut Call<'_>) -> Result<Option<Duration>, RequestError> {
    #[derive(Deserialize)]
    struct Grace(#[serde(with = "duration")] Duration);
    let now = call.take("now", "true or false")?.unwrap_or(false);
    match call.take::<Grace>("grace", "a time such as \"10s\", or a number of seconds")? {
        Some(Grace(grace)) if grace > GRACE_MAX => {
            Err(RequestError::bad_request("\"grace\" must be at most 100 years."))
        }
        _ if now => Ok(Some(Duration::ZERO)),
        grace => Ok(grace.map(|Grace(grace)| grace)),
    }
}
