//! `task:list`: the tasks, one on each line.

use framework::client::Client;
use framework::config::did_you_mean;
use framework::output::escape_json;
use framework::prelude::*;
use framework::task::{BatchId, Tag, Tags, TaskId};
use framework::views::{Filter, SearchResult, State, TaskSummary};

use crate::format::{format_optional_timestamp, format_timestamp, truncate};
use crate::options::server_address::{ServerAddress, exit_error};

/// List tasks, newest first
///
/// Tags and states are found by an index; texts and times are looked for among all tasks, which takes a while
/// if there are millions.
///
/// ```console
/// ./think task:list --tag tenant=7 --state failed
/// ./think task:list --text ada@example.com --since 2h
/// ```
#[derive(Args, Command)]
#[command(name = "task:list")]
struct List {
    /// Only tasks in this state: waiting, running, done, failed, cancelled or expired
    #[arg(short, long, value_parser = parse_state)]
    state: Option<State>,
    /// Only tasks of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only tasks of this function
    #[arg(short, long)]
    function: Option<String>,
    /// Only tasks of this batch
    #[arg(short, long, value_name = "ID")]
    batch: Option<BatchId>,
    /// Only tasks with this tag, such as tenant=7; may be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    tags: Vec<Tag>,
    /// Only tasks with this text in the function, the arguments or the error
    #[arg(long)]
    text: Option<String>,
    /// Only tasks accepted since this time, such as 2026-12-01T09:00:00Z, or so long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// Only tasks accepted before this time, or longer ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<u64>,
    /// Only tasks with a lower id, for the next page
    #[arg(long, value_name = "ID")]
    before: Option<TaskId>,
    /// Maximum number of tasks
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// The number of tasks in one request, so that a list of any length fits into memory.
const PAGE: u64 = 1_000;

impl Execute for List {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let mut pages = Pages {
            client: self.server.connect(app).await?,
            filter: Filter {
                state: self.state,
                queue: self.queue,
                function: self.function,
                batch: self.batch,
                tags: Tags::of(self.tags).map_err(|error| Exit::Usage.error(error.to_string()))?,
                text: self.text,
                since_ms: self.since,
                until_ms: self.until,
                before: self.before,
                limit: 0,
            },
            left: self.limit,
        };
        let mut count = 0;
        while let Some(tasks) = pages.next().await? {
            if self.json {
                print_json(&tasks, count == 0, output)?;
            } else {
                print(&tasks, output);
            }
            count += tasks.len();
            if output.is_closed() {
                return Ok(());
            }
        }
        match (self.json, count) {
            (true, 0) => output.line("[]"),
            (true, _) => output.line("]"),
            (false, 0) => output.note("No tasks."),
            (false, _) => {}
        }
        Ok(())
    }
}

/// A list, requested page by page.
struct Pages {
    client: Client,
    filter: Filter,
    left: u64,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Vec<TaskSummary>>> {
        if self.left == 0 {
            return Ok(None);
        }
        loop {
            self.filter.limit = self.left.min(PAGE) as usize;
            let SearchResult { tasks, is_complete, before } =
                self.client.search(&self.filter).await.map_err(exit_error)?;
            self.left = if is_complete { 0 } else { self.left - tasks.len() as u64 };
            self.filter.before = before;
            // A search that has found nothing yet goes on.
            if is_complete || !tasks.is_empty() {
                return Ok(Some(tasks).filter(|tasks| !tasks.is_empty()));
            }
        }
    }
}

/// Prints a page as part of one JSON array.
fn print_json(tasks: &[TaskSummary], is_first: bool, output: &mut Output) -> Result<()> {
    for (index, task) in tasks.iter().enumerate() {
        output.text(if is_first && index == 0 { "[" } else { ",\n" });
        output.text(escape_json(&serde_json::to_string(task)?));
    }
    Ok(())
}

fn print(tasks: &[TaskSummary], output: &mut Output) {
    let rows: Vec<_> = tasks
        .iter()
        .map(|task| {
            [
                task.id.to_string(),
                task.state.name().to_owned(),
                task.function.clone(),
                task.queue.clone(),
                task.priority.to_string(),
                task.attempts.to_string(),
                format_timestamp(task.accepted_ms),
                format_optional_timestamp(task.ended_ms.or(task.due_ms)),
                truncate(task.error.as_deref().unwrap_or_default(), 60),
            ]
        })
        .collect();
    let headings =
        ["id", "state", "function", "queue", "priority", "attempts", "accepted", "due or ended", "error"];
    output.table(headings, &rows);
}

/// Parses a moment, or a span that lies back so long, as milliseconds since 1970.
fn parse_moment(text: &str) -> Result<u64, String> {
    framework::task::parse_moment(text)
        .ok_or_else(|| "expected a time such as 2026-12-01T09:00:00Z, or how long ago, such as 2h".to_owned())
}

/// Parses the name of a state.
fn parse_state(name: &str) -> Result<State, String> {
    name.parse().map_err(|_| match did_you_mean(name, State::NAMES.iter().copied()) {
        Some(near) => format!("unknown state; did you mean \"{near}\"?"),
        None => format!("unknown state; the states are: {}", State::NAMES.join(", ")),
    })
}
