//! Prints the error of a command that failed.

use std::backtrace::BacktraceStatus;
use std::fmt::Write as _;

use super::BACKTRACES;
use crate::command::{Exit, ExitError};
use crate::input::{InputError, plain_reason};
use crate::output::Output;

/// Prints the error with its causes, for programs as an object, and returns the exit code.
pub(super) fn failure(error: &anyhow::Error, as_json: bool, output: &mut Output) -> Exit {
    let is_interrupted = matches!(error.downcast_ref(), Some(InputError::Interrupted));
    let silent = is_interrupted || error.downcast_ref::<ExitError>().is_some_and(ExitError::is_silent);
    match (silent, as_json) {
        (true, _) => {}
        (false, true) => output.error_object(&ExitError::object(error, text(error))),
        (false, false) => output.error(text(error)),
    }
    let has_place = Exit::of(error) != Exit::Usage && error.backtrace().status() == BacktraceStatus::Captured;
    if !silent && has_place && output.verbosity() >= BACKTRACES {
        output.detail(error.backtrace());
    }
    Exit::of(error)
}

fn text(error: &anyhow::Error) -> String {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        let text = error.to_string();
        return plain_reason(text.trim_end().trim_start_matches("error: "));
    }
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors contain the text of their cause.
        if !text.contains(&cause) {
            write!(text, "\n  because: {}", cause.replace('\n', "\n    "))
                .expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn text_names_every_cause_once() {
        let error =
            anyhow!("permission denied").context("reading a.toml: permission denied").context("starting");
        assert_eq!(text(&error), "starting\n  because: reading a.toml: permission denied");
    }

    #[test]
    fn failure_prints_nothing_for_a_silent_error_and_keeps_its_exit_code() {
        let mut output = Output::captured(Default::default(), Default::default());
        assert_eq!(failure(&Exit::Refused.silent(), false, &mut output), Exit::Refused);
        assert_eq!(output.into_captured().stderr, "");
        let error = Err::<(), _>(Exit::NotRunning.error("no server")).context("sending").unwrap_err();
        let mut output = Output::captured(Default::default(), Default::default());
        assert_eq!(failure(&error, false, &mut output), Exit::NotRunning);
        assert_eq!(output.into_captured().stderr, "error: sending\n  because: no server\n");
    }

    #[test]
    fn failure_is_one_object_for_programs() {
        let printed = |error: anyhow::Error| {
            let mut output = Output::captured(Default::default(), Default::default());
            failure(&error, true, &mut output);
            output.into_captured().stderr
        };
        let usage = "{\"code\":\"usage\",\"error\":\"no \\u009bname\",\"status\":\"error\"}\n";
        assert_eq!(printed(Exit::Usage.error("no \u{9b}name")), usage);
        let facts = serde_json::json!({"code": "busy", "error": "Full.", "retry_after_ms": 100});
        let busy = "{\"code\":\"busy\",\"error\":\"Full.\",\"retry_after_ms\":100,\"status\":\"error\"}\n";
        assert_eq!(printed(Exit::Refused.error_with("Full. Later.", &facts)), busy);
    }
}
