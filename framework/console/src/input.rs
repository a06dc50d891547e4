//! Questions to the person at the terminal.

use std::io::{self, BufRead, Cursor};
use std::sync::{Mutex, PoisonError};

use crate::output::Output;

/// Where answers come from.
///
/// A question that nobody can answer (`-n`, or the end of standard input) takes its default, so that no
/// script hangs.
pub struct Input {
    answers: Answers,
}

enum Answers {
    None,
    Stdin,
    Known(Mutex<Cursor<String>>),
}

impl Input {
    /// Answers are read from standard input, typed or piped.
    pub fn terminal() -> Self {
        Self { answers: Answers::Stdin }
    }

    /// Nobody answers: every question takes its default.
    pub fn none() -> Self {
        Self { answers: Answers::None }
    }

    /// The answers are known beforehand, one a line.
    pub fn answering(answers: impl Into<String>) -> Self {
        Self { answers: Answers::Known(Mutex::new(Cursor::new(answers.into()))) }
    }

    /// Asks for a yes or a no, until one of them is given.
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
            Answers::Known(answers) => {
                output.ask(question);
                // A panic elsewhere leaves no half-read line behind: reading goes on.
                answers.lock().unwrap_or_else(PoisonError::into_inner).read_line(&mut line)?
            }
        };
        Ok((read > 0).then(|| line.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Colours, Verbosity};

    fn confirmed(input: &Input, default: bool) -> bool {
        let mut output = Output::captured(Verbosity::Normal, Colours::Never);
        input.confirm(&mut output, "Delete 12 tasks?", default).unwrap()
    }

    #[test]
    fn an_answer_is_taken_and_a_strange_one_is_asked_again() {
        assert!(confirmed(&Input::answering("yes\n"), false));
        assert!(!confirmed(&Input::answering("perhaps\nNO\n"), true));
    }

    #[test]
    fn a_question_that_nobody_answers_takes_its_default() {
        for default in [true, false] {
            assert_eq!(confirmed(&Input::none(), default), default);
            assert_eq!(confirmed(&Input::answering(""), default), default);
            assert_eq!(confirmed(&Input::answering("\n"), default), default);
        }
    }

    #[test]
    fn an_empty_text_is_the_default() {
        let mut output = Output::captured(Verbosity::Normal, Colours::Never);
        let input = Input::answering("\nmail\n");
        assert_eq!(input.text(&mut output, "Queue?", "default").unwrap(), "default");
        assert_eq!(input.text(&mut output, "Queue?", "default").unwrap(), "mail");
        assert_eq!(output.into_captured().stderr, "Queue? [default] Queue? [default] ");
    }
}
