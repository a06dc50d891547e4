//! Collects the schedules of config/schedule.toml and of the handlers, and checks them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::Bytes;
use framework_console::config::{Config, Origin, Validator};
use framework_protocol::task::{COMMAND_FUNCTION, CronSpec, Function, Handlers};
use serde_json::Value;

use super::{Cron, Schedule, ScheduleEntry, ScheduleSettings, Schedules, request};

impl Schedules {
    /// The schedules of config/schedule.toml and of `#[task(cron = ..)]`, whose name is the handler's; a
    /// table of the same name overrides it, key by key.
    ///
    /// # Errors
    /// Every problem, each with its file and line.
    pub fn collect(config: &Config, handlers: &Handlers) -> Result<Self> {
        let mut schedules = BTreeMap::new();
        let mut unknown = Vec::new();
        config.section_checked::<ScheduleSettings>(|settings| {
            let mut checks = Validator::new();
            for (name, entry) in &settings.schedules {
                match assemble(name, entry, handlers, Origin::File("config/schedule.toml".to_owned())) {
                    Ok((schedule, not_yet)) => {
                        unknown.extend(not_yet);
                        schedules.insert(name.clone(), schedule);
                    }
                    Err(sentence) => checks = checks.that(name.clone(), false, || sentence),
                }
            }
            checks.done()
        })?;
        for handler in handlers.iter().filter(|handler| handler.options.cron.is_some()) {
            if schedules.contains_key(handler.name) {
                continue;
            }
            let place = Origin::Line(handler.file.to_owned(), handler.line as usize);
            match assemble(handler.name, &ScheduleEntry::default(), handlers, place.clone()) {
                Ok((schedule, _)) => {
                    schedules.insert(handler.name.to_owned(), schedule);
                }
                Err(sentence) => bail!("{place}: the schedule of \"{}\" {sentence}", handler.name),
            }
        }
        Ok(Self { all: schedules.into_values().collect(), unknown })
    }
}

/// The schedule of one table, and the reason why it makes no tasks yet, if there is one.
///
/// # Errors
/// The rest of a sentence that begins with the name of the schedule.
fn assemble(
    name: &str,
    entry: &ScheduleEntry,
    handlers: &Handlers,
    origin: Origin,
) -> Result<(Schedule, Option<String>), String> {
    let own = handlers.get(name).and_then(|handler| handler.options.cron);
    let CheckedTask { function, args, queue, not_yet } = check_task(name, entry, handlers)?;
    let expression = entry.cron.as_ref().map(|cron| cron.0.as_str()).or(own.map(|own| own.cron));
    let expression =
        expression.ok_or("has no cron: write when it runs, such as cron = \"0 9 * * mon-fri\"")?;
    let defaults = own.unwrap_or(CronSpec::of(""));
    let timezone = entry.timezone.as_ref().map_or(defaults.timezone, |timezone| &timezone.0);
    let schedule = Schedule {
        name: name.to_owned(),
        function,
        args,
        queue,
        own_queue: entry.queue.as_deref().map(Into::into),
        cron: Cron::new(expression, timezone).map_err(|error| format!("cannot be scheduled: {error}"))?,
        missed: entry.missed.unwrap_or(defaults.missed),
        overlap: entry.overlap.unwrap_or(defaults.overlap),
        enabled: entry.enabled,
        origin,
    };
    Ok((schedule, not_yet))
}

/// What the tasks of a schedule have in common.
struct CheckedTask {
    function: String,
    args: Bytes,
    queue: Arc<str>,
    /// The reason why there are no tasks yet, if there is one.
    not_yet: Option<String>,
}

/// Checks the task of a schedule like the request of a client. A function that nobody knows may be one that a
/// worker is to register, and arguments may fit what it will have registered by then.
fn check_task(name: &str, entry: &ScheduleEntry, handlers: &Handlers) -> Result<CheckedTask, String> {
    if entry.command.is_some() && (entry.function.is_some() || entry.args.is_some()) {
        return Err("has a `command`, and a `function` or `args` as well: remove one of them".to_owned());
    }
    let function = match &entry.command {
        Some(_) => COMMAND_FUNCTION.to_owned(),
        None => entry.function.as_deref().unwrap_or(name).to_owned(),
    };
    let args = match &entry.command {
        Some(line) => Value::from(line.as_str()).to_string(),
        None => entry.args.as_ref().map_or("null".to_owned(), |args| args.0.to_string()),
    };
    let error = match request(handlers, &function, args.as_bytes(), entry.queue.as_deref()) {
        Ok(task) => return Ok(CheckedTask { function, args: task.args, queue: task.queue, not_yet: None }),
        Err(error) => error,
    };
    let not_yet = match (handlers.function(&function), &entry.function) {
        (Ok(Function::Registered(_)), _) => format!("the schedule \"{name}\" makes no task yet: {error}"),
        (Err(unknown), Some(_)) if unknown.suggestion.is_none() => format!(
            "the schedule \"{name}\" makes no task before a worker registers the function \"{function}\", which this \
             program does not contain"
        ),
        (Err(_), None) if entry.command.is_none() => {
            let hint = "Write which one it runs, such as function = \"send_mail\".";
            return Err(format!("makes no task: {error} {hint}"));
        }
        _ => return Err(format!("makes no task: {error}")),
    };
    let queue = entry.queue.as_deref().unwrap_or(&function).into();
    Ok(CheckedTask { args: args.into(), queue, not_yet: Some(not_yet), function })
}
