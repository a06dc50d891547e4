//! The result of an attempt that ran elsewhere, made of the bytes that came back.

use framework_protocol::task::Outcome;
use serde_json::value::RawValue;

/// The longest part of a foreign text in an error, in bytes.
const QUOTE_MAX: usize = 512;

/// The outcome of a success: the bytes as JSON if they are that, otherwise as a text without its last line
/// end; `null` when there are none.
pub(super) fn done(bytes: &[u8]) -> Outcome {
    let trimmed = bytes.trim_ascii();
    if trimmed.is_empty() {
        return Outcome::from_result(Ok(()));
    }
    match serde_json::from_slice::<&RawValue>(trimmed) {
        Ok(json) => Outcome::from_result(Ok(json)),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Outcome::from_result(Ok(text.strip_suffix('\r').unwrap_or(text)))
        }
    }
}

/// The beginning of a foreign text for an error, in one line.
pub(super) fn quote(text: &str) -> String {
    let text = text.trim();
    let end = (0..=text.len().min(QUOTE_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let dots = if end < text.len() { ".." } else { "" };
    let words: Vec<_> = text[..end].split_whitespace().collect();
    format!("{}{dots}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        match done(bytes) {
            Outcome::Done(json) => String::from_utf8(json.to_vec()).unwrap(),
            Outcome::Failed(failure) => panic!("{failure:?}"),
        }
    }

    #[test]
    fn done_is_json_or_a_text() {
        for (bytes, result) in [
            (&b"{\"width\":\n42}\n"[..], "{\"width\":42}"),
            (b"42", "42"),
            (b"done\n", "\"done\""),
            (b" two\nlines\r\n", "\" two\\nlines\""),
            (b"\xff", "\"\u{fffd}\""),
            (b"", "null"),
            (b"\n", "null"),
        ] {
            assert_eq!(json(bytes), result);
        }
    }

    #[test]
    fn quote_is_one_line_within_its_bound() {
        assert_eq!(quote(" a\n  b\n"), "a b");
        assert_eq!(quote(&"ä".repeat(600)).len(), QUOTE_MAX + 2);
    }
}
