//! Escapes control characters, so that text from outside can be shown.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// A text from outside as it may be shown on a terminal or in a line of a log.
///
/// Control characters, line separators and changes of the writing direction become `\n`, `\u{1b}` and the
/// like; everything else stays as it is.
pub fn escape_control(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    // Writing to a string cannot fail.
    let _ = EscapeControl(&mut escaped).write_str(text);
    Cow::Owned(escaped)
}

/// A JSON text in one line, with the control characters that JSON allows within strings written as `\u009b`.
///
/// It stays the same JSON: outside of strings, JSON has no such characters but white space.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_control) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 8);
    for character in json.chars() {
        match character {
            '\n' | '\r' | '\t' => escaped.push(' '),
            // All of them lie below U+10000.
            _ if is_control(character) => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// A writer that escapes control characters as [`escape_control`] does.
pub(crate) struct EscapeControl<W>(pub(crate) W);

impl<W: Write> Write for EscapeControl<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((start, control)) = rest.char_indices().find(|(_, character)| is_control(*character)) {
            self.0.write_str(&rest[..start])?;
            write!(self.0, "{}", control.escape_default())?;
            rest = &rest[start + control.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a terminal acts on the character instead of showing it, or other characters are shown in another
/// order because of it.
pub(super) fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_control_shows_what_a_terminal_would_obey() {
        assert_eq!(escape_control("a\nb\u{1b}[2J\u{9b}\u{202e}"), "a\\nb\\u{1b}[2J\\u{9b}\\u{202e}");
        assert!(matches!(escape_control("ü→😀 \\"), Cow::Borrowed(_)));
    }

    #[test]
    fn escape_json_keeps_the_value() {
        let json = "{\"a\":\n\"\u{9b}\u{7f}\u{2028}\"}";
        let escaped = escape_json(json);
        assert_eq!(escaped, "{\"a\": \"\\u009b\\u007f\\u2028\"}");
        let [before, after] =
            [json, &escaped].map(|json| serde_json::from_str::<serde_json::Value>(json).unwrap());
        assert_eq!(before, after);
    }
}
