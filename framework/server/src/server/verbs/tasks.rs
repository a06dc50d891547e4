//! Verbs about tasks.

use framework_protocol::RequestError;
use framework_protocol::views::{FailureReport, Filter, SearchResult, TaskDetails, TaskSummary};

use super::fields::{self, BATCH, CAUSE, ChangeReply, DRY_RUN, FAILED, FUNCTION, LIMIT, QUEUE, TASK, field};
use crate::server::access::Scope;
use crate::server::service::{Call, Field, Outcome, ResultSchema, Verb};
use crate::store::{AdminCommand, Query};

/// The longest text that is searched for, in bytes.
const TEXT_MAX: usize = 256;

/// The fields of a search.
const SEARCH: &[Field] = &[
    field("text", "\"ada@example.com\""),
    field("tags", "{\"tenant\":\"7\"}"),
    field("since", "\"2h\""),
    field("until", "\"2026-12-01T09:00:00Z\""),
    field("state", "\"failed\""),
    QUEUE,
    FUNCTION,
    BATCH,
    field("before", "12"),
    LIMIT,
];

pub(super) static VERBS: &[Verb] = &[
    Verb {
        name: "show",
        scope: Some(Scope::Inspect),
        fields: &[TASK],
        about: "A task with its attempts, its progress and its log",
        result: ResultSchema::of::<TaskDetails>(),
        run: |call| Box::pin(show(call)),
    },
    Verb {
        name: "watch",
        scope: Some(Scope::Send),
        fields: &[TASK, BATCH],
        about: "The progress of a task or a batch, line by line, until its end",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(watch(call)),
    },
    Verb {
        name: "list",
        scope: Some(Scope::Inspect),
        fields: &[field("state", "\"failed\""), QUEUE, FUNCTION, BATCH, field("before", "12"), LIMIT],
        about: "The tasks that were accepted last",
        result: ResultSchema::of::<Vec<TaskSummary>>(),
        run: |call| Box::pin(list(call)),
    },
    Verb {
        name: "search",
        scope: Some(Scope::Inspect),
        fields: SEARCH,
        about: "The tasks of a filter, as far as they are found in a second; `before` goes on",
        result: ResultSchema::of::<SearchResult>(),
        run: |call| Box::pin(search(call)),
    },
    Verb {
        name: "failures",
        scope: Some(Scope::Inspect),
        fields: &[QUEUE, FUNCTION, CAUSE, LIMIT],
        about: "The failed tasks by their causes",
        result: ResultSchema::of::<FailureReport>(),
        run: |call| Box::pin(failures(call)),
    },
    Verb {
        name: "cancel",
        scope: Some(Scope::Admin),
        fields: &[TASK, BATCH, DRY_RUN],
        about: "Cancel a task, or those of a batch",
        result: ResultSchema::of::<ChangeReply>(),
        run: |call| Box::pin(cancel(call)),
    },
    Verb {
        name: "retry",
        scope: Some(Scope::Admin),
        fields: &[TASK, BATCH, FAILED, QUEUE, FUNCTION, CAUSE, DRY_RUN],
        about: "Let a task that has ended wait again, with all its attempts before it",
        result: ResultSchema::of::<ChangeReply>(),
        run: |call| Box::pin(retry(call)),
    },
    Verb {
        name: "forget",
        scope: Some(Scope::Admin),
        fields: &[TASK, BATCH, FAILED, QUEUE, FUNCTION, CAUSE, DRY_RUN],
        about: "Remove a task that has ended, with all that is kept of it",
        result: ResultSchema::of::<ChangeReply>(),
        run: |call| Box::pin(forget(call)),
    },
];

async fn show(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let task = call.need("task", "the id of a task")?;
    fields::find(&call, Query::Task(task), || RequestError::unknown_task(task)).await
}

async fn watch(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let task = call.take("task", "the id of a task")?;
    let batch = call.take("batch", "the id of a batch")?;
    let (subscriptions, outbox, id) = (&call.service.subscriptions, call.caller.outbox, call.id());
    match (task, batch) {
        (Some(task), None) => {
            // A batch shows counts; a task shows what somebody has sent, and its result.
            call.service.authorize(call.caller.access, Some(Scope::Inspect))?;
            subscriptions.subscribe(outbox, task, id).await?;
        }
        (None, Some(batch)) => subscriptions.batches.subscribe(outbox, batch, id).await?,
        (Some(_), Some(_)) => {
            let message = "The command \"watch\" takes either \"task\" or \"batch\", not both.";
            return Err(RequestError::bad_request(message));
        }
        (None, None) => {
            let message = "The command \"watch\" needs either \"task\" or \"batch\".";
            return Err(RequestError::bad_request(message));
        }
    }
    Ok(Outcome::Streaming)
}

async fn list(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let filter = filter(&mut call).await?;
    fields::list(&call, Query::Tasks(filter)).await
}

/// What lists and searches have in common.
async fn filter(call: &mut Call<'_>) -> Result<Filter, RequestError> {
    Ok(Filter {
        state: call.take("state", "waiting, running, done, failed, cancelled or expired")?,
        queue: fields::queue(call).await?,
        function: call.take("function", "a string")?,
        batch: call.take("batch", "the id of a batch")?,
        before: call.take("before", "the id of a task")?,
        limit: fields::limit(call)?,
        ..Filter::default()
    })
}

async fn search(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let tags = "at most 16 tags, such as {\"tenant\":\"7\"}, in a URL tenant=7,order=4711";
    let filter = Filter {
        tags: call.take("tags", tags)?.unwrap_or_default(),
        text: call.take("text", "a string")?,
        since_ms: fields::moment(&mut call, "since")?,
        until_ms: fields::moment(&mut call, "until")?,
        ..filter(&mut call).await?
    };
    let is_text = |text: &String| (1..=TEXT_MAX).contains(&text.len()) && !text.contains(char::is_control);
    if filter.text.as_ref().is_some_and(|text| !is_text(text)) {
        let message = format!("\"text\" must be 1 to {TEXT_MAX} bytes without control characters.");
        return Err(RequestError::bad_request(message));
    }
    fields::list(&call, Query::Search(filter)).await
}

async fn failures(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let filter = fields::failure_filter(&mut call).await?;
    let limit = fields::limit(&mut call)?;
    fields::list(&call, Query::Failures { filter, limit }).await
}

async fn cancel(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let selection = fields::selection(&mut call).await?;
    let is_dry_run = fields::dry_run(&mut call)?;
    fields::change(&call, AdminCommand::Cancel(selection), is_dry_run).await
}

async fn retry(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let selection = fields::selection(&mut call).await?;
    let is_dry_run = fields::dry_run(&mut call)?;
    fields::change(&call, AdminCommand::Retry(selection), is_dry_run).await
}

async fn forget(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let selection = fields::selection(&mut call).await?;
    let is_dry_run = fields::dry_run(&mut call)?;
    fields::change(&call, AdminCommand::Forget(selection), is_dry_run).await
}
