//! `task:run --here`: runs one task in this process, for debugging.

use std::sync::Arc;

use framework::output::{escape_control, escape_json};
use framework::prelude::*;
use framework::task::TaskId;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::format::count_tasks;
use crate::options::queue_file::QueuePath;

/// Run one task in this process, for debugging
///
/// The task is read from the queue file and runs with its exact arguments. The server is not involved: there
/// the task stays as it is, and tasks that the handler pushes are not sent.
#[derive(Args, Command)]
#[command(name = "task:run")]
struct Run {
    /// Id of the task
    id: TaskId,
    /// Required: the task runs in this process, not on the server
    #[arg(long, required = true)]
    here: bool,
    #[command(flatten)]
    queue: QueuePath,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// The result as `--json` prints it.
#[derive(Serialize)]
struct RunReport<'a> {
    task_id: TaskId,
    function: &'a str,
    result: Option<&'a RawValue>,
    error: Option<&'a str>,
}

impl Execute for Run {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let id = self.id;
        let handlers = Arc::new(framework::functions::collect(app.config()?)?);
        let task = self.queue.open(app)?.task(id)?;
        let task =
            task.ok_or_else(|| anyhow!("there is no task {id} in the queue file, or it is no longer kept"))?;
        let function = &*task.new.function;
        output.warn(format_args!(
            "task {id} ({function}) runs in this process only: on the server it stays as it is, and if it waits, it \
             will run again"
        ));
        let attempt =
            Attempt::standalone(task.clone(), task.attempts() + 1, app.config()?.clone(), handlers)?;
        let outcome = attempt.run().await;
        let log = task.progress_log().map(|log| log.log).unwrap_or_default();
        for line in log.iter().filter(|line| line.attempt == attempt.number()) {
            output.note(format_args!("  {}", escape_control(&line.text)));
        }
        let (result, error) = match &outcome {
            Outcome::Done(result) => (Some(serde_json::from_slice::<&RawValue>(result)?), None),
            Outcome::Failed(failure) => (None, Some(failure.message.as_str())),
        };
        match (self.json, result) {
            (true, _) => output.json(&RunReport { task_id: id, function, result, error })?,
            (false, Some(result)) => output.line(escape_json(result.get())),
            (false, None) => {}
        }
        let pushed = attempt.take_pushed(&outcome);
        if !pushed.is_empty() {
            output.warn(format_args!(
                "the handler pushed {}, which are not sent",
                count_tasks(pushed.len() as u64)
            ));
        }
        match error {
            Some(error) => Err(Exit::Failed.error(format!("task {id} failed: {error}"))),
            None => Ok(()),
        }
    }
}
