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
/// tester.run("demo:hello Ada").assert_success().assert_stdout_contains("Hello, Ada!");
/// ```
#[derive(Clone)]
pub struct Tester {
    console: Console,
    input: String,
    columns: Option<usize>,
}

impl Tester {
    pub fn new(console: Console) -> Self {
        Self { console, input: String::new(), columns: None }
    }

    /// Sets the project's root.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.console = self.console.root(root);
        self
    }

    /// Sets the answers to prompts, one line for each.
    #[must_use]
    pub fn with_input(mut self, input: impl Into<String>) -> Self {
        self.input = input.into();
        self
    }

    /// Lays the output out as for a terminal with so many columns; without it, nothing is wrapped.
    #[must_use]
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = Some(columns);
        self
    }

    /// Runs a command line, in which `'..'` and `"..."` quote words.
    ///
    /// # Panics
    /// When a quote is not closed.
    #[track_caller]
    pub fn run(&self, line: &str) -> CommandOutput {
        self.run_words(words(line).expect("a quote in the command line is not closed"))
    }

    /// Runs a command line that is already split into words.
    ///
    /// # Panics
    /// When the operating system cannot start a thread.
    pub fn run_words<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> CommandOutput {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let input = Input::scripted(self.input.clone());
        // A thread of its own, so that it works from an asynchronous test.
        let call = || {
            runtime().expect("a runtime for the test").block_on(self.console.call_with_input(
                words,
                input,
                self.columns,
            ))
        };
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
    fn words_are_split_at_spaces_outside_of_quotes() {
        let split = words(r#"task:send  send_mail '{"to": "ada"}' --title="Good day" """#).unwrap();
        assert_eq!(split, ["task:send", "send_mail", r#"{"to": "ada"}"#, "--title=Good day", ""]);
        assert_eq!(words("it's"), None);
    }
}
