//! The progress and the log lines that handlers report; kept with the task, bounded.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::due::now_ms;

/// The progress of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    pub at_ms: u64,
    /// 0 to 100.
    pub percent: f64,
    /// Such as `42 of 100 sent`; cut at [`TEXT_MAX`] bytes.
    pub text: String,
}

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    pub at_ms: u64,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Cut at [`TEXT_MAX`] bytes.
    pub text: String,
}

/// The last progress and the last lines of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressLog {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The last [`LINES_MAX`] of them.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub log: VecDeque<LogLine>,
}

/// The number of lines kept of a task's log.
pub const LINES_MAX: usize = 100;
/// The longest line or text of a progress, in bytes.
pub const TEXT_MAX: usize = 1024;

impl ProgressLog {
    pub fn is_empty(&self) -> bool {
        self.progress.is_none() && self.log.is_empty()
    }

    pub(super) fn progress(&mut self, percent: f64, text: &str) -> &Progress {
        // NaN counts as 0.
        let percent = if percent.is_nan() { 0.0 } else { percent.clamp(0.0, 100.0) };
        self.progress.insert(Progress { at_ms: now_ms(), percent, text: cut(text) })
    }

    pub(super) fn line(&mut self, attempt: u32, text: &str) -> &LogLine {
        if self.log.len() >= LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(LogLine { at_ms: now_ms(), attempt, text: cut(text) });
        &self.log[self.log.len() - 1]
    }
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}
