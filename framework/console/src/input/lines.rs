//! Questions whose answers are lines: piped, from a test, or typed on a terminal that only prints.

use std::io::{self, BufRead, Cursor, IsTerminal};
use std::sync::PoisonError;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::terminal_guard::TerminalGuard;
use super::{Answers, Input, InputError, Question, QuestionKind};
use crate::output::Output;

/// Answers that a test has written down.
pub(super) struct Scripted(Cursor<String>);

impl Scripted {
    pub(super) fn new(answers: String) -> Self {
        Self(Cursor::new(answers))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.position() >= self.0.get_ref().len() as u64
    }
}

impl Input {
    /// The answer to a question; `None` if there is nobody to ask.
    pub(super) fn ask_in_line(
        &self,
        output: &mut Output,
        question: &Question,
    ) -> Result<Option<String>, InputError> {
        let shown = match question.default {
            Some(default) => format!("{} [{default}]", question.text),
            None => question.text.to_owned(),
        };
        let is_secret = question.is_secret();
        loop {
            let answer = self.line(output, &shown, is_secret)?;
            if answer.is_none() || question.kind != QuestionKind::Secret(true) {
                return Ok(answer);
            }
            if self.line(output, "Again:", true)? == answer {
                return Ok(answer);
            }
            output.warn("the two are not the same");
        }
    }

    /// The places of the choices that are named by their number, from 1, or by their text.
    pub(super) fn choose_in_lines(
        &self,
        output: &mut Output,
        question: &str,
        choices: &[&str],
        defaults: &[usize],
        is_single: bool,
    ) -> Result<Vec<usize>, InputError> {
        if matches!(self.answers, Answers::None) {
            return Ok(defaults.to_vec());
        }
        for (number, choice) in choices.iter().enumerate() {
            output.note(format_args!("  [{}] {choice}", number + 1));
        }
        let named: Vec<_> = defaults.iter().filter_map(|default| choices.get(*default).copied()).collect();
        let shown =
            if named.is_empty() { question.to_owned() } else { format!("{question} [{}]", named.join(",")) };
        loop {
            let answer = self.line(output, &shown, false)?;
            let Some(answer) = answer.filter(|answer| !answer.is_empty()) else {
                return Ok(defaults.to_vec());
            };
            let parts: Vec<&str> = if is_single { vec![&answer] } else { answer.split(',').collect() };
            match parts.into_iter().map(|part| place_of(part.trim(), choices)).collect::<Result<_, _>>() {
                Ok(places) => return Ok(places),
                Err(reason) => output.warn(reason),
            }
        }
    }

    /// The next line without its end; `None` if there is nobody to ask, or at the end of standard input.
    pub(super) fn line(
        &self,
        output: &mut Output,
        question: &str,
        is_secret: bool,
    ) -> Result<Option<String>, InputError> {
        let mut line = String::new();
        let read = match &self.answers {
            Answers::None => return Ok(None),
            Answers::Stdin => {
                output.ask(question);
                let _guard = is_secret.then(TerminalGuard::begin).flatten();
                let _hidden = is_secret.then(HiddenKeys::begin).flatten();
                io::stdin().read_line(&mut line)?
            }
            Answers::Scripted(answers) => {
                output.ask(question);
                // A panic of another thread cannot have left a half-read line: the lock's poison is ignored.
                answers.lock().unwrap_or_else(PoisonError::into_inner).0.read_line(&mut line)?
            }
        };
        let line = if is_secret { line.trim_end_matches(['\r', '\n']) } else { line.trim() };
        Ok((read > 0).then(|| line.to_owned()))
    }
}

fn place_of(answer: &str, choices: &[&str]) -> Result<usize, String> {
    if let Some(place) = choices.iter().position(|choice| *choice == answer) {
        return Ok(place);
    }
    match answer.parse::<usize>() {
        Ok(number @ 1..) if number <= choices.len() => Ok(number - 1),
        _ => Err(format!("\"{answer}\" is none of them: answer with a number from 1 to {}", choices.len())),
    }
}

/// A terminal that does not show what is typed, until it is dropped.
struct HiddenKeys(Termios);

impl HiddenKeys {
    fn begin() -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &hidden).ok()?;
        Some(Self(before))
    }
}

impl Drop for HiddenKeys {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{ColorChoice, Verbosity};

    fn output() -> Output {
        Output::captured(Verbosity::Normal, ColorChoice::Never)
    }

    fn confirmed(input: &Input, default: bool) -> bool {
        input.confirm(&mut output(), "Delete 12 tasks?", default).unwrap()
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
        let mut output = output();
        let input = Input::scripted("\nmail\n");
        assert_eq!(input.text(&mut output, "Queue?", "default").unwrap(), "default");
        assert_eq!(input.text(&mut output, "Queue?", "default").unwrap(), "mail");
        assert_eq!(output.into_captured().stderr, "Queue? [default] Queue? [default] ");
    }

    #[test]
    fn number_asks_again_until_the_answer_is_one() {
        let mut output = output();
        let input = Input::scripted("many\n99999\n9502\n");
        assert_eq!(input.number::<u16>(&mut output, "Port?", Some(9501)).unwrap(), 9502);
        let stderr = output.into_captured().stderr;
        assert!(stderr.contains("\"many\" does not fit: only digits"), "{stderr}");
        assert!(stderr.contains("\"99999\" does not fit: the number is too large"), "{stderr}");
    }

    #[test]
    fn question_without_default_is_an_error_when_there_is_nobody_to_ask() {
        let error = Input::none().number::<u16>(&mut output(), "Port?", None).unwrap_err();
        assert_eq!(error.to_string(), "\"Port?\" needs an answer, and there is nobody to ask");
        let error = Input::scripted("").ask(&mut output(), &Question::new("Name?")).unwrap_err();
        assert!(matches!(error, InputError::NoAnswer { .. }));
        assert_eq!(Input::none().number(&mut output(), "Port?", Some(7)).unwrap(), 7);
    }

    #[test]
    fn choices_are_named_by_number_or_text() {
        let mut output = output();
        let choices = ["mail", "images", "reports"];
        let input = Input::scripted("5\nimages\n\n3, mail\n\n");
        assert_eq!(input.choose(&mut output, "Queue?", &choices, None).unwrap(), 1);
        assert_eq!(input.choose(&mut output, "Queue?", &choices, Some(2)).unwrap(), 2);
        assert_eq!(input.choose_many(&mut output, "Queues?", &choices, &[]).unwrap(), [2, 0]);
        assert_eq!(input.choose_many(&mut output, "Queues?", &choices, &[1]).unwrap(), [1]);
        assert!(input.choose(&mut output, "Queue?", &choices, None).is_err());
        let stderr = output.into_captured().stderr;
        assert!(stderr.contains("\"5\" is none of them: answer with a number from 1 to 3"), "{stderr}");
    }

    #[test]
    fn secret_is_asked_for_until_both_are_the_same() {
        let mut output = output();
        let input = Input::scripted("one\ntwo\n three\n three\n");
        let answer = input.ask(&mut output, &Question::new("Password?").secret(true)).unwrap();
        assert_eq!(answer, " three");
        assert!(output.into_captured().stderr.contains("the two are not the same"));
    }
}
