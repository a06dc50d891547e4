//! `task:functions`: the functions that tasks can call, and their arguments.

use framework::config::Config;
use framework::output::{Style, escape_control};
use framework::prelude::*;
use framework::protocol::RequestError;
use framework::server::ServerSettings;
use framework::task::{FunctionWorkers, Handler, HandlerInfo, Handlers};

use super::arguments::{Argument, Kind, arguments, first_paragraph};
use super::registered_functions::{self, RegisteredFunction};
use crate::facts::print_facts;
use crate::format::{format_millis, format_timestamp, truncate};
use crate::options::server_address::ServerAddress;

/// List the functions, or show one with its arguments
///
/// These are the functions of this program, and, if a server is running, those that workers in other
/// languages have registered with it.
#[derive(Args, Command)]
#[command(name = "task:functions")]
struct Functions {
    /// Name of the function to show
    name: Option<String>,
    /// Print JSON, for programs, with the JSON Schema of the arguments
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Functions {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let handlers = framework::functions::collect(app.config()?)?;
        match &self.name {
            Some(name) => {
                let info = match handlers.find(name) {
                    Ok(handler) => describe(handler, app.config()?),
                    Err(unknown) => self.registered(name, unknown, app).await?,
                };
                if self.json {
                    return Ok(output.json(&info)?);
                }
                print(&info, output);
            }
            None => {
                let infos = self.all(&handlers, app, output).await;
                if self.json {
                    return Ok(output.json(&infos)?);
                }
                print_all(&infos, output);
            }
        }
        Ok(())
    }
}

impl Functions {
    /// All functions in the order of their names. Without those of the server, if it does not list them: that
    /// is a warning.
    async fn all(&self, handlers: &Handlers, app: &App, output: &mut Output) -> Vec<HandlerInfo> {
        let config = app.config().ok();
        let described =
            |handler: &Handler| config.map_or_else(|| handler.describe(), |config| describe(handler, config));
        let mut infos: Vec<_> = handlers.iter().map(described).collect();
        match registered_functions::list(&self.server, app).await {
            Ok(registered) => {
                infos.extend(registered.into_iter().filter(|info| handlers.get(&info.name).is_none()));
            }
            Err(error) => {
                output.warn(format_args!("those that workers have registered are left out: {error:#}"))
            }
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// The function of this name that this program does not have.
    ///
    /// # Errors
    /// The server does not know it either, or there is none; or it does not say.
    async fn registered(&self, name: &str, unknown: RequestError, app: &App) -> Result<HandlerInfo> {
        match registered_functions::find(&self.server, app, name).await {
            RegisteredFunction::Known(info) => Ok(*info),
            RegisteredFunction::Unknown(unknown) => Err(Exit::Usage.error(unknown.to_string())),
            RegisteredFunction::NotTold(why) if unknown.suggestion.is_none() => {
                Err(Exit::Usage.error(format!("this program has no function {name:?}: {why}")))
            }
            RegisteredFunction::NotTold(_) => Err(Exit::Usage.error(unknown.to_string())),
        }
    }
}

/// A function of this program, as the settings have it.
fn describe(handler: &Handler, config: &Config) -> HandlerInfo {
    // Whatever is wrong with them, the function is what it is.
    let settings = config.section::<ServerSettings>().unwrap_or_default();
    HandlerInfo { isolated: settings.is_isolated(handler), ..handler.describe() }
}

fn print_all(infos: &[HandlerInfo], output: &mut Output) {
    let description =
        |info: &HandlerInfo| info.description.as_deref().map(first_paragraph).unwrap_or_default();
    if infos.iter().any(|info| info.registered) {
        let row = |info: &HandlerInfo| {
            let workers = info.workers.as_ref().map_or("the server's own".to_owned(), workers);
            [info.name.clone(), info.queue.clone(), truncate(&workers, 40), truncate(&description(info), 80)]
        };
        let rows: Vec<_> = infos.iter().map(row).collect();
        return output.table(["function", "queue", "workers", "description"], &rows);
    }
    let row = |info: &HandlerInfo| [info.name.clone(), info.queue.clone(), truncate(&description(info), 80)];
    let rows: Vec<_> = infos.iter().map(row).collect();
    output.table(["function", "queue", "description"], &rows);
}

/// The workers that run a registered function: `2: host:17, host:18`.
fn workers(workers: &FunctionWorkers) -> String {
    let FunctionWorkers { count, names, unserved_since_ms } = workers;
    if *count == 0 {
        let since = unserved_since_ms.map(|since_ms| format!(" since {}", format_timestamp(since_ms)));
        return format!("nobody runs it{}", since.unwrap_or_default());
    }
    let others = if names.len() < *count { ", .." } else { "" };
    format!("{count}: {}{others}", names.join(", "))
}

fn print(info: &HandlerInfo, output: &mut Output) {
    let milliseconds = |ms: u64| format_millis(ms as f64);
    let timeout = info.timeout_ms.map_or("none".to_owned(), milliseconds);
    let cron = info.cron.as_ref();
    if let Some(description) = &info.description {
        description.lines().for_each(|line| output.line(escape_control(line)));
        output.line("");
    }
    print_facts(
        &[
            ("function", Some(info.name.clone())),
            ("queue", Some(format!("{}, priority {}", info.queue, info.priority))),
            ("attempts", Some(info.attempts.to_string())),
            ("timeout", Some(timeout)),
            ("backoff", Some(milliseconds(info.backoff_ms))),
            ("concurrency", Some(format!("{} per concurrency key", info.concurrency))),
            ("retention", info.retention_ms.map(milliseconds)),
            ("workers", info.workers.as_ref().map(workers)),
            ("blocking", info.blocking.then(|| "yes".to_owned())),
            ("isolated", info.isolated.then(|| "yes: in child processes of the server".to_owned())),
            ("cron", cron.map(|cron| format!("{} ({})", cron.expression, cron.timezone))),
            (
                "source",
                (!info.registered).then(|| match info.package.as_str() {
                    "" => format!("{}:{}", info.file, info.line),
                    package => format!("{}:{} in {package}", info.file, info.line),
                }),
            ),
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
            output.line(format_args!(
                "{style}Its arguments are one value:{style:#} {}",
                escape_control(&kind.to_string())
            ));
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
