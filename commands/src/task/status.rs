//! `task:status`: the state of the server.

use std::time::Duration;

use framework::humantime::format_duration;
use framework::output::escape_control;
use framework::prelude::*;
use framework::task::now_ms;
use framework::views::{
    Ledger, OpenFiles, Percentiles, ProgramInfo, ServerStatus, UnservedFunction, Workers,
};

use crate::facts::print_fact;
use crate::format::format_millis;
use crate::options::server_address::{ServerAddress, exit_error};
use crate::options::watch::WatchOption;

/// Show the status of the task server
///
/// Uptime, workers, connections, rates, latencies, queues, and the ledger, which always balances: accepted =
/// done + failed + cancelled + expired + waiting + running.
#[derive(Args, Command)]
#[command(name = "task:status")]
struct ShowStatus {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchOption,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for ShowStatus {
    const BLOCK: Option<&'static str> = Some("server");
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        let mut refresh = self.watch.begin(self.json);
        loop {
            let status = client.status().await.map_err(exit_error)?;
            refresh.separate(output);
            if self.json {
                output.json(&status)?;
            } else {
                show(&status, output);
            }
            if !refresh.next(output).await {
                return Ok(());
            }
        }
    }
}

fn show(status: &ServerStatus, output: &mut Output) {
    describe(status, output);
    ledger(status, output);
    queues(status, output);
    workers(status, output);
}

fn describe(status: &ServerStatus, output: &mut Output) {
    let ServerStatus { threads, workers, connections, rates, .. } = status;
    let uptime = Duration::from_secs(status.uptime_ms / 1000);
    let oldest = status.oldest_waiting_ms.map_or("none".to_owned(), |ms| format_millis(ms as f64));
    let mut lines = vec![
        ("version", status.version.clone()),
        ("pid", status.pid.to_string()),
        ("uptime", format_duration(uptime).to_string()),
        ("address", status.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("store", format!("{}, durability {}", status.store, status.durability.name())),
        ("threads", format!("{} io, {} task", threads.io, threads.task)),
        ("task workers", task_workers(workers)),
        (
            "connections",
            format!(
                "{} open, {} in total, {} refused",
                connections.current, connections.total, connections.refused
            ),
        ),
        ("open files", files(&status.open_files)),
        ("oldest waiting", oldest),
        ("accepted", rate(rates.accepted_per_second, status.uptime_ms)),
        ("finished", rate(rates.finished_per_second, status.uptime_ms)),
        ("waited", percentiles(&status.waiting_ms)),
        ("ran", percentiles(&status.running_ms)),
    ];
    for UnservedFunction { function, since_ms, .. } in &status.unserved {
        let silence = Duration::from_secs(now_ms().saturating_sub(*since_ms) / 1_000);
        let value = format!(
            "{function} now, although tasks wait; the last worker has gone {} ago",
            format_duration(silence)
        );
        lines.push(("nobody runs", value));
    }
    for program in &status.programs {
        lines.push(("program", describe_program(program)));
    }
    if status.stopping {
        lines.insert(0, ("stopping", "no task is accepted; running tasks may finish".to_owned()));
    }
    if let Some(warning) = &status.storage_warning {
        lines.insert(0, ("storage warning", warning.clone()));
    }
    if let Some(error) = &status.storage_error {
        lines.insert(0, ("storage error", format!("no task is accepted: {error}")));
    }
    for (name, value) in lines {
        print_fact(name, escape_control(&value), output);
    }
}

/// A program of config/workers.toml in one line, such as `php worker.php: 4 of 4 run, 0 restarts`.
fn describe_program(program: &ProgramInfo) -> String {
    let ProgramInfo { name, count, running, restarts, .. } = program;
    let end = program.last_exit.as_ref().map(|end| format!(" (last: {end})")).unwrap_or_default();
    let error = program.error.as_ref().map(|error| format!("; it cannot be started: {error}"));
    format!("{name}: {running} of {count} run, {restarts} restarts{end}{}", error.unwrap_or_default())
}

fn task_workers(workers: &Workers) -> String {
    match workers.total {
        0 => "none here: tasks run on workers elsewhere, see task:workers".to_owned(),
        total => format!("{} busy, {} idle of {total}", workers.busy, workers.idle),
    }
}

/// A rate with the time that it was measured over.
fn rate(per_second: f64, uptime_ms: u64) -> String {
    format!("{per_second}/s over the last {} s", uptime_ms.div_ceil(1000).clamp(1, 10))
}

/// The number of open files and its limit, such as `31 of 20000`.
fn files(files: &OpenFiles) -> String {
    match (files.used, files.limit) {
        (Some(used), Some(limit)) => format!("{used} of {limit}"),
        (Some(used), None) => format!("{used}, without a limit"),
        (None, Some(limit)) => format!("an unknown number of {limit}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn ledger(status: &ServerStatus, output: &mut Output) {
    let Ledger { accepted, done, failed, cancelled, expired, waiting, running } = status.ledger;
    let row = [accepted, done, failed, cancelled, expired, waiting, running];
    output.line("");
    let headings = ["accepted", "done", "failed", "cancelled", "expired", "waiting", "running"];
    output.table(headings, &[row.map(|count| count.to_string())]);
}

fn queues(status: &ServerStatus, output: &mut Output) {
    if status.queues.is_empty() {
        return;
    }
    let rows: Vec<_> = status
        .queues
        .iter()
        .map(|(name, depth)| {
            let [waiting, delayed, running] =
                [depth.waiting + depth.parked, depth.delayed, depth.running].map(|count| count.to_string());
            let paused = if depth.paused { "paused" } else { "" };
            [name.clone(), waiting, delayed, running, paused.to_owned()]
        })
        .collect();
    output.line("");
    output.table(["queue", "waiting", "delayed", "running", "state"], &rows);
}

/// The worker groups, if there is more than one.
fn workers(status: &ServerStatus, output: &mut Output) {
    if status.worker_groups.len() < 2 {
        return;
    }
    let row = |(queue, workers): (&String, &Workers)| {
        let [total, busy, idle] = [workers.total, workers.busy, workers.idle].map(|count| count.to_string());
        [queue.clone(), total, busy, idle]
    };
    output.line("");
    output.table(
        ["workers of", "total", "busy", "idle"],
        &status.worker_groups.iter().map(row).collect::<Vec<_>>(),
    );
}

fn percentiles(percentiles: &Percentiles) -> String {
    match (percentiles.p50, percentiles.p95, percentiles.p99) {
        (Some(p50), Some(p95), Some(p99)) => {
            format!("p50 {}, p95 {}, p99 {}", format_millis(p50), format_millis(p95), format_millis(p99))
        }
        _ => "no task in the last minute".to_owned(),
    }
}
