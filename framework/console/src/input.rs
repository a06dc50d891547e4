//! Prompts: questions to the user at the terminal.

mod error;
mod reasons;
mod terminal_guard;
mod lines;
mod screen;

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

pub use self::error::InputError;
use self::lines::Scripted;
pub use self::reasons::plain_reason;
use crate::output::{Output, is_ci};

/// The source of answers to prompts.
///
/// On a terminal, questions are prompts with editing keys, lists to choose from and a search in them. Answers
/// may be piped, too: then each is a line. Without anybody to ask (`-n`, or on a terminal where `CI` is set),
/// and at the end of what is piped, a prompt takes its default, so that no script hangs; one without a
/// default is an error.
///
/// Ctrl-C and Escape in a prompt end the program with exit code 130.
pub struct Input {
    answers: Answers,
}

enum Answers {
    None,
    Stdin,
    Scripted(Mutex<Scripted>),
}

/// How a question is put.
enum PromptMode {
    Nobody,
    Lines,
    Screen,
}

/// A question for a text.
///
/// ```
/// # use framework::input::{Input, Question};
/// # use framework::output::{ColorChoice, Output, Verbosity};
/// # let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
/// # let input = Input::scripted("a b\nreports\n");
/// let check = |name: &str| if name.contains(' ') { Err("a name has no spaces".to_owned()) } else { Ok(()) };
/// let question = Question::new("Queue?").default("default").check(&check);
/// assert_eq!(input.ask(&mut output, &question)?, "reports");
/// # assert!(output.into_captured().stderr.contains("a name has no spaces"));
/// # Ok::<(), framework::input::InputError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Question<'a> {
    text: &'a str,
    default: Option<&'a str>,
    check: Option<Check<'a>>,
    kind: QuestionKind,
}

/// A check of an answer; the error says what is wrong with it.
type Check<'a> = &'a dyn Fn(&str) -> Result<(), String>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum QuestionKind {
    Text,
    Path,
    /// With `true`, it has to be typed twice.
    Secret(bool),
}

impl<'a> Question<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, default: None, check: None, kind: QuestionKind::Text }
    }

    /// Sets what an empty answer means, and what is taken when there is nobody to ask.
    #[must_use]
    pub fn default(mut self, default: &'a str) -> Self {
        self.default = Some(default);
        self
    }

    /// Checks answers: after one that is wrong, the question is asked again.
    #[must_use]
    pub fn check(mut self, check: Check<'a>) -> Self {
        self.check = Some(check);
        self
    }

    /// Completes the names of files by the tabulator key.
    #[must_use]
    pub fn path(mut self) -> Self {
        self.kind = QuestionKind::Path;
        self
    }

    /// Does not show what is typed; `twice` asks for it again, until both are the same.
    #[must_use]
    pub fn secret(mut self, twice: bool) -> Self {
        self.kind = QuestionKind::Secret(twice);
        self
    }

    fn is_secret(&self) -> bool {
        matches!(self.kind, QuestionKind::Secret(_))
    }
}

impl Input {
    /// Reads answers from standard input, typed or piped.
    pub fn terminal() -> Self {
        let answers = if io::stdin().is_terminal() && is_ci() { Answers::None } else { Answers::Stdin };
        Self { answers }
    }

    /// Takes the default of every prompt.
    pub fn none() -> Self {
        Self { answers: Answers::None }
    }

    /// Takes the answers from a text, one a line, for tests.
    pub fn scripted(answers: impl Into<String>) -> Self {
        Self { answers: Answers::Scripted(Mutex::new(Scripted::new(answers.into()))) }
    }

    /// Whether somebody sits at a terminal and can be asked for what a command line lacks.
    pub fn is_interactive(&self, output: &Output) -> bool {
        match &self.answers {
            Answers::None => false,
            Answers::Stdin => io::stdin().is_terminal() && output.shows_notes_on_a_terminal(),
            Answers::Scripted(answers) => !answers.lock().unwrap_or_else(PoisonError::into_inner).is_empty(),
        }
    }

    /// Asks for yes or no, again until the answer is one of them.
    ///
    /// # Errors
    /// When the answer cannot be read, or Ctrl-C was pressed.
    pub fn confirm(&self, output: &mut Output, question: &str, default: bool) -> Result<bool, InputError> {
        if matches!(self.mode(output), PromptMode::Screen) {
            return screen::confirm(output, question, default);
        }
        let choice = if default { "[Y/n]" } else { "[y/N]" };
        loop {
            let Some(answer) = self.line(output, &format!("{question} {choice}"), false)? else {
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
    /// When the answer cannot be read, or Ctrl-C was pressed.
    pub fn text(&self, output: &mut Output, question: &str, default: &str) -> Result<String, InputError> {
        self.ask(output, &Question::new(question).default(default))
    }

    /// Asks a question until its check accepts the answer.
    ///
    /// # Errors
    /// When the answer cannot be read, there is none and no default, or Ctrl-C was pressed.
    pub fn ask(&self, output: &mut Output, question: &Question) -> Result<String, InputError> {
        let mut typed = String::new();
        loop {
            let answer = match self.mode(output) {
                PromptMode::Screen => Some(screen::text(output, question, &typed)?),
                PromptMode::Nobody | PromptMode::Lines => self.ask_in_line(output, question)?,
            };
            let Some(answer) = answer else {
                let default = question.default.map(str::to_owned);
                return default.ok_or_else(|| InputError::no_answer(question.text));
            };
            let answer = if answer.is_empty() { question.default.unwrap_or("").to_owned() } else { answer };
            match question.check.map_or(Ok(()), |check| check(&answer)) {
                Ok(()) => return Ok(answer),
                Err(reason) => output.warn(reason),
            }
            if !question.is_secret() {
                typed = answer;
            }
        }
    }

    /// Asks for a number, or another value that can be read from a text, until the answer is one.
    ///
    /// # Errors
    /// When the answer cannot be read, there is none and no default, or Ctrl-C was pressed.
    pub fn number<T: FromStr + Display>(
        &self,
        output: &mut Output,
        question: &str,
        default: Option<T>,
    ) -> Result<T, InputError>
    where
        T::Err: Display,
    {
        let check = |text: &str| match text.parse::<T>() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("\"{text}\" does not fit: {}", plain_reason(&error.to_string()))),
        };
        let default = default.map(|value| value.to_string());
        let asked = Question { default: default.as_deref(), ..Question::new(question).check(&check) };
        let answer = self.ask(output, &asked)?;
        answer.parse().map_err(|_: T::Err| InputError::no_answer(question))
    }

    /// Asks for one of several choices, and returns its place, from 0. On a terminal, typing searches them.
    ///
    /// # Errors
    /// When the answer cannot be read, there is none and no default, or Ctrl-C was pressed.
    pub fn choose<S: AsRef<str>>(
        &self,
        output: &mut Output,
        question: &str,
        choices: &[S],
        default: Option<usize>,
    ) -> Result<usize, InputError> {
        let choices: Vec<&str> = choices.iter().map(AsRef::as_ref).collect();
        let default = default.filter(|default| *default < choices.len());
        if matches!(self.mode(output), PromptMode::Screen) && !choices.is_empty() {
            return screen::choose(output, question, &choices, default);
        }
        let chosen = self.choose_in_lines(output, question, &choices, default.as_slice(), true)?;
        chosen.first().copied().ok_or_else(|| InputError::no_answer(question))
    }

    /// Asks for any number of several choices, and returns their places, from 0. On a terminal, typing
    /// searches them; piped ones are separated by commas.
    ///
    /// # Errors
    /// When the answer cannot be read, or Ctrl-C was pressed.
    pub fn choose_many<S: AsRef<str>>(
        &self,
        output: &mut Output,
        question: &str,
        choices: &[S],
        defaults: &[usize],
    ) -> Result<Vec<usize>, InputError> {
        let choices: Vec<&str> = choices.iter().map(AsRef::as_ref).collect();
        if matches!(self.mode(output), PromptMode::Screen) && !choices.is_empty() {
            return screen::choose_many(output, question, &choices, defaults);
        }
        self.choose_in_lines(output, question, &choices, defaults, false)
    }

    fn mode(&self, output: &Output) -> PromptMode {
        match &self.answers {
            Answers::None => PromptMode::Nobody,
            Answers::Stdin if io::stdin().is_terminal() && output.has_prompts() => PromptMode::Screen,
            Answers::Stdin | Answers::Scripted(_) => PromptMode::Lines,
        }
    }
}
