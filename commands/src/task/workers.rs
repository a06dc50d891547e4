//! `task:workers`: the workers outside of the server.

use framework::client::Client;
use framework::prelude::*;
use framework::views::{ProgramInfo, WorkerInfo};

use crate::format::format_millis;
use crate::options::server_address::{ServerAddress, exit_error};
use crate::options::watch::WatchOption;

/// List the workers outside of the server, in any language
///
/// They are connected and have said which functions they run. Below them are the programs that the server
/// starts: its child processes for isolated functions, and those of config/workers.toml. The server's own
/// workers are shown by task:status.
#[derive(Args, Command)]
#[command(name = "task:workers")]
struct ListWorkers {
    /// Give the worker of this name, or those of a program, no further tasks; they end those that they have
    #[arg(long, value_name = "NAME", conflicts_with_all = ["json", "watch"])]
    drain: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchOption,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for ListWorkers {
    const BLOCK: Option<&'static str> = Some("server");

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        if let Some(name) = &self.drain {
            return drain(&client, name, output).await;
        }
        let mut refresh = self.watch.begin(self.json);
        loop {
            let workers = client.workers().await.map_err(exit_error)?;
            refresh.separate(output);
            if self.json {
                output.json(&workers)?;
            } else {
                print(&workers, output);
                print_programs(&client.status().await.map_err(exit_error)?.programs, output);
            }
            if !refresh.next(output).await {
                return Ok(());
            }
        }
    }
}

/// Drains the worker of this name, or those of a program that are named after it: `NAME#1` and so on.
async fn drain(client: &Client, name: &str, output: &mut Output) -> Result<()> {
    let workers = client.workers().await.map_err(exit_error)?;
    let of_program = format!("{name}#");
    let is_meant = |worker: &&WorkerInfo| worker.name == name || worker.name.starts_with(&of_program);
    let mut names: Vec<String> = workers.iter().filter(is_meant).map(|worker| worker.name.clone()).collect();
    names.dedup();
    if names.is_empty() {
        let programs = client.status().await.map_err(exit_error)?.programs;
        if programs.iter().any(|program| program.name == name) {
            let all: Vec<_> = workers.iter().map(|worker| worker.name.as_str()).collect();
            return Err(Exit::Refused.error(format!(
                "{name} is a program, whose workers have names of their own; these are connected: {}",
                all.join(", ")
            )));
        }
        // The server says which name is near.
        names.push(name.to_owned());
    }
    for name in &names {
        client.drain_worker(name).await.map_err(exit_error)?;
        output.note(format_args!("The worker {name} gets no further tasks."));
    }
    Ok(())
}

fn print(workers: &[WorkerInfo], output: &mut Output) {
    if workers.is_empty() {
        return output.note("No workers.");
    }
    let row = |worker: &WorkerInfo| {
        let state = if worker.quiet { "quiet" } else { "" };
        let functions = worker.functions.join(", ");
        let functions = match &worker.queues {
            Some(queues) => format!("{functions} (only in {})", queues.join(", ")),
            None => functions,
        };
        [
            worker.name.clone(),
            worker.language.clone(),
            worker.peer.clone(),
            functions,
            worker.credit.to_string(),
            worker.running.to_string(),
            format_millis(worker.connected_ms as f64),
            format_millis(worker.silent_ms as f64),
            state.to_owned(),
        ]
    };
    let headings =
        ["worker", "language", "peer", "functions", "credit", "running", "connected", "last heard", "state"];
    output.table(headings, &workers.iter().map(row).collect::<Vec<_>>());
}

/// The programs that the server starts, if there are any.
fn print_programs(programs: &[ProgramInfo], output: &mut Output) {
    if programs.is_empty() {
        return;
    }
    let row = |program: &ProgramInfo| {
        let end = program.last_exit.clone().unwrap_or_default();
        let state = program.error.as_ref().map(|error| format!("cannot be started: {error}"));
        [
            program.name.clone(),
            program.count.to_string(),
            program.running.to_string(),
            program.restarts.to_string(),
            end,
            state.unwrap_or_default(),
        ]
    };
    let headings = ["program", "configured", "running", "restarts", "last exit", "state"];
    output.line("");
    output.table(headings, &programs.iter().map(row).collect::<Vec<_>>());
}
