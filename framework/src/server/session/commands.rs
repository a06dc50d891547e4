//! The wire's commands: what each is called, which fields it has, and what is asked of the store for it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Hall;
use crate::protocol::{Code, CommandRequest, Refusal};
use crate::server::access::{Access, Scope};
use crate::server::outbox::Outbox;
use crate::server::roster::ConnectionStory;
use crate::server::status::Status;
use crate::store::{
    BatchStory, Change, Changed, Filter, Found, Question, QueueStory, ScheduleStory, Story, Summary, Target,
};
use crate::task::{BatchId, FunctionStory, Handler, TaskId};

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
    ("stop", Scope::Admin, &["now", "timeout"]),
    ("reload", Scope::Admin, &["now", "timeout"]),
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
pub(super) enum Answer {
    Status(Box<Status>),
    Connections(Vec<ConnectionStory>),
    Task(Box<Story>),
    Tasks(Vec<Summary>),
    Batch(Box<BatchStory>),
    Batches(Vec<BatchStory>),
    Queues(Vec<QueueStory>),
    Schedules(Vec<ScheduleStory>),
    Functions(Vec<FunctionStory>),
    Changed(Changed),
    /// The task that was made.
    Made {
        task_id: TaskId,
    },
}

/// What a command comes down to.
enum Asked {
    Status,
    /// Tells of so many connections after the one of this number.
    Connections(u64, usize),
    /// Describes this function, or all of them.
    Describe(Option<String>),
    Find(Question),
    Change(Change),
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
    hall: &Hall,
    access: Access,
    outbox: &Arc<Outbox>,
    mut request: CommandRequest<'_>,
) -> Result<Option<Answer>, Refusal> {
    let answer = match read(hall, access, &mut request).await? {
        Asked::Status => Ok(Answer::Status(Box::new(hall.board.report(&hall.addresses).await))),
        Asked::Connections(after, limit) => Ok(Answer::Connections(hall.board.roster.tell(after, limit))),
        Asked::Describe(function) => functions(hall, function.as_deref()).map(Answer::Functions),
        Asked::Find(question) => find(hall, question).await,
        Asked::Change(change) => {
            let _changing = hall.audience.batches.changing(&change);
            hall.queue.change(change).await.map(Answer::Changed)
        }
        Asked::Watch(task) => {
            let id = request.id.map(RawValue::get);
            return hall.audience.follow(outbox, task, id).await.map(|()| None);
        }
        Asked::WatchBatch(batch) => {
            let id = request.id.map(RawValue::get);
            return hall.audience.batches.follow(outbox, batch, id).await.map(|()| None);
        }
        Asked::Stop(patience) => {
            hall.ending.ask(outbox, request.id.map(RawValue::get), patience).await;
            return Ok(None);
        }
        Asked::Reload(patience) => {
            hall.renewal.ask(outbox, request.id.map(RawValue::get), patience);
            return Ok(None);
        }
        Asked::Run(schedule) => {
            hall.scheduler.run_now(&schedule).await.map(|task_id| Answer::Made { task_id })
        }
        Asked::Pause(schedule, paused) => {
            hall.scheduler.pause(&schedule, paused).await.map(|()| Answer::Changed(Changed::Done))
        }
    };
    answer.map(Some)
}

async fn read(hall: &Hall, access: Access, request: &mut CommandRequest<'_>) -> Result<Asked, Refusal> {
    let (name, scope, fields) = find_command(&request.command)?;
    access.check(scope)?;
    request.only(fields)?;
    Ok(match name {
        "status" => Asked::Status,
        "connections" => Asked::Connections(after(request)?, limit(request)?),
        "show" => Asked::Find(Question::Task(request.need("task", "the id of a task")?)),
        "watch" => watched(request)?,
        "list" => Asked::Find(Question::Tasks(filter(hall, request).await?)),
        "queues" => Asked::Find(Question::Queues),
        "functions" => Asked::Describe(request.take("function", "the name of a function")?),
        "batch" => Asked::Find(Question::Batch(batch(request)?)),
        "batches" => Asked::Find(Question::Batches { limit: limit(request)? }),
        "schedules" => Asked::Find(Question::Schedules),
        "run_schedule" => Asked::Run(schedule(request)?),
        "pause_schedule" | "resume_schedule" => Asked::Pause(schedule(request)?, name == "pause_schedule"),
        "cancel" => Asked::Change(Change::Cancel(target(hall, request, fields).await?)),
        "retry" => Asked::Change(Change::Retry(target(hall, request, fields).await?)),
        "forget" => Asked::Change(Change::Forget(target(hall, request, fields).await?)),
        "flush" => Asked::Change(Change::Flush { queue: queue(hall, request).await? }),
        "pause" | "resume" => {
            let queue = queue(hall, request).await?.ok_or_else(|| bad("Which \"queue\"?"))?;
            Asked::Change(Change::Pause { queue, paused: name == "pause" })
        }
        "stop" => Asked::Stop(patience(request)?),
        "reload" => Asked::Reload(patience(request)?),
        "open_batch" => Asked::Change(open_batch(hall, request)?),
        "seal_batch" => Asked::Change(Change::SealBatch(batch(request)?)),
        _ => return Err(unknown_command(name)),
    })
}

fn find_command(name: &str) -> Result<(&'static str, Scope, &'static [&'static str]), Refusal> {
    COMMANDS.iter().copied().find(|(known, ..)| *known == name).ok_or_else(|| unknown_command(name))
}

fn unknown_command(name: &str) -> Refusal {
    Refusal::new(Code::UnknownCommand, format!("There is no command \"{name}\"."))
        .suggesting(name, COMMANDS.iter().map(|(name, ..)| *name))
}

async fn find(hall: &Hall, question: Question) -> Result<Answer, Refusal> {
    let nothing = match &question {
        Question::Task(id) => {
            Refusal::new(Code::UnknownTask, format!("There is no task {id}, or it is not kept any more."))
        }
        Question::Batch(id) => {
            Refusal::new(Code::UnknownTask, format!("There is no batch {id}, or it is not kept any more."))
        }
        other => Refusal::new(Code::Internal, format!("The store has no answer to {other:?}.")),
    };
    Ok(match hall.queue.find(question).await? {
        Found::Task(story) => Answer::Task(story),
        Found::Tasks(tasks) => Answer::Tasks(tasks),
        Found::Batch(story) => Answer::Batch(story),
        Found::Batches(batches) => Answer::Batches(batches),
        Found::Queues(queues) => Answer::Queues(queues),
        Found::Schedules(schedules) => Answer::Schedules(schedules),
        Found::Nothing => return Err(nothing),
    })
}

fn functions(hall: &Hall, name: Option<&str>) -> Result<Vec<FunctionStory>, Refusal> {
    let handlers = hall.queue.handlers();
    match name {
        Some(name) => handlers.find(name).map(|handler| vec![handler.describe()]),
        None => Ok(handlers.iter().map(Handler::describe).collect()),
    }
}

async fn filter(hall: &Hall, request: &mut CommandRequest<'_>) -> Result<Filter, Refusal> {
    Ok(Filter {
        state: request.take("state", "waiting, running, done, failed, cancelled or expired")?,
        queue: queue(hall, request).await?,
        function: request.take("function", "a string")?,
        batch: request.take("batch", "the id of a batch")?,
        before: request.take("before", "the id of a task")?,
        limit: limit(request)?,
    })
}

/// What is to be followed: exactly one task or batch.
fn watched(request: &mut CommandRequest) -> Result<Asked, Refusal> {
    let task = request.take("task", "the id of a task")?;
    match (task, request.take("batch", "the id of a batch")?) {
        (Some(task), None) => Ok(Asked::Watch(task)),
        (None, Some(batch)) => Ok(Asked::WatchBatch(batch)),
        (Some(_), Some(_)) => Err(bad("The command \"watch\" takes either \"task\" or \"batch\", not both.")),
        (None, None) => Err(bad("The command \"watch\" needs either \"task\" or \"batch\".")),
    }
}

/// The tasks that a change is about: exactly one of the ways to name them.
async fn target(hall: &Hall, request: &mut CommandRequest<'_>, fields: &[&str]) -> Result<Target, Refusal> {
    let task = request.take("task", "the id of a task")?;
    let batch = request.take("batch", "the id of a batch")?;
    let failed = request.take("failed", "true or false")?.unwrap_or(false);
    match (task, batch, failed, queue(hall, request).await?) {
        (Some(task), None, false, None) => Ok(Target::Task(task)),
        (None, Some(batch), false, None) => Ok(Target::Batch(batch)),
        (None, None, true, queue) => Ok(Target::Failed { queue }),
        _ if fields.contains(&"failed") => Err(bad(format!(
            "The command \"{}\" needs either \"task\", or \"batch\", or \"failed\":true and perhaps \"queue\".",
            request.command
        ))),
        _ => Err(bad(format!("The command \"{}\" needs either \"task\" or \"batch\".", request.command))),
    }
}

fn open_batch(hall: &Hall, request: &mut CommandRequest) -> Result<Change, Refusal> {
    let handlers = hall.queue.handlers();
    let name: String = request.need("name", "a string")?;
    if name.len() > NAME_MAX {
        return Err(bad(format!("\"name\" must be at most {NAME_MAX} bytes long.")));
    }
    let function = handlers.find(&request.need::<String>("function", "the name of a function")?)?;
    let then = request.take::<String>("then", "the name of a function")?;
    let then = then.map(|then| handlers.find(&then).and_then(told_of_ends)).transpose()?;
    Ok(Change::OpenBatch { name, function: function.name.to_owned(), then })
}

/// A function that runs when a batch has ended has to understand what it is told then.
fn told_of_ends(handler: &'static Handler) -> Result<&'static Handler, Refusal> {
    let told =
        br#"{"batch":1,"name":"","function":"","total":0,"done":0,"failed":0,"cancelled":0,"expired":0}"#;
    handler.check(told).map(|()| handler)
}

fn batch(request: &mut CommandRequest) -> Result<u64, Refusal> {
    request.need("batch", "the id of a batch")
}

/// How long running tasks may take when the server stops or reloads.
fn patience(request: &mut CommandRequest) -> Result<Option<Duration>, Refusal> {
    #[derive(Deserialize)]
    struct Span(#[serde(with = "crate::config::duration")] Duration);
    let now = request.take("now", "true or false")?.unwrap_or(false);
    let timeout = request.take::<Span>("timeout", "a time such as \"10s\", or a number of seconds")?;
    match timeout {
        Some(Span(timeout)) if timeout > PATIENCE_MAX => Err(bad("\"timeout\" must be at most 100 years.")),
        _ if now => Ok(Some(Duration::ZERO)),
        timeout => Ok(timeout.map(|Span(timeout)| timeout)),
    }
}

fn schedule(request: &mut CommandRequest) -> Result<String, Refusal> {
    request.need("schedule", "the name of a schedule")
}

/// The number of the last connection of the page before; 0 comes before all.
fn after(request: &mut CommandRequest) -> Result<u64, Refusal> {
    Ok(request.take("after", "the number of a connection")?.unwrap_or(0))
}

fn limit(request: &mut CommandRequest) -> Result<usize, Refusal> {
    match request.take("limit", "a number from 1 to 1000")?.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(bad("\"limit\" must be a number from 1 to 1000.")),
    }
}

/// A queue that some handler belongs to, or that tasks of an earlier program still wait in.
async fn queue(hall: &Hall, request: &mut CommandRequest<'_>) -> Result<Option<String>, Refusal> {
    let Some(name) = request.take::<String>("queue", "a string")? else { return Ok(None) };
    let Err(unknown) = hall.queue.handlers().queue(&name) else { return Ok(Some(name)) };
    match hall.queue.find(Question::Queues).await? {
        Found::Queues(queues) if queues.iter().any(|queue| queue.name == name) => Ok(Some(name)),
        _ => Err(unknown),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_command_is_told_the_near_one() {
        let refusal = find_command("statsu").unwrap_err();
        assert_eq!((refusal.code, refusal.suggestion.as_deref()), (Code::UnknownCommand, Some("status")));
    }
}
