//! Prints the error of a command that failed.

use std::fmt::Write as _;

use crate::command::{Exit, ExitError};
use crate::output::Output;

/// Prints the error with its causes, and returns the exit code.
pub(super) fn failure(error: &anyhow::Error, output: &mut Output) -> Exit {
    let silent = error.downcast_ref::<ExitError>().is_some_and(ExitError::is_silent);
    if !silent {
        output.error(text(error));
    }
    Exit::of(error)
}

fn text(error: &anyhow::Error) -> String {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        let text = error.to_string();
        return text.trim_end().trim_start_matches("error: ").to_owned();
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
        assert_eq!(failure(&Exit::Refused.silent(), &mut output), Exit::Refused);
        assert_eq!(output.into_captured().stderr, "");
        let error = Err::<(), _>(Exit::NotRunning.error("no server")).context("sending").unwrap_err();
        let mut output = Output::captured(Default::default(), Default::default());
        assert_eq!(failure(&error, &mut output), Exit::NotRunning);
        assert_eq!(output.into_captured().stderr, "error: sending\n  because: no server\n");
    }
}
