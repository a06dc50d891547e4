//! `task:check`: whether this program still understands the waiting tasks.

use std::collections::BTreeMap;

use framework::prelude::*;
use framework::store::sqlite::{QueueFile, WaitingTask};
use framework::task::{Handlers, TaskId};
use serde::Serialize;

use crate::format::count_tasks;
use crate::queue::queue_file::QueuePath;

/// Check that this program still understands the waiting tasks
///
/// Reads the file that they survive in, also while a server of an earlier program runs. The exit code is 1 if there are
/// some whose function is gone, or whose arguments do not fit it any more.
#[derive(Args, Command)]
#[command(name = "task:check")]
struct Check {
    #[command(flatten)]
    queue: QueuePath,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Looks whether all waiting tasks of a file could run.
///
/// # Errors
/// How many could not, and why; or the file cannot be read.
pub(super) fn check_waiting(file: &QueueFile, handlers: &Handlers) -> Result<()> {
    let mut found = CompatibilityReport::default();
    found.waiting = file.waiting(|task| found.look(handlers, &task))?;
    let Some((reason, Reason { task, .. })) = found.reasons.iter().next() else { return Ok(()) };
    bail!(
        "{} of {} waiting would fail, the first of them is {task}: {reason}; ./think task:check tells of all, and those \
         that nobody needs can be cancelled",
        found.misfits,
        count_tasks(found.waiting)
    )
}

/// How many different reasons are told; a reason may name a value of each task.
const REASONS_MAX: usize = 100;

/// The tasks that would fail, by their reasons.
#[derive(Default, Serialize)]
struct CompatibilityReport {
    waiting: u64,
    misfits: u64,
    reasons: BTreeMap<String, Reason>,
}

#[derive(Serialize)]
struct Reason {
    count: u64,
    /// The first of them.
    task: TaskId,
}

impl Execute for Check {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let handlers = Handlers::collect()?;
        let mut found = CompatibilityReport::default();
        let file = self.queue.open(app)?;
        found.waiting = file.waiting(|task| found.look(&handlers, &task))?;
        if self.json {
            output.json(&found)?;
        } else {
            for (reason, Reason { count, task }) in &found.reasons {
                output.line(format_args!("{}, the first is {task}: {reason}", count_tasks(*count)));
            }
        }
        let waiting = count_tasks(found.waiting);
        match found.misfits {
            0 => output.success(format_args!("{waiting} waiting: this program understands all.")),
            misfits => {
                return Err(Exit::Failed.error(format!("{} of {} waiting would fail", misfits, waiting)));
            }
        }
        Ok(())
    }
}

impl CompatibilityReport {
    fn look(&mut self, handlers: &Handlers, task: &WaitingTask) {
        let fits = handlers.find(&task.function).and_then(|handler| handler.check(task.args.as_bytes()));
        let Err(refusal) = fits else { return };
        self.misfits += 1;
        let mut reason = refusal.to_string();
        if self.reasons.len() >= REASONS_MAX && !self.reasons.contains_key(&reason) {
            reason = "Other reasons.".to_owned();
        }
        self.reasons.entry(reason).or_insert(Reason { count: 0, task: task.id }).count += 1;
    }
}
