//! Prompts: questions to the user at the terminal.

use std::io::{self, BufRead, Cursor};
use std::sync::{Mutex, PoisonError};

use crate::output::Output;

/// The source of answers to prompts.
///
/// Without one (`-n`, or at the end of standard input) a prompt takes its default, so that no script hangs.
pub struct Input {
    answers: Answers,
}

enum Answers {
    None,
    Stdin,
    Scripted(Mutex<Cursor<String>>),
}

impl Input {
    /// Reads answers from standard input, typed or piped.
    pub fn terminal() -> Self {
        Self { answers: Answers::Stdin }
    }

    /// Takes the default of every prompt.
    pub fn none() -> Self {
        Self { answers: Answers::None }
    }

    /// Takes the answers from a text, one a line, for tests.
    pub fn scripted(answers: impl Into<String>) -> Self {
        Self { answers: Answers::Scripted(Mutex::new(Cursor::new(answers.into()))) }
    }

    /// Asks for yes or no, again until the answer is one of them.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub fn confirm(&self, output: &mut Output, question: &str, default: bool) -> io::Result<bool> {
        let choice = if default { "[Y/n]" } else { "[y/N]" };
        loop {
            let Some(answer) = self.answer(output, &format!("{question} {choice}"))? else {
                return Ok(default);
            };
            match answer.to_ascii_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => output.note("Please answer yes or no."),
            }
        }
    }

    /// Asks for a line of text; an empty answer means `default`.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub fn text(&self, output: &mut Output, question: &str, default: &str) -> io::Result<String> {
        let answer = self.answer(output, &format!("{question} [{default}]"))?;
        Ok(answer.filter(|answer| !answer.is_empty()).unwrap_or_else(|| default.to_owned()))
    }

    fn answer(&self, output: &mut Output, question: &str) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = match &self.answers {
            Answers::None => return Ok(None),
            Answers::Stdin => {
                output.ask(question);
                io::stdin().read_line(&mut line)?
            }
            Answers::Scripted(answers) => {
                output.ask(question);
                // A panic of another thread cannot have left a half-read line: the lock's poison is ignored.
                answers.lock().unwrap_or_else(PoisonError::into_inner).read_line(&mut line)?
            }
        };
        Ok((read > 0).then(|| line.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{ColorChoice, Verbosity};

    fn confirmed(input: &Input, default: bool) -> bool {
        let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
        input.confirm(&mut output, "Delete 12 tasks?", default).unwrap()
    }

    #[test]
    fn confirm_asks_again_after_an_unknown_answer() {
        assert!(confirmed(&Input::scripted("yes\n"), false));
        assert!(!confirmed(&Input::scripted("perhaps\nNO\n"), true));
    }

    #[test]
    fn confirm_takes_its_default_without_an_answer() {
        for default in [true, false] {
            assert_eq!(confirmed(&Input::none(), default), default);
            assert_eq!(confirmed(&Input::scripted(""), default), default);
            assert_eq!(confirmed(&Input::scripted("\n"), default), default);
        }
    }

    #[test]
    fn text_takes_its_default_for_an_empty_answer() {
        let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
        let input = Input::scripted("\nmail\n");
        assert_eq!(input.text(&mut output, "Queue?", "default").unwrap(), "default");
        assert_eq!(input.text(&mut output, "Queue?", "default").unwrap(), "mail");
        assert_eq!(output.into_captured().stderr, "Queue? [default] Queue? [default] ");
    }
}
