//! `task:functions`: what tasks there can be, and what each of them takes.

use framework::output::Style;
use framework::prelude::*;
use framework::task::{HandlerInfo, Handlers};

use super::arguments::{Argument, Kind, arguments, first_paragraph};
use crate::facts::print_facts;
use crate::format::{format_millis, truncate};

/// List the functions, or show one with its arguments
///
/// They are those of this program; no server has to run.
#[derive(Args, Command)]
#[command(name = "task:functions")]
struct Functions {
    /// The function to show
    name: Option<String>,
    /// Print JSON, for programs; with the JSON Schema of the arguments
    #[arg(long)]
    json: bool,
}

impl Execute for Functions {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        let handlers = Handlers::collect()?;
        match &self.name {
            Some(name) => {
                let handler =
                    handlers.find(name).map_err(|refusal| Exit::Usage.error(refusal.to_string()))?;
                let story = handler.describe();
                if self.json {
                    return Ok(output.json(&story)?);
                }
                print(&story, output);
            }
            None => {
                let stories: Vec<_> = handlers.iter().map(|handler| handler.describe()).collect();
                if self.json {
                    return Ok(output.json(&stories)?);
                }
                print_all(&stories, output);
            }
        }
        Ok(())
    }
}

fn print_all(stories: &[HandlerInfo], output: &mut Output) {
    let row = |story: &HandlerInfo| {
        let description = story.description.as_deref().map(first_paragraph).unwrap_or_default();
        [story.name.clone(), story.queue.clone(), truncate(&description, 80)]
    };
    let rows: Vec<_> = stories.iter().map(row).collect();
    output.table(["function", "queue", "description"], &rows);
}

fn print(story: &HandlerInfo, output: &mut Output) {
    let milliseconds = |ms: u64| format_millis(ms as f64);
    let lasts = story.timeout_ms.map_or("for ever".to_owned(), milliseconds);
    let attempts = format!("{}, each at most {lasts}", story.attempts);
    let timetable = story.timetable.as_ref();
    if let Some(description) = &story.description {
        output.line(format_args!("{description}\n"));
    }
    print_facts(
        &[
            ("function", Some(story.name.clone())),
            ("queue", Some(format!("{}, priority {}", story.queue, story.priority))),
            ("attempts", Some(attempts)),
            ("backoff", Some(milliseconds(story.backoff_ms))),
            ("concurrency", Some(format!("{} of a concurrency key", story.concurrency))),
            ("blocking", story.blocking.then(|| "its thread".to_owned())),
            ("cron", timetable.map(|timetable| format!("{} ({})", timetable.cron, timetable.timezone))),
            ("source", Some(format!("{}:{} in {}", story.file, story.line, story.package))),
        ],
        output,
    );
    output.line("");
    match arguments(&story.schema) {
        Some(arguments) if arguments.is_empty() => output.line("It takes no arguments."),
        Some(arguments) => {
            let headings = ["argument", "type", "required", "default", "aliases", "description"];
            output.table(headings, &arguments.iter().map(row).collect::<Vec<_>>());
        }
        None => {
            let kind = Kind::read(story.schema.as_value(), story.schema.as_value());
            let style = output.style(Style::Name);
            output.line(format_args!("{} {kind}", style.on("Its arguments are one value:")));
        }
    }
}

fn row(argument: &Argument) -> [String; 6] {
    let Argument { name, kind, required, default, description, aliases } = argument;
    [
        name.clone(),
        kind.to_string(),
        if *required { "yes" } else { "" }.to_owned(),
        default.as_ref().map(ToString::to_string).unwrap_or_default(),
        aliases.join(", "),
        description.as_deref().map(first_paragraph).unwrap_or_default(),
    ]
}
