//! `task:functions`: the functions that tasks can call, and their arguments.

use framework::output::Style;
use framework::prelude::*;
use framework::task::{HandlerInfo, Handlers};

use super::arguments::{Argument, Kind, arguments, first_paragraph};
use crate::facts::print_facts;
use crate::format::{format_millis, truncate};

/// List the functions, or show one with its arguments
///
/// These are the functions of this program; no server is needed.
#[derive(Args, Command)]
#[command(name = "task:functions")]
struct Functions {
    /// Name of the function to show
    name: Option<String>,
    /// Print JSON, for programs, with the JSON Schema of the arguments
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
                let info = handler.describe();
                if self.json {
                    return Ok(output.json(&info)?);
                }
                print(&info, output);
            }
            None => {
                let infos: Vec<_> = handlers.iter().map(|handler| handler.describe()).collect();
                if self.json {
                    return Ok(output.json(&infos)?);
                }
                print_all(&infos, output);
            }
        }
        Ok(())
    }
}

fn print_all(infos: &[HandlerInfo], output: &mut Output) {
    let row = |info: &HandlerInfo| {
        let description = info.description.as_deref().map(first_paragraph).unwrap_or_default();
        [info.name.clone(), info.queue.clone(), truncate(&description, 80)]
    };
    let rows: Vec<_> = infos.iter().map(row).collect();
    output.table(["function", "queue", "description"], &rows);
}

fn print(info: &HandlerInfo, output: &mut Output) {
    let milliseconds = |ms: u64| format_millis(ms as f64);
    let timeout = info.timeout_ms.map_or("none".to_owned(), milliseconds);
    let cron = info.cron.as_ref();
    if let Some(description) = &info.description {
        output.line(format_args!("{description}\n"));
    }
    print_facts(
        &[
            ("function", Some(info.name.clone())),
            ("queue", Some(format!("{}, priority {}", info.queue, info.priority))),
            ("attempts", Some(info.attempts.to_string())),
            ("timeout", Some(timeout)),
            ("backoff", Some(milliseconds(info.backoff_ms))),
            ("concurrency", Some(format!("{} per concurrency key", info.concurrency))),
            ("blocking", info.blocking.then(|| "yes".to_owned())),
            ("cron", cron.map(|cron| format!("{} ({})", cron.expression, cron.timezone))),
            ("source", Some(format!("{}:{} in {}", info.file, info.line, info.package))),
        ],
        output,
    );
    output.line("");
    match arguments(&info.schema) {
        Some(arguments) if arguments.is_empty() => output.line("It has no arguments."),
        Some(arguments) => {
            let headings = ["argument", "type", "required", "default", "aliases", "description"];
            output.table(headings, &arguments.iter().map(row).collect::<Vec<_>>());
        }
        None => {
            let kind = Kind::read(info.schema.as_value(), info.schema.as_value());
            let style = output.style(Style::Name);
            output.line(format_args!("{style}Its arguments are one value:{style:#} {kind}"));
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
