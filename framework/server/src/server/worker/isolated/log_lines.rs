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
                let mut begun = String::new();
                OutputLines::read(errors, |line| self.log(line, &mut begun)).await;
                self.add_line(&begun);
            }
        };
        tokio::join!(output, errors);
    }

    /// Logs a line of stderr. `begun` is the part of another line that had begun before a line of the log.
    fn log(&self, line: &str, begun: &mut String) {
        match LogLine::find(line.trim_end()) {
            Some((before, line)) => {
                begun.push_str(before);
                match line.task {
                    Some(task) => with_task(task, || line.log(&self.worker)),
                    None => line.log(&self.worker),
                }
            }
            None => self.add_line(&(std::mem::take(begun) + line)),
        }
    }

    /// Logs a line that is none of the log.
    fn add_line(&self, line: &str) {
        let line = line.trim_end();
        if !line.is_empty() {
            self.process.add_line(line);
            tracing::warn!(target: NAME, worker = self.worker, "{line}");
        }
    }
}

impl<'a> LogLine<'a> {
    /// The line of the log at the end of a line, and what stands before it: a thread that crashes may have
    /// begun to write its message, which comes in pieces.
    fn find(line: &'a str) -> Option<(&'a str, Self)> {
        let start = line.find("{\"time\":")?;
        let (before, json) = line.split_at(start);
        Some((before, serde_json::from_str(json).ok()?))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_log_is_found_in_the_middle_of_another_one() {
        let json =
            "{\"time\":\"2026-11-29T21:46:39Z\",\"level\":\"INFO\",\"target\":\"app\",\"message\":\"hi\"}";
        let found = |line: &'static str| LogLine::find(line).map(|(before, line)| (before, line.message));
        assert_eq!(found(json), Some(("", "hi".into())));
        let mixed = format!("memory allocation of {json}").leak();
        assert_eq!(found(mixed), Some(("memory allocation of ", "hi".into())));
        assert_eq!((found("64 bytes failed"), found("{\"time\":")), (None, None));
    }
}
