//! `task:send`: hands a task to the server.

mod no_wait;
mod options;

use std::ffi::OsString;
use std::io::Read;
use std::time::Duration;

use framework::clap::Command as Described;
use framework::client::{Client, Request, TaskEnd};
use framework::output::{escape_control, escape_json};
use framework::prelude::*;
use framework::protocol::{Reply, Status};
use framework::task::TaskId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use self::options::Named;
use super::server_address::{ServerAddress, exit_error, parse_duration};

/// Hand a task to the server
///
/// With a JSON object alone, the server's default_function gets it; with a name, the function of that name. Its
/// arguments are JSON, or one by one, as in task:send send_mail --to ada@example.com --content @body.txt: `@FILE` stands
/// for what is in the file, and --help after the function's name shows them. Any other text is sent as a line, as if
/// typed in telnet, and the answer is printed. `-` stands for the standard input.
#[derive(Args, Command)]
#[command(name = "task:send")]
struct SendCommand {
    /// The function, or what to send if nothing follows
    #[arg(value_name = "FUNCTION|MESSAGE")]
    message: String,
    /// The function's arguments: JSON, or `-`; or one by one, as options
    args: Option<String>,
    #[command(flatten)]
    named: Named,
    /// Wait for the task's end, at most so many seconds, and print its result
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, value_parser = parse_duration)]
    wait: Option<Option<Duration>>,
    /// Hand it over and leave: success means that it was sent, not that it was accepted
    ///
    /// There is no id to print then. Refusals that come before the server closes the connection are told; one that is
    /// silent for the time of --connect-timeout is left, with a warning.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Start the task later, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// Start the task at this time, such as 2026-12-01T09:00:00+08:00
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    at: Option<String>,
    /// Do not start it later than this: a time as above, or a span such as 1h
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// A second task with the same key is the first one again
    #[arg(long)]
    key: Option<String>,
    /// Tasks with the same key take turns
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// How many attempts may fail
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    attempts: Option<u32>,
    /// The longest that an attempt may take
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// What the pause after the first failed attempt is about; it doubles with every further one
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    backoff: Option<Duration>,
    /// A function to run with the result; given again, one after the other
    #[arg(long, value_name = "FUNCTION")]
    then: Vec<String>,
    /// Another queue than the function's own
    #[arg(long)]
    queue: Option<String>,
    /// 0 to 9; 9 is taken first
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
        match self.read()? {
            message if self.no_wait => self.hand_over(message, app, output).await,
            Message::Raw(line) => {
                self.refuse_options()?;
                send_raw(self.server.connect(app).await?, &line, output).await
            }
            Message::Task(request) => {
                let client = self.server.connect(app).await?;
                match self.wait {
                    None => {
                        let sent = client.send(&*request).await.map_err(exit_error)?;
                        self.print_queued(sent.id(), output)
                    }
                    Some(limit) => self.send_and_wait(client, &request, limit, output).await,
                }
            }
        }
    }

    fn augment(command: Described, words: &[OsString]) -> Described {
        options::extend(command, words)
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told {
    task_id: TaskId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Told {
    fn new(task_id: TaskId, status: Status) -> Self {
        Self { task_id, status, result: None, error: None }
    }
}

/// What the command line asks to send.
enum Message {
    Task(Box<Request>),
    Raw(Vec<u8>),
}

impl SendCommand {
    fn read(&self) -> Result<Message> {
        let message = || Some(self.message.clone());
        let request = match (&self.args, self.named.is_empty()) {
            (Some(args), true) => self.request(message(), json(&read_argument(args)?)?),
            (None, false) => self.request(message(), to_raw_value(&self.named.complete(&self.message)?)?),
            (Some(_), false) => {
                return Err(Exit::Usage.error("the arguments are either JSON or options, not both"));
            }
            (None, true) => {
                let message = read_argument(&self.message)?;
                if !message.trim_ascii_start().starts_with(b"{") {
                    return Ok(Message::Raw(message));
                }
                self.request(None, json(&message)?)
            }
        };
        Ok(Message::Task(Box::new(request)))
    }

    fn request(&self, function: Option<String>, args: Box<RawValue>) -> Request {
        let mut request = Request::new(function, args);
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
        request
    }

    /// Raw text has nowhere to put them.
    fn refuse_options(&self) -> Result<()> {
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
            ("--queue", self.queue.is_some()),
            ("--priority", self.priority.is_some()),
            ("--json", self.json),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Exit::Usage.error(format!(
                "{option} needs a task, and text alone is sent as it is: \
                 name the function, as in task:send echo '\"hello\"' {option}"
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
        let mut sent = client.send(request).awaited().await.map_err(exit_error)?;
        let id = sent.id();
        if !self.json {
            self.print_queued(id, output)?;
            output.flush();
        }
        let end = match limit {
            Some(limit) => tokio::time::timeout(limit, sent.ended()).await.ok(),
            None => Some(sent.ended().await),
        };
        match end.transpose().map_err(exit_error)? {
            Some(TaskEnd::Done(result)) if self.json => {
                Ok(output.json(&Told { result: Some(result), ..Told::new(id, Status::Done) })?)
            }
            Some(TaskEnd::Done(result)) => {
                output.line(escape_json(result.get()));
                Ok(())
            }
            Some(TaskEnd::Failed(error)) => self.unhappy(id, Status::Failed, "has failed", error, output),
            Some(TaskEnd::Cancelled(error)) => {
                self.unhappy(id, Status::Cancelled, "was cancelled", error, output)
            }
            Some(TaskEnd::Expired(error)) => self.unhappy(id, Status::Expired, "has expired", error, output),
            None => {
                if self.json {
                    self.print_queued(id, output)?;
                }
                let limit = limit.unwrap_or_default().as_secs_f64();
                Err(Exit::Failed.error(format!("task {id} has not ended after {limit} s; it goes on")))
            }
        }
    }

    fn unhappy(
        &self,
        id: TaskId,
        status: Status,
        what: &str,
        error: String,
        output: &mut Output,
    ) -> Result<()> {
        if self.json {
            output.json(&Told { error: Some(error.clone()), ..Told::new(id, status) })?;
        }
        Err(Exit::Failed.error(format!("task {id} {what}: {error}")))
    }

    fn print_queued(&self, id: TaskId, output: &mut Output) -> Result<()> {
        match self.json {
            true => output.json(&Told::new(id, Status::Queued))?,
            false => output.line(id),
        }
        Ok(())
    }
}

/// A bare number is seconds, as everywhere on the command line.
fn with_unit(time: &str) -> String {
    match time.parse::<u64>() {
        Ok(seconds) => format!("{seconds}s"),
        Err(_) => time.to_owned(),
    }
}

/// A request is one line, and line breaks in JSON mean nothing.
fn json(args: &[u8]) -> Result<Box<RawValue>> {
    let not_json = |error| Exit::Usage.error(format!("the arguments are not JSON: {error}"));
    let value: &RawValue = serde_json::from_slice(args).map_err(not_json)?;
    Ok(match value.get().contains(['\n', '\r']) {
        true => to_raw_value(&serde_json::from_slice::<serde_json::Value>(args)?)?,
        false => value.to_owned(),
    })
}

/// An argument, or for `-` the whole standard input.
fn read_argument(argument: &str) -> Result<Vec<u8>> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut input = Vec::new();
    std::io::stdin().lock().read_to_end(&mut input).context("reading the standard input")?;
    Ok(input)
}

async fn send_raw(client: Client, text: &[u8], output: &mut Output) -> Result<()> {
    let mut line = text.to_vec();
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    let reply = client.send_raw(&line).await.map_err(exit_error)?;
    for line in String::from_utf8_lossy(&reply).lines() {
        let answer = serde_json::from_str::<Reply>(line).ok().filter(|answer| answer.code.is_some());
        if let Some(answer) = answer {
            return Err(Exit::Refused.error(answer.refusal().to_string()));
        }
        output.line(escape_control(line));
    }
    Ok(())
}
