//! Collects the schedules of config/schedule.toml and of the handlers, and checks them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use bytes::Bytes;
use framework_console::config::{Config, Origin, Validator};
use framework_protocol::task::{CronSpec, Handlers, NewTask};
use framework_protocol::{ErrorCode, TaskRequest};
use serde_json::value::RawValue;

use super::{Cron, Schedule, ScheduleEntry, ScheduleSettings, Schedules};

impl Schedules {
    /// The schedules of config/schedule.toml and of `#[task(cron = ..)]`, whose name is the handler's; a
    /// table of the same name overrides it, key by key.
    ///
    /// # Errors
    /// Every problem, each with its file and line.
    pub fn collect(config: &Config, handlers: &Handlers) -> Result<Self> {
        let mut schedules = BTreeMap::new();
        config.section_checked::<ScheduleSettings>(|settings| {
            let mut checks = Validator::new();
            for (name, entry) in &settings.schedules {
                match assemble(name, entry, handlers, Origin::File("config/schedule.toml".to_owned())) {
                    Ok(schedule) => {
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
                Ok(schedule) => {
                    schedules.insert(handler.name.to_owned(), schedule);
                }
                Err(sentence) => bail!("{place}: the schedule of \"{}\" {sentence}", handler.name),
            }
        }
        Ok(Self(schedules.into_values().collect()))
    }
}

/// The schedule of one table.
///
/// # Errors
/// The rest of a sentence that begins with the name of the schedule.
fn assemble(
    name: &str,
    entry: &ScheduleEntry,
    handlers: &Handlers,
    origin: Origin,
) -> Result<Schedule, String> {
    let own = handlers.get(name).and_then(|handler| handler.options.cron);
    let task = task(name, entry, handlers)?;
    let expression = entry.cron.as_ref().map(|cron| cron.0.as_str()).or(own.map(|own| own.cron));
    let expression =
        expression.ok_or("has no cron: write when it runs, such as cron = \"0 9 * * mon-fri\"")?;
    let defaults = own.unwrap_or(CronSpec::of(""));
    let timezone = entry.timezone.as_ref().map_or(defaults.timezone, |timezone| &timezone.0);
    let handler = handlers.find(&task.function).map_err(|error| format!("makes no task: {error}"))?;
    Ok(Schedule {
        name: name.to_owned(),
        handler,
        args: task.args,
        queue: task.queue,
        cron: Cron::new(expression, timezone).map_err(|error| format!("cannot be scheduled: {error}"))?,
        missed: entry.missed.unwrap_or(defaults.missed),
        overlap: entry.overlap.unwrap_or(defaults.overlap),
        enabled: entry.enabled,
        origin,
    })
}

/// The task of a schedule, checked like the request of a client.
fn task(name: &str, entry: &ScheduleEntry, handlers: &Handlers) -> Result<NewTask, String> {
    let function = entry.function.as_deref().unwrap_or(name);
    let page = Bytes::from(entry.args.as_ref().map_or("null".to_owned(), |args| args.0.to_string()));
    let args: &RawValue = serde_json::from_slice(&page).map_err(|error| format!("has bad args: {error}"))?;
    let request = TaskRequest {
        function: Some(function.into()),
        args: Some(args),
        queue: entry.queue.as_deref().map(Into::into),
        ..TaskRequest::default()
    };
    NewTask::from_request(handlers, &request, None, &page).map_err(|error| {
        let hint = match (error.code, &entry.function) {
            (ErrorCode::UnknownFunction, None) => {
                " Write which one it runs, such as function = \"send_mail\"."
            }
            _ => "",
        };
        format!("makes no task: {error}{hint}")
    })
}
