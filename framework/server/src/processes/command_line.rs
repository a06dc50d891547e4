//! A program and its arguments, as they stand in the settings.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What only a shell would understand.
const SHELL: &[char] = &['|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '~', '#'];

/// A program and its arguments: a list, or one text that is split at spaces outside of quotes. No shell reads
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct CommandLine(Vec<String>);

impl CommandLine {
    /// Splits a text at spaces; `'..'`, `".."` and `\` keep what they quote together.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the setting: a quote is open, or it takes a shell.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                ' ' | '\t' | '\n' => words.extend(word.take()),
                '\'' | '"' => quoted(letter, &mut letters, word.get_or_insert_default())?,
                '\\' => {
                    let next = letters.next().ok_or("has a `\\` at the end of a command")?;
                    word.get_or_insert_default().push(next);
                }
                _ if SHELL.contains(&letter) => {
                    return Err(format!(
                        "has a command with `{letter}`, which is for a shell: quote it, or write [\"sh\", \"-c\", \"..\"]"
                    ));
                }
                _ => word.get_or_insert_default().push(letter),
            }
        }
        words.extend(word);
        Self::of(words)
    }

    /// A program without arguments.
    pub(crate) fn program_of(path: &str) -> Self {
        Self(vec![path.to_owned()])
    }

    fn of(words: Vec<String>) -> Result<Self, String> {
        if words.first().is_none_or(String::is_empty) {
            return Err(
                "has a command without a program, which must be such as \"php worker.php\"".to_owned()
            );
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err("has a command with a zero byte in it".to_owned());
        }
        Ok(Self(words))
    }

    /// Whether it was left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    pub(crate) fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }
}

/// Adds what stands up to the closing quote.
fn quoted(quote: char, letters: &mut std::str::Chars, word: &mut String) -> Result<(), String> {
    loop {
        match letters.next() {
            Some(letter) if letter == quote => return Ok(()),
            Some('\\') if quote == '"' => word.extend(letters.next()),
            Some(letter) => word.push(letter),
            None => return Err(format!("has a command whose quote {quote} is not closed")),
        }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            let is_plain = !word.is_empty()
                && !word.contains(|letter: char| letter.is_whitespace() || "'\"\\".contains(letter));
            match is_plain {
                true => write!(formatter, "{separator}{word}")?,
                false => write!(formatter, "{separator}{word:?}")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = CommandLine;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a command, such as \"php worker.php\" or [\"php\", \"worker.php\"]")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<CommandLine, E> {
        CommandLine::parse(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CommandLine, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element()? {
            words.push(word);
        }
        CommandLine::of(words).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        CommandLine::parse(text).unwrap().0
    }

    #[test]
    fn command_line_is_split_at_spaces_outside_of_quotes() {
        assert_eq!(words("php  worker.php -d a=1"), ["php", "worker.php", "-d", "a=1"]);
        assert_eq!(
            words(r#"php 'my worker.php' "say \"hi\"" a\ b ''"#),
            ["php", "my worker.php", "say \"hi\"", "a b", ""]
        );
        assert_eq!(CommandLine::parse("php 'my worker'").unwrap().to_string(), "php \"my worker\"");
    }

    #[test]
    fn command_line_says_what_is_wrong() {
        for (text, says) in [
            ("", "without a program"),
            ("   ", "without a program"),
            ("php 'worker", "not closed"),
            ("php worker.php | tee log", "`|`"),
            ("php worker.php \\", "at the end"),
            ("php a\0b", "zero byte"),
        ] {
            let error = CommandLine::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn command_line_is_a_text_or_a_list() {
        let read = |json| serde_json::from_str::<CommandLine>(json);
        assert_eq!(read("\"php a.php\"").unwrap(), read("[\"php\",\"a.php\"]").unwrap());
        assert_eq!(serde_json::to_string(&read("\"php a.php\"").unwrap()).unwrap(), "[\"php\",\"a.php\"]");
        assert!(read("[]").is_err() && read("7").is_err() && read("[\"\"]").is_err());
    }
}
