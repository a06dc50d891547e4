//! The report of a command that changes several tasks one by one.

use framework::client::ClientError;
use framework::prelude::*;
use framework::task::TaskId;
use serde::Serialize;
use serde_json::{Value, json};

use super::server_address::exit_error;

/// The outcomes so far: printed one by one, or collected for JSON.
pub(crate) struct ItemReport {
    json: bool,
    /// The name of the result in JSON.
    field: &'static str,
    items: Vec<Value>,
    exit: Exit,
}

/// The outcome for one task.
pub(crate) enum ItemOutcome {
    Changed(&'static str),
    /// Nothing was changed, for this reason.
    Unchanged(&'static str),
}

impl ItemReport {
    pub(crate) fn new(json: bool, field: &'static str) -> Self {
        Self { json, field, items: Vec::new(), exit: Exit::Success }
    }

    /// Reports one task. If the server refuses it, the next one can still be tried.
    ///
    /// # Errors
    /// When the connection has failed.
    pub(crate) fn add<T: Serialize>(
        &mut self,
        id: TaskId,
        result: Result<T, ClientError>,
        outcome: impl FnOnce(&T) -> ItemOutcome,
        output: &mut Output,
    ) -> Result<()> {
        match result {
            Ok(result) => {
                let outcome = outcome(&result);
                if matches!(outcome, ItemOutcome::Unchanged(_)) && self.exit == Exit::Success {
                    self.exit = Exit::Failed;
                }
                match outcome {
                    _ if self.json => self.items.push(json!({ "task_id": id, self.field: result })),
                    ItemOutcome::Changed(text) => output.line(format_args!("task {id}: {text}")),
                    ItemOutcome::Unchanged(text) => output.error(format_args!("task {id}: {text}")),
                }
            }
            Err(ClientError::Refused(refusal)) => {
                if self.json {
                    let mut item = serde_json::to_value(&refusal)?;
                    item["task_id"] = id.into();
                    item["status"] = "error".into();
                    self.items.push(item);
                } else {
                    output.error(format_args!("task {id}: {refusal}"));
                }
                self.exit = Exit::of(&exit_error(ClientError::Refused(refusal)));
            }
            Err(error) => return Err(exit_error(error)),
        }
        Ok(())
    }

    /// Ends the report.
    ///
    /// # Errors
    /// When a task was refused or left unchanged.
    pub(crate) fn finish(self, output: &mut Output) -> Result<()> {
        if self.json {
            output.json(&self.items)?;
        }
        if self.exit == Exit::Success { Ok(()) } else { Err(self.exit.silent()) }
    }
}
