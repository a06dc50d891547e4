//! `schedule:list`: the schedules with their last and next runs.

use framework::config::called;
use framework::output::escape_control;
use framework::prelude::*;
use framework::schedule::{Cron, Schedule, Schedules};
use framework::server::{ServerSettings, register_kept};
use framework::store::sqlite::QueueFile;
use framework::task::{
    COMMAND_FUNCTION, HandlerInfo, Handlers, MissedRunPolicy, OverlapPolicy, RegisteredFunction,
    Registration, TaskId, now_ms,
};
use framework::views::ScheduleInfo;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::options::server_address::{ServerAddress, exit_error};

/// List the schedules with their next runs
///
/// Schedules come from config/schedule.toml and from functions with a cron. Times are in the schedule's own
/// time zone. The last runs and the paused schedules are known only while a server is running, which says as
/// well when each runs next: what has changed since its start comes into effect with task:reload.
#[derive(Args, Command)]
#[command(name = "schedule:list")]
struct List {
    /// Number of next runs to show, at most 100
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=100))]
    next: u8,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for List {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let handlers = framework::functions::collect(app.config()?)?;
        register_known(&handlers, app)?;
        let infos = match self.server.connect_if_running(app).await? {
            Some(client) => {
                register(&handlers, client.functions(None).await.map_err(exit_error)?);
                Some(client.schedules().await.map_err(exit_error)?)
            }
            None => None,
        };
        let schedules = Schedules::collect(app.config()?, &handlers)?;
        let lines = schedules.iter().map(|schedule| ScheduleRow::of(schedule, infos.as_deref(), self.next));
        let mut lines = lines.collect::<Result<Vec<_>>>()?;
        let removed = infos.iter().flatten().filter(|info| schedules.find(&info.name).is_err());
        lines.extend(removed.filter_map(ScheduleRow::removed));
        if self.json {
            return Ok(output.json(&lines)?);
        }
        if lines.is_empty() {
            output.note("No schedules: config/schedule.toml shows how to write one.");
            return Ok(());
        }
        let rows: Vec<_> = lines.iter().flat_map(ScheduleRow::rows).collect();
        output.table(
            ["schedule", "function or command", "cron", "timezone", "state", "last run", "next run"],
            &rows,
        );
        let unknown = schedules.unknown();
        for sentence in unknown {
            output.note(escape_control(&capitalized(sentence)));
        }
        let is_said = |name: &str| unknown.iter().any(|sentence| sentence.contains(&format!("\"{name}\"")));
        for line in lines.iter().filter(|line| line.error.is_some() && !is_said(line.name)) {
            let error = escape_control(line.error.unwrap_or_default());
            output.note(format_args!("{} has no task yet: {error}", line.name));
        }
        if lines.iter().any(|line| line.loaded == Some(false)) {
            output.note(format_args!(
                "What is new, changed or removed comes into effect with {} task:reload.",
                called()
            ));
        }
        if infos.is_none() {
            output.note("No server is running: last runs and paused schedules are unknown.");
        }
        Ok(())
    }
}

/// A schedule as `--json` prints it.
#[derive(Serialize)]
struct ScheduleRow<'a> {
    name: &'a str,
    function: &'a str,
    args: Option<&'a RawValue>,
    queue: &'a str,
    cron: &'a str,
    timezone: &'a str,
    missed: MissedRunPolicy,
    overlap: OverlapPolicy,
    enabled: bool,
    /// Whether the server runs it as it is written here; `null` without a server.
    loaded: Option<bool>,
    /// How it is not.
    #[serde(skip)]
    difference: &'static str,
    /// The place of its definition.
    from: String,
    /// `null` without a server, like the fields of the last run.
    paused: Option<bool>,
    last: Option<String>,
    last_task_id: Option<TaskId>,
    next: Vec<String>,
    /// Why there is no task for the last time yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> ScheduleRow<'a> {
    fn of(schedule: &'a Schedule, infos: Option<&'a [ScheduleInfo]>, count: u8) -> Result<Self> {
        let info = infos.and_then(|infos| infos.iter().find(|info| info.name == schedule.name));
        let paused = infos.map(|_| info.is_some_and(|info| info.paused));
        let count = if paused == Some(true) { 0 } else { count.into() };
        let difference = infos.map_or("", |_| difference(schedule, info));
        let first = match infos {
            Some(_) => info.and_then(|info| info.next_ms),
            None => schedule.next(now_ms()),
        };
        let times =
            std::iter::successors(first, |&time| schedule.next(time).filter(|_| difference.is_empty()));
        Ok(Self {
            name: &schedule.name,
            function: &schedule.function,
            args: Some(serde_json::from_slice(&schedule.args)?),
            queue: &schedule.queue,
            cron: schedule.cron.expression(),
            timezone: schedule.cron.timezone(),
            missed: schedule.missed,
            overlap: schedule.overlap,
            enabled: schedule.enabled,
            loaded: infos.map(|_| difference.is_empty()),
            difference,
            from: schedule.origin.to_string(),
            paused,
            last: info.and_then(|info| info.fired_ms).map(|time| schedule.cron.show(time)),
            last_task_id: info.and_then(|info| info.task),
            next: times.take(count).map(|time| schedule.cron.show(time)).collect(),
            error: info.and_then(|info| info.error.as_deref()),
        })
    }

    /// A schedule that the server still runs although it is not written any more.
    fn removed(info: &'a ScheduleInfo) -> Option<Self> {
        let (function, cron, timezone) =
            (info.function.as_deref()?, info.cron.as_deref()?, info.timezone.as_deref()?);
        let shown = |time: Option<u64>| {
            let cron = Cron::new(cron, timezone).ok()?;
            time.map(|time| cron.show(time))
        };
        Some(Self {
            name: &info.name,
            function,
            args: None,
            queue: "",
            cron,
            timezone,
            missed: MissedRunPolicy::default(),
            overlap: OverlapPolicy::default(),
            enabled: true,
            loaded: Some(false),
            difference: "removed",
            from: String::new(),
            paused: Some(info.paused),
            last: shown(info.fired_ms),
            last_task_id: info.task,
            next: shown(info.next_ms).into_iter().collect(),
            error: info.error.as_deref(),
        })
    }

    /// The function, or the command line that is its argument.
    fn task(&self) -> String {
        let line = self.args.filter(|_| self.function == COMMAND_FUNCTION);
        let line = line.and_then(|args| serde_json::from_str::<String>(args.get()).ok());
        line.unwrap_or_else(|| self.function.to_owned())
    }

    /// One row, and another for each further run.
    fn rows(&self) -> Vec<[String; 7]> {
        let state = match (self.enabled, self.paused) {
            (false, _) => "off",
            (true, Some(true)) => "paused",
            (true, _) => self.difference,
        };
        let last = self.last.clone().unwrap_or_default();
        let next = self.next.first().cloned().unwrap_or_default();
        let own = [self.name, self.cron, self.timezone, state].map(str::to_owned);
        let [name, cron, timezone, state] = own;
        let function = self.task();
        let mut rows = vec![[name, function, cron, timezone, state, last, next]];
        for next in self.next.iter().skip(1) {
            let mut row: [String; 7] = Default::default();
            row[6].clone_from(next);
            rows.push(row);
        }
        rows
    }
}

/// A sentence that begins in lower case.
fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Makes the functions known that workers have registered, as far as the queue file has them.
fn register_known(handlers: &Handlers, app: &App) -> Result<()> {
    let config = app.config()?;
    let path = config.section::<ServerSettings>()?.queue_path(config);
    if path.exists() {
        let known = QueueFile::open(path).and_then(|file| file.functions());
        register_kept(known.unwrap_or_default(), handlers);
    }
    Ok(())
}

/// Makes the functions known that workers have registered with the server, which checks their arguments
/// itself.
fn register(handlers: &Handlers, functions: Vec<HandlerInfo>) {
    for HandlerInfo { name, queue, .. } in functions.into_iter().filter(|function| function.registered) {
        let registration = Registration { name, queue: Some(queue), ..Registration::default() };
        handlers.register(RegisteredFunction::new(registration, Box::new(|_| Ok(()))));
    }
}

/// How the server runs another schedule than the one that is written.
fn difference(schedule: &Schedule, info: Option<&ScheduleInfo>) -> &'static str {
    let Some(info) = info.filter(|info| info.cron.is_some()) else { return "new" };
    let running = [&info.function, &info.cron, &info.timezone].map(Option::as_deref);
    let cron = &schedule.cron;
    let written = [schedule.function.as_str(), cron.expression(), cron.timezone()].map(Some);
    // One that is written as off has no next run.
    if running == written && (schedule.enabled || info.next_ms.is_none()) { "" } else { "changed" }
}
