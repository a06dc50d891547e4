//! `task:check`: checks that this program can decode the waiting tasks.

use std::collections::{BTreeMap, BTreeSet};

use framework::config::called;
use framework::output::escape_control;
use framework::prelude::*;
use framework::server::{ServerSettings, register_protocols};
use framework::store::sqlite::{QueueFile, WaitingTask};
use framework::task::{Handlers, TaskId};
use serde::Serialize;

use crate::format::count_tasks;
use crate::options::queue_file::QueuePath;

/// Check that waiting tasks can be decoded by this build
///
/// Reads the queue file, also while the server of an earlier build is running. The exit code is 1 if the
/// function of a task is gone, or its arguments no longer fit.
#[derive(Args, Command)]
#[command(name = "task:check")]
struct Check {
    #[command(flatten)]
    queue: QueuePath,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Checks all waiting tasks of a file.
///
/// # Errors
/// The number of tasks that cannot run, and the first reason; or that the file cannot be read.
pub(super) fn check_waiting(file: &QueueFile, handlers: &Handlers) -> Result<()> {
    let report = CompatibilityReport::of(file, handlers)?;
    let Some((reason, Reason { task, .. })) = report.reasons.iter().next() else { return Ok(()) };
    bail!(
        "{} of {} waiting cannot run, first task {task}: {reason}; {} task:check lists all reasons, and tasks that \
         are not needed can be cancelled",
        report.incompatible,
        count_tasks(report.waiting),
        called()
    )
}

/// The number of reasons that are kept apart; a reason may contain a value of the task.
const MAX_REASONS: usize = 100;

/// The tasks that cannot run, by reason.
#[derive(Default, Serialize)]
struct CompatibilityReport {
    waiting: u64,
    incompatible: u64,
    reasons: BTreeMap<String, Reason>,
}

#[derive(Serialize)]
struct Reason {
    count: u64,
    /// The first task with this reason.
    #[serde(rename = "task_id")]
    task: TaskId,
}

impl Execute for Check {
    const BLOCK: Option<&'static str> = Some("server");

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let handlers = framework::functions::collect(app.config()?)?;
        register_protocols(&app.config()?.section::<ServerSettings>()?, &handlers)?;
        let report = CompatibilityReport::of(&self.queue.open(app)?, &handlers)?;
        if self.json {
            output.json(&report)?;
        } else {
            for (reason, Reason { count, task }) in &report.reasons {
                let reason = escape_control(reason);
                output.line(format_args!("{}, first task {task}: {reason}", count_tasks(*count)));
            }
        }
        let waiting = count_tasks(report.waiting);
        if report.incompatible > 0 {
            return Err(
                Exit::Failed.error(format!("{} of {waiting} waiting cannot run", report.incompatible))
            );
        }
        output.success(format_args!("{waiting} waiting: this build can decode all of them."));
        Ok(())
    }
}

impl CompatibilityReport {
    fn of(file: &QueueFile, handlers: &Handlers) -> Result<Self> {
        let mut report = Self::default();
        let registered = file.functions()?.into_iter().map(|function| function.name).collect();
        report.waiting = file.waiting(|task| report.add(handlers, &registered, &task))?;
        Ok(report)
    }

    /// A task of a function that workers have registered waits for one of them, and one of another system's
    /// protocol for its clients.
    fn add(&mut self, handlers: &Handlers, registered: &BTreeSet<String>, task: &WaitingTask) {
        let is_known = registered.contains(&task.function) || handlers.function(&task.function).is_ok();
        if handlers.get(&task.function).is_none() && is_known {
            return;
        }
        let fits = handlers.find(&task.function).and_then(|handler| handler.check(task.args.as_bytes()));
        let Err(refusal) = fits else { return };
        self.incompatible += 1;
        let mut reason = refusal.to_string();
        if self.reasons.len() >= MAX_REASONS && !self.reasons.contains_key(&reason) {
            reason = "Other reasons.".to_owned();
        }
        self.reasons.entry(reason).or_insert(Reason { count: 0, task: task.id }).count += 1;
    }
}
