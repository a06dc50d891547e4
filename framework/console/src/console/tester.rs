//! Runs commands in the tests of a project.

use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;

use super::{CommandOutput, Console, runtime};
use crate::input::Input;

/// Runs commands in the tests of a project.
///
/// ```standalone_crate
/// use framework::console::{Console, Tester};
///
/// # use framework::{app::App, clap::{self, Args}, command::Execute, output::Output, Command};
/// # #[derive(Args, Command)]
/// # #[command(name = "demo:hello")]
/// # struct Hello { name: String }
/// # impl Execute for Hello {
/// #     async fn execute(self, _: &App, output: &mut Output) -> framework::anyhow::Result<()> {
/// #         output.line(format_args!("Hello, {}!", self.name));
/// #         Ok(())
/// #     }
/// # }
/// let tester = Tester::new(Console::new());
/// tester.run("demo:hello Ada").succeeds().prints("Hello, Ada!");
/// ```
#[derive(Clone)]
pub struct Tester {
    console: Console,
    answers: String,
}

impl Tester {
    pub fn new(console: Console) -> Self {
        Self { console, answers: String::new() }
    }

    /// Takes `root` for the project's root.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.console = self.console.root(root);
        self
    }

    /// What the person at the terminal answers, one line for each question.
    #[must_use]
    pub fn with_input(mut self, answers: impl Into<String>) -> Self {
        self.answers = answers.into();
        self
    }

    /// Runs a command line, in which `'..'` and `"..."` hold words together.
    ///
    /// # Panics
    /// When a quotation has no end.
    #[track_caller]
    pub fn run(&self, line: &str) -> CommandOutput {
        self.run_words(words(line).expect("a quotation in the command line has no end"))
    }

    /// Runs a command line that is in words already.
    ///
    /// # Panics
    /// When there are no threads to be had from the operating system.
    pub fn run_words<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> CommandOutput {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let input = Input::answering(self.answers.clone());
        // A thread of its own, so that it works from a test that is asynchronous itself.
        let call =
            || runtime().expect("a runtime for the test").block_on(self.console.call_answering(words, input));
        thread::scope(|scope| scope.spawn(call).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' | '"' => {
                let (quoted, _) = characters.as_str().split_once(character)?;
                word.get_or_insert_default().push_str(quoted);
                characters = characters.as_str()[quoted.len() + 1..].chars();
            }
            _ if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_into_words_and_quotations_stay_whole() {
        let split = words(r#"task:send  send_mail '{"to": "ada"}' --title="Good day" """#).unwrap();
        assert_eq!(split, ["task:send", "send_mail", r#"{"to": "ada"}"#, "--title=Good day", ""]);
        assert_eq!(words("it's"), None);
    }
}
