//! Tells of several tasks, one by one, what came of each.

use framework::client::ClientError;
use framework::prelude::*;
use framework::task::TaskId;
use serde::Serialize;
use serde_json::{Value, json};

use super::server_address::exit_error;

/// What has been told so far.
pub(super) struct ItemReport {
    json: bool,
    /// What the answers are called in JSON.
    field: &'static str,
    all: Vec<Value>,
    exit: Exit,
}

/// What came of one task.
pub(super) enum ItemOutcome {
    Worked(&'static str),
    /// Nothing happened, for this reason.
    Nothing(&'static str),
}

impl ItemReport {
    pub(super) fn new(json: bool, field: &'static str) -> Self {
        Self { json, field, all: Vec::new(), exit: Exit::Success }
    }

    /// Tells of one task. A refusal does not keep the next one from being tried.
    ///
    /// # Errors
    /// When the connection has failed.
    pub(super) fn add<T: Serialize>(
        &mut self,
        id: TaskId,
        answer: Result<T, ClientError>,
        told: impl FnOnce(&T) -> ItemOutcome,
        output: &mut Output,
    ) -> Result<()> {
        match answer {
            Ok(answer) => {
                let told = told(&answer);
                if matches!(told, ItemOutcome::Nothing(_)) && self.exit == Exit::Success {
                    self.exit = Exit::Failed;
                }
                match told {
                    _ if self.json => self.all.push(json!({ "task": id, self.field: answer })),
                    ItemOutcome::Worked(text) => output.line(format_args!("task {id}: {text}")),
                    ItemOutcome::Nothing(text) => output.error(format_args!("task {id}: {text}")),
                }
            }
            Err(ClientError::Refused(refusal)) => {
                self.exit = Exit::Refused;
                match self.json {
                    true => {
                        self.all.push(json!({ "task": id, "code": refusal.code, "error": refusal.message }));
                    }
                    false => output.error(format_args!("task {id}: {refusal}")),
                }
            }
            Err(error) => return Err(exit_error(error)),
        }
        Ok(())
    }

    /// # Errors
    /// When one of the tasks was refused, or nothing happened to it.
    pub(super) fn finish(self, output: &mut Output) -> Result<()> {
        if self.json {
            output.json(&self.all)?;
        }
        if self.exit == Exit::Success { Ok(()) } else { Err(self.exit.silent()) }
    }
}
