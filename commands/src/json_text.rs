//! JSON that somebody has typed: what is wrong with it, in words.

use framework::serde_json::error::Category;
use serde_json::Error;

/// What the parser says, and what is said instead.
const REASONS: [(&str, &str); 6] = [
    ("expected ident", "a word that is none of true, false and null"),
    ("expected value", "a value is expected"),
    ("trailing characters", "something follows behind the end"),
    ("key must be a string", "a name in double quotes is expected"),
    ("trailing comma", "a comma with nothing behind it"),
    (
        "control character (\\u0000-\\u001F) found while parsing a string",
        "a line end or the like within a text",
    ),
];

/// What is wrong with a text that is not JSON, and where.
pub(crate) fn json_fault(error: &Error) -> String {
    if error.classify() == Category::Eof {
        return "it ends too early".to_owned();
    }
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = text.strip_suffix(&place).unwrap_or(&text);
    let known = REASONS.iter().find(|(parser, _)| *parser == said);
    let said = known.map_or(said, |(_, plain)| plain);
    match (error.line(), error.column()) {
        (0 | 1, column) => format!("{said}, at character {column}"),
        (line, column) => format!("{said}, in line {line} at character {column}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fault(text: &str) -> String {
        json_fault(&serde_json::from_str::<Value>(text).unwrap_err())
    }

    #[test]
    fn json_fault_says_what_and_where_without_words_of_the_parser() {
        assert_eq!(fault("nobody"), "a word that is none of true, false and null, at character 2");
        assert_eq!(fault("{\"to\""), "it ends too early");
        assert_eq!(fault("{to: 1}"), "a name in double quotes is expected, at character 2");
        assert_eq!(fault("1 2"), "something follows behind the end, at character 3");
        assert_eq!(fault("[1,]"), "a comma with nothing behind it, at character 4");
        assert_eq!(fault("{\n \"a\": x}"), "a value is expected, in line 2 at character 7");
        assert_eq!(fault("\"a\nb\""), "a line end or the like within a text, in line 2 at character 0");
    }
}
