//! Log lines of ended tasks, formatted in batches.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::Format;
use super::buffer::LogBuffer;
use super::json::quoted;
use crate::output::EscapeControl;

static OUTCOMES: OnceLock<OutcomeLines> = OnceLock::new();

/// The log of ended tasks.
pub struct OutcomeLines {
    format: Format,
    buffer: LogBuffer,
}

/// A task that has ended.
pub struct EndedTask<'a> {
    pub id: u64,
    pub function: &'a str,
    pub attempts: u32,
    /// The duration of the last attempt.
    pub ran: Duration,
    /// `done`, `failed`, ..
    pub outcome: &'a str,
    pub error: Option<&'a str>,
}

/// The log of ended tasks; `None` if they are not logged.
pub fn outcomes() -> Option<&'static OutcomeLines> {
    OUTCOMES.get()
}

pub(super) fn log_outcomes(format: Format, buffer: LogBuffer) {
    // Logging starts once: the first call wins.
    let _ = OUTCOMES.set(OutcomeLines { format, buffer });
}

impl OutcomeLines {
    /// Logs a batch in one piece.
    pub fn log<'a>(&self, ended: impl Iterator<Item = EndedTask<'a>>) {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let mut lines = String::new();
        for task in ended {
            let line = match self.format {
                Format::Text => task.text(&time, &mut lines),
                Format::Json => task.json(&time, &mut lines),
            };
            line.expect("writing to a string cannot fail");
        }
        self.buffer.add(lines.as_bytes());
    }
}

impl EndedTask<'_> {
    fn milliseconds(&self) -> f64 {
        self.ran.as_micros() as f64 / 1000.0
    }

    fn text(&self, time: &str, lines: &mut String) -> std::fmt::Result {
        let Self { id, function, attempts, outcome, .. } = self;
        write!(lines, "{time}  INFO outcome: task={id} {outcome} function={function} attempts={attempts}")?;
        write!(lines, " ran_ms={}", self.milliseconds())?;
        if let Some(error) = self.error {
            write!(EscapeControl(&mut *lines), " error={error:?}")?;
        }
        lines.write_char('\n')
    }

    fn json(&self, time: &str, lines: &mut String) -> std::fmt::Result {
        let Self { id, function, attempts, outcome, .. } = self;
        write!(lines, "{{\"time\":\"{time}\",\"level\":\"INFO\",\"target\":\"outcome\",\"task\":{id}")?;
        write!(lines, ",\"message\":\"{outcome}\",\"fields\":{{\"function\":{}", quoted(function))?;
        write!(lines, ",\"attempts\":{attempts},\"ran_ms\":{}", self.milliseconds())?;
        if let Some(error) = self.error {
            write!(lines, ",\"error\":{}", quoted(error))?;
        }
        lines.write_str("}}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> EndedTask<'static> {
        let ran = Duration::from_micros(1_500);
        EndedTask { id: 12, function: "echo", attempts: 2, ran, outcome: "failed", error: Some("a\nb\u{1b}") }
    }

    #[test]
    fn text_line_of_an_ended_task_escapes_its_error() {
        let mut line = String::new();
        task().text("T", &mut line).unwrap();
        let expected =
            "T  INFO outcome: task=12 failed function=echo attempts=2 ran_ms=1.5 error=\"a\\nb\\u{1b}\"\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn json_line_of_an_ended_task_is_one_object() {
        let mut line = String::new();
        task().json("T", &mut line).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let fields = serde_json::json!({"function":"echo","attempts":2,"ran_ms":1.5,"error":"a\nb\u{1b}"});
        assert_eq!((&line["task"], &line["fields"]), (&12.into(), &fields));
    }
}
