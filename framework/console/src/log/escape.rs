//! Keeps what a client sent from breaking a line or commanding the reader's terminal.

use std::fmt::{self, Write};

/// Writes through, with everything that is not to be seen as `\n`, `\u{1b}` and the like.
pub(super) struct Escaped<W>(pub(super) W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((start, hidden)) = rest.char_indices().find(|(_, letter)| is_hidden(*letter)) {
            self.0.write_str(&rest[..start])?;
            write!(self.0, "{}", hidden.escape_default())?;
            rest = &rest[start + hidden.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a terminal acts on the letter instead of showing it: controls, line separators, changes of direction.
pub(super) fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
