//! The functions of config/functions.toml, which need no code here: a command for each attempt, or a URL.
//!
//! To everything else they are handlers of this program, made when it starts and kept up to its end.

mod addresses;
mod command_words;
mod command;
mod console_command;
mod result;
mod settings;
mod signature;
mod url;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use framework_console::config::{Config, Origin, Section, Validator};
use framework_protocol::RequestError;
use framework_protocol::task::{
    ArgumentCheck, Attempt, DeclaredCode, Handler, Handlers, Outcome, TaskOptions,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::Schema;

use self::command::CommandTarget;
use self::console_command::with_commands;
use self::settings::FunctionEntry;
pub use self::settings::FunctionSettings;
use self::url::UrlTarget;
use crate::arguments::argument_check;
use crate::server::ServerSettings;

/// The file of the functions, for messages.
const FILE: &str = "config/functions.toml";

/// Every function: the handlers of this program, its commands, and those that config/functions.toml declares.
///
/// What is declared is kept up to the end of the process: call this once.
///
/// # Errors
/// Every problem of the file, each with its line, and two handlers of one name.
pub fn collect(config: &Config) -> Result<Handlers> {
    // The problems of the server's settings are reported where they are used.
    let settings = config.section::<ServerSettings>().unwrap_or_default();
    let compiled = with_commands(Handlers::collect()?, config, &settings)?;
    let mut declared = Vec::new();
    let mut server = None;
    config.section_checked::<FunctionSettings>(|settings| {
        let mut checks = Validator::new();
        for (name, entry) in &settings.functions {
            let server = server.get_or_insert_with(|| config.section::<ServerSettings>());
            // Its own problems are reported where it is used.
            let Ok(server) = server else { break };
            match declare(name, entry, &compiled, config, server) {
                Ok(function) => declared.push((name.clone(), function)),
                Err(sentence) => checks = checks.that(name.clone(), false, || sentence),
            }
        }
        checks.done()
    })?;
    if let Some(Err(error)) = server {
        return Err(error);
    }
    let lines = if declared.is_empty() { BTreeMap::new() } else { lines(config) };
    declared.into_iter().try_fold(compiled, |handlers, (name, (code, options))| {
        let line = lines.get(&name).copied().unwrap_or_default();
        let code: &'static DeclaredFunction = Box::leak(Box::new(code));
        let handler = Handler::declared(name.leak(), options, FILE, line, code);
        handlers.with(Box::leak(Box::new(handler)))
    })
}

/// A function whose tasks run elsewhere.
struct DeclaredFunction {
    check: ArgumentCheck,
    schema: Schema,
    target: Target,
}

enum Target {
    Command(CommandTarget),
    Url(UrlTarget),
}

/// The function of one table, with the options of its tasks.
///
/// # Errors
/// The rest of a sentence that begins with the name of the function.
fn declare(
    name: &str,
    entry: &FunctionEntry,
    compiled: &Handlers,
    config: &Config,
    server: &ServerSettings,
) -> Result<(DeclaredFunction, TaskOptions), String> {
    if let Some(Handler { file, line, .. }) = compiled.get(name) {
        return Err(format!("is also a function of this program, at {file}:{line}: rename one of them"));
    }
    let registration = entry.registration(name, config)?;
    let target = match (&entry.command, &entry.url) {
        (Some(command), None) => Target::Command(CommandTarget::new(command, entry, config, server)?),
        (None, Some(url)) => Target::Url(UrlTarget::new(url, entry, config, server)?),
        (Some(_), Some(_)) => return Err("has a `command` and a `url`: remove one of them".to_owned()),
        (None, None) => {
            return Err(
                "says not how it runs: write a `command`, such as [\"php\", \"jobs/resize.php\"], or a `url`"
                    .to_owned(),
            );
        }
    };
    let check = argument_check(&registration).map_err(|error| format!("cannot be used: {error}"))?;
    let schema = entry.schema(&registration);
    let options = entry.options(&registration, matches!(target, Target::Command(_)));
    Ok((DeclaredFunction { check, schema, target }, options))
}

/// The lines of the tables.
fn lines(config: &Config) -> BTreeMap<String, u32> {
    let all = config.explain().into_iter().find(|section| section.section == FunctionSettings::NAME);
    let settings = all.and_then(|section| section.settings.ok()).unwrap_or_default();
    let line = |origin: &Origin| match origin {
        Origin::Line(_, line) => u32::try_from(*line).ok(),
        _ => None,
    };
    settings.into_iter().filter_map(|setting| Some((setting.key, line(&setting.origin)?))).collect()
}

impl DeclaredCode for DeclaredFunction {
    fn check(&self, args: &[u8]) -> Result<(), RequestError> {
        (self.check)(args)
    }

    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn start<'a>(&'static self, attempt: &'a Attempt) -> BoxFuture<'a, Outcome> {
        match &self.target {
            Target::Command(target) => target.run(attempt).boxed(),
            Target::Url(target) => target.run(attempt).boxed(),
        }
    }
}

impl fmt::Debug for DeclaredFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match &self.target {
            Target::Command(target) => write!(formatter, "the command {}", target.line()),
            Target::Url(target) => write!(formatter, "the URL {}", target.shown()),
        }
    }
}
