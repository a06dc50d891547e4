//! `complete`: what the scripts of the shells ask for.

use std::ffi::OsString;

use framework::clap;
use framework::console::{Candidate, complete};
use framework::output::escape_control;
use framework::prelude::*;

use super::Shell;

/// Print what could stand in a command line, a word on each line
#[derive(Args, Command)]
#[command(name = "complete", hide = true)]
struct Complete {
    /// Shell that asks
    #[arg(long, value_enum)]
    shell: Shell,
    /// Command line up to the cursor, as it was typed
    #[arg(long, allow_hyphen_values = true)]
    line: Option<String>,
    /// The end of the last word that the shell replaces
    #[arg(long, allow_hyphen_values = true)]
    current: Option<String>,
    /// Words up to the cursor, instead of --line
    #[arg(last = true)]
    words: Vec<OsString>,
}

impl Execute for Complete {
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let words = match &self.line {
            Some(line) => split(line).into_iter().map(OsString::from).collect(),
            None => self.words,
        };
        let typed = words.last().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let kept = self.current.as_deref().and_then(|current| typed.strip_suffix(current)).unwrap_or("");
        for candidate in complete(app, &words).await {
            // A name that a terminal would obey is not offered: it could not be typed as it is shown.
            if escape_control(&candidate.value) == candidate.value {
                output.line(line(self.shell, &candidate, kept));
            }
        }
        Ok(())
    }
}

/// The line of a candidate; bash replaces only what is behind `kept`.
fn line(shell: Shell, Candidate { value, help }: &Candidate, kept: &str) -> String {
    let help = escape_control(help);
    match shell {
        Shell::Bash => quoted(value.strip_prefix(kept).unwrap_or(value)),
        Shell::Zsh => format!("{}:{help}", value.replace('\\', "\\\\").replace(':', "\\:")),
        Shell::Fish | Shell::Powershell if help.is_empty() => value.clone(),
        Shell::Fish | Shell::Powershell => format!("{value}\t{help}"),
    }
}

/// The text as bash reads it back.
fn quoted(text: &str) -> String {
    let is_special = |letter: char| " \t'\"\\$`&|;<>()*?[]{}!#".contains(letter);
    text.chars().flat_map(|letter| is_special(letter).then_some('\\').into_iter().chain([letter])).collect()
}

/// The words of a line that may end within a quote; the last one is where the cursor stands.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut is_escaped, mut in_word) = (None, false, false);
    for letter in line.chars() {
        let last = words.len() - 1;
        match (letter, quote) {
            _ if is_escaped => {
                words[last].push(letter);
                is_escaped = false;
            }
            ('\\', None | Some('"')) => is_escaped = true,
            ('\'' | '"', None) => quote = Some(letter),
            (end, Some(begin)) if end == begin => quote = None,
            (space, None) if space.is_whitespace() => {
                if in_word {
                    words.push(String::new());
                }
                in_word = false;
                continue;
            }
            _ => words[last].push(letter),
        }
        in_word = true;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_reads_quotes_and_knows_the_word_at_the_cursor() {
        assert_eq!(split("think task:st"), ["think", "task:st"]);
        assert_eq!(split("./think  list "), ["./think", "list", ""]);
        assert_eq!(split(r#"think a\ b 'c d' "e"#), ["think", "a b", "c d", "e"]);
        assert_eq!(split(""), [""]);
    }

    #[test]
    fn line_is_what_the_shell_reads() {
        let candidate = Candidate { value: "task:a b".to_owned(), help: "Send: it".to_owned() };
        assert_eq!(line(Shell::Bash, &candidate, "task:"), "a\\ b");
        assert_eq!(line(Shell::Zsh, &candidate, ""), "task\\:a b:Send: it");
        assert_eq!(line(Shell::Fish, &candidate, ""), "task:a b\tSend: it");
    }
}
