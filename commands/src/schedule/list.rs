//! `schedule:list`: the schedules with their last and next runs.

use framework::prelude::*;
use framework::schedule::{Schedule, Schedules};
use framework::task::{Handlers, MissedRunPolicy, OverlapPolicy, TaskId, now_ms};
use framework::views::ScheduleInfo;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::options::server_address::{ServerAddress, exit_error};

/// List the schedules with their next runs
///
/// Schedules come from config/schedule.toml and from functions with a cron. Times are in the schedule's own
/// time zone. The last runs and the paused schedules are known only while a server is running.
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
        let schedules = Schedules::collect(app.config()?, &Handlers::collect()?)?;
        let infos = match self.server.connect_if_running(app).await? {
            Some(client) => Some(client.schedules().await.map_err(exit_error)?),
            None => None,
        };
        let lines = schedules.iter().map(|schedule| ScheduleRow::of(schedule, infos.as_deref(), self.next));
        let lines: Vec<_> = lines.collect::<Result<_>>()?;
        if self.json {
            return Ok(output.json(&lines)?);
        }
        if lines.is_empty() {
            output.note("No schedules: config/schedule.toml shows how to write one.");
            return Ok(());
        }
        let rows: Vec<_> = lines.iter().flat_map(ScheduleRow::rows).collect();
        output.table(["schedule", "function", "cron", "timezone", "state", "last run", "next run"], &rows);
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
    args: &'a RawValue,
    queue: &'a str,
    cron: &'a str,
    timezone: &'a str,
    missed: MissedRunPolicy,
    overlap: OverlapPolicy,
    enabled: bool,
    /// The place of its definition.
    from: String,
    /// `null` without a server, like the fields of the last run.
    paused: Option<bool>,
    last: Option<String>,
    last_task: Option<TaskId>,
    next: Vec<String>,
}

impl<'a> ScheduleRow<'a> {
    fn of(schedule: &'a Schedule, infos: Option<&[ScheduleInfo]>, count: u8) -> Result<Self> {
        let info = infos.and_then(|infos| infos.iter().find(|info| info.name == schedule.name));
        let paused = infos.map(|_| info.is_some_and(|info| info.paused));
        let count = if paused == Some(true) { 0 } else { count.into() };
        let times = std::iter::successors(schedule.next(now_ms()), |&time| schedule.next(time));
        Ok(Self {
            name: &schedule.name,
            function: schedule.handler.name,
            args: serde_json::from_slice(&schedule.args)?,
            queue: &schedule.queue,
            cron: schedule.cron.expression(),
            timezone: schedule.cron.timezone(),
            missed: schedule.missed,
            overlap: schedule.overlap,
            enabled: schedule.enabled,
            from: schedule.origin.to_string(),
            paused,
            last: info.and_then(|info| info.fired_ms).map(|time| schedule.cron.show(time)),
            last_task: info.and_then(|info| info.task),
            next: times.take(count).map(|time| schedule.cron.show(time)).collect(),
        })
    }

    /// One row, and another for each further run.
    fn rows(&self) -> Vec<[String; 7]> {
        let state = match (self.enabled, self.paused) {
            (false, _) => "off",
            (true, Some(true)) => "paused",
            (true, _) => "",
        };
        let last = self.last.clone().unwrap_or_default();
        let next = self.next.first().cloned().unwrap_or_default();
        let own = [self.name, self.function, self.cron, self.timezone, state].map(str::to_owned);
        let [name, function, cron, timezone, state] = own;
        let mut rows = vec![[name, function, cron, timezone, state, last, next]];
        for next in self.next.iter().skip(1) {
            let mut row: [String; 7] = Default::default();
            row[6].clone_from(next);
            rows.push(row);
        }
        rows
    }
}
