//! What a child process writes: lines of its log become lines of the server's log, and all else too.

use std::borrow::Cow;
use std::sync::Arc;

use framework_console::log::{APP_LOG, with_task};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::process::{ChildStderr, ChildStdout};

use super::super::remote::child_session::ChildProcess;
use super::NAME;
use crate::processes::OutputLines;

/// The crate whose lines are about the connection to the server, and not about tasks.
const CONNECTION: &str = "framework_client";

/// The lines of one process.
pub(super) struct LogLines {
    worker: String,
    process: Arc<ChildProcess>,
}

/// A line of the log in JSON, as `log::Format::Json` writes it.
#[derive(Deserialize)]
struct LogLine<'a> {
    level: &'a str,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(default)]
    task: Option<u64>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default)]
    fields: Map<String, Value>,
}

impl LogLines {
    pub(super) fn new(worker: String, process: Arc<ChildProcess>) -> Self {
        Self { worker, process }
    }

    /// Logs all lines up to the end of both streams.
    pub(super) async fn read(self, output: Option<ChildStdout>, errors: Option<ChildStderr>) {
        let worker = &self.worker;
        let output = async {
            if let Some(output) = output {
                OutputLines::read(output, |line| tracing::info!(target: NAME, worker, "{line}")).await;
            }
        };
        let errors = async {
            if let Some(errors) = errors {
                OutputLines::read(errors, |line| self.log(line)).await;
            }
        };
        tokio::join!(output, errors);
    }

    /// Logs a line of stderr.
    fn log(&self, line: &str) {
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        match serde_json::from_str::<LogLine>(line) {
            Ok(line) => match line.task {
                Some(task) => with_task(task, || line.log(&self.worker)),
                None => line.log(&self.worker),
            },
            Err(_) => {
                self.process.add_line(line);
                tracing::warn!(target: NAME, worker = self.worker, "{line}");
            }
        }
    }
}

impl LogLine<'_> {
    fn log(&self, worker: &str) {
        let fields: String = self.fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let message = &self.message;
        match self.level {
            _ if self.target == APP_LOG => tracing::info!(target: APP_LOG, "{message}{fields}"),
            "ERROR" => tracing::error!(target: NAME, worker, "{message}{fields}"),
            "WARN" => tracing::warn!(target: NAME, worker, "{message}{fields}"),
            "INFO" if !self.target.starts_with(CONNECTION) => {
                tracing::info!(target: NAME, worker, "{message}{fields}")
            }
            "TRACE" => tracing::trace!(target: NAME, worker, "{message}{fields}"),
            _ => tracing::debug!(target: NAME, worker, "{message}{fields}"),
        }
    }
}
