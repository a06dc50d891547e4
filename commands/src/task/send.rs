//! `task:send`: sends a task to the server.

mod message;
mod no_wait;
mod options;

use std::ffi::OsString;
use std::time::Duration;

use framework::clap::Command as Described;
use framework::clap::builder::ArgPredicate;
use framework::client::{Client, ClientError, Request, TaskEnd, TaskHandle};
use framework::output::{escape_control, escape_json};
use framework::prelude::*;
use framework::protocol::{ErrorCode, Reply, Status};
use framework::task::{Tag, Tags, TaskId};
use framework::views::State;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};

use self::message::Message;
use self::options::NamedArguments;
use crate::options::server_address::{ServerAddress, exit_error, parse_duration};

/// Send a task to the server, and print its id
///
/// Names a function, and its arguments: as options, as in task:send send_mail --to ada@example.com --content
/// @body.txt, where @FILE is the content of a file (--help after the function's name lists them); as JSON; or
/// as plain text, if the function takes one text, as in task:send echo hello.
///
/// JSON without a function, as in task:send '{"to":"ada@example.com","content":"Hi"}', is the arguments of
/// the server's default_function. With --raw, the text is sent as a line as it is, and the reply is printed.
/// `-` is standard input.
///
/// With --command, the task is a command of the program, which a process of its own runs. What it writes is
/// the log of the task.
#[derive(Args, Command)]
#[command(name = "task:send")]
struct SendCommand {
    /// Name of the function, or JSON for the server's default_function
    #[arg(
        value_name = "FUNCTION|JSON",
        required = false,
        required_unless_present = "command",
        default_value_if("command", ArgPredicate::IsPresent, "command")
    )]
    message: String,
    /// Arguments of the function as JSON or plain text, or `-`
    args: Option<String>,
    #[command(flatten)]
    named: NamedArguments,
    /// A command of the server's program that is to run as a task, such as "mail:digest --since yesterday"
    #[arg(long, value_name = "LINE", conflicts_with_all = ["message", "args", "raw"])]
    command: Option<String>,
    /// Wait for the result and print it; optionally with a limit in seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, value_parser = parse_duration)]
    wait: Option<Option<Duration>>,
    /// Fire and forget: do not wait for the acknowledgement
    ///
    /// Success means that the task was sent, not that it was accepted; no id is printed. Errors that arrive
    /// before the server closes the connection are reported. If the server does not close it within
    /// --connect-timeout, a warning is printed.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Send the text as a line as it is, and print the reply
    #[arg(long)]
    raw: bool,
    /// Delay before the task runs, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// Run the task at this time, such as 2026-12-01T09:00:00+08:00
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    at: Option<String>,
    /// Expire the task if it has not started by then: a time, or a duration such as 1h
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Idempotency key: a second task of the function with the same key is not created again
    #[arg(long)]
    key: Option<String>,
    /// Concurrency key: limits how many tasks with the same key run at once
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Maximum number of attempts (retries included)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    attempts: Option<u32>,
    /// Timeout of an attempt, such as 30s
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Retry delay after the first failed attempt; doubles with each further one
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    backoff: Option<Duration>,
    /// Chain: a function to call with the result; may be repeated
    #[arg(long, value_name = "FUNCTION")]
    then: Vec<String>,
    /// Tag to find the task by, such as tenant=7; may be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    tags: Vec<Tag>,
    /// Queue [default: the function's own]
    #[arg(long)]
    queue: Option<String>,
    /// Priority, 0 to 9; 9 runs first
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for SendCommand {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        match Message::of(&self, app).await? {
            message if self.no_wait => self.send_no_wait(message, app, output).await,
            Message::Raw(line) => {
                self.reject_options()?;
                send_raw(self.server.connect(app).await?, &line, output).await
            }
            Message::Task(request) => {
                let client = self.server.connect(app).await?;
                match self.wait {
                    None => {
                        let task = client.send(&*request).await.map_err(|error| self.send_error(error))?;
                        self.print_queued(&task, output)
                    }
                    Some(limit) => self.send_and_wait(client, &request, limit, output).await,
                }
            }
        }
    }

    async fn augment(command: Described, words: &[OsString], app: &App) -> Result<Described> {
        options::augment(command, words, app).await
    }
}

/// The state of the task as `--json` prints it.
#[derive(Serialize)]
struct SendReport {
    task_id: TaskId,
    status: Status,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl SendReport {
    fn new(task_id: TaskId, status: Status) -> Self {
        Self { task_id, status, duplicate: false, state: None, result: None, error: None }
    }
}

impl SendCommand {
    fn request(&self, function: Option<String>, args: Box<RawValue>) -> Result<Request> {
        let tags = Tags::of(self.tags.iter().cloned());
        let mut request = Request::new(function, args);
        request.tags = tags.map_err(|error| Exit::Usage.error(error.to_string()))?;
        request.delay = self.delay;
        request.at.clone_from(&self.at);
        request.expires = self.expires.as_deref().map(with_unit);
        request.key.clone_from(&self.key);
        request.concurrency_key.clone_from(&self.concurrency_key);
        request.attempts = self.attempts;
        request.timeout = self.timeout;
        request.backoff = self.backoff;
        request.then.clone_from(&self.then);
        request.queue.clone_from(&self.queue);
        request.priority = self.priority;
        Ok(request)
    }

    /// Rejects the options of a task, which raw text cannot have.
    fn reject_options(&self) -> Result<()> {
        let given = [
            ("--wait", self.wait.is_some()),
            ("--delay", self.delay.is_some()),
            ("--at", self.at.is_some()),
            ("--expires", self.expires.is_some()),
            ("--key", self.key.is_some()),
            ("--concurrency-key", self.concurrency_key.is_some()),
            ("--attempts", self.attempts.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--backoff", self.backoff.is_some()),
            ("--then", !self.then.is_empty()),
            ("--tag", !self.tags.is_empty()),
            ("--queue", self.queue.is_some()),
            ("--priority", self.priority.is_some()),
            ("--json", self.json),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Exit::Usage.error(format!(
                "{option} needs a task, and --raw sends a line of text: name the function, as in task:send echo hello \
                 {option}"
            ))),
            None => Ok(()),
        }
    }

    async fn send_and_wait(
        &self,
        client: Client,
        request: &Request,
        limit: Option<Duration>,
        output: &mut Output,
    ) -> Result<()> {
        let mut task = client.send(request).awaited().await.map_err(|error| self.send_error(error))?;
        let id = task.id();
        if !self.json {
            self.print_queued(&task, output)?;
            output.flush();
        }
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let ended = async {
            match limit {
                Some(limit) => tokio::time::timeout(limit, task.ended()).await.ok(),
                None => Some(task.ended().await),
            }
        };
        let end = tokio::select! {
            end = ended => end,
            _ = interrupt.recv() => {
                if self.json {
                    self.print_queued(&task, output)?;
                }
                let note = format!("interrupted: task {id} goes on; task:watch {id} follows it");
                return Err(Exit::Interrupted.error(note));
            }
        };
        match end.transpose().map_err(exit_error)? {
            Some(TaskEnd::Done(result)) if self.json => {
                Ok(output.json(&SendReport { result: Some(result), ..SendReport::new(id, Status::Done) })?)
            }
            Some(TaskEnd::Done(result)) => {
                output.line(escape_json(result.get()));
                Ok(())
            }
            Some(TaskEnd::Failed(error)) => self.fail(id, Status::Failed, "failed", error, output),
            Some(TaskEnd::Cancelled(error)) => {
                self.fail(id, Status::Cancelled, "was cancelled", error, output)
            }
            Some(TaskEnd::Expired(error)) => self.fail(id, Status::Expired, "expired", error, output),
            None => {
                if self.json {
                    self.print_queued(&task, output)?;
                }
                let limit = limit.unwrap_or_default().as_secs_f64();
                Err(Exit::Failed
                    .error(format!("task {id} has not ended after {limit} s; it is still queued or running")))
            }
        }
    }

    /// The error of a task that was not accepted. Who wrote a text where the name of a function stands may
    /// have meant to send that text.
    fn send_error(&self, error: ClientError) -> anyhow::Error {
        match &error {
            ClientError::Refused(refusal)
                if refusal.code == ErrorCode::UnknownFunction && self.args.is_none() =>
            {
                let text = format!("{refusal} With --raw, the text itself is sent as a line.");
                Exit::Refused.error_with(text, refusal)
            }
            _ => exit_error(error),
        }
    }

    fn fail(&self, id: TaskId, status: Status, verb: &str, error: String, output: &mut Output) -> Result<()> {
        if self.json {
            output.json(&SendReport { error: Some(error.clone()), ..SendReport::new(id, status) })?;
        }
        Err(Exit::Failed.error(format!("task {id} {verb}: {error}")))
    }

    fn print_queued(&self, task: &TaskHandle, output: &mut Output) -> Result<()> {
        let (id, state) = (task.id(), task.duplicate());
        if self.json {
            output.json(&SendReport {
                duplicate: state.is_some(),
                state,
                ..SendReport::new(id, Status::Queued)
            })?;
            return Ok(());
        }
        output.line(id);
        if let Some(state) = state {
            output.note(format_args!("The key belongs to task {id} already, which is {}.", state.name()));
        }
        Ok(())
    }
}

/// Whether the text is JSON for the default function: no name of a function begins like that.
fn is_json(text: &str) -> bool {
    text == "-" || text.trim_start().starts_with(['{', '[', '"'])
}

/// Adds the unit to a bare number, which is seconds, as everywhere on the command line.
fn with_unit(time: &str) -> String {
    match time.parse::<u64>() {
        Ok(seconds) => format!("{seconds}s"),
        Err(_) => time.to_owned(),
    }
}

async fn send_raw(client: Client, text: &str, output: &mut Output) -> Result<()> {
    let reply = client.send_line(text.as_bytes()).await.map_err(exit_error)?;
    for line in String::from_utf8_lossy(&reply).lines() {
        let error = serde_json::from_str::<Reply>(line).ok().filter(|reply| reply.code.is_some());
        if let Some(error) = error {
            return Err(exit_error(ClientError::Refused(error.refusal())));
        }
        output.line(escape_control(line));
    }
    Ok(())
}
