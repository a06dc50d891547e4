//! JSON in one line, as replies and the store keep it.

use bytes::Bytes;
use memchr::memchr2;

/// Valid JSON as an allocation of its own size and without line ends, so that it is one line on every wire.
pub fn one_line(json: &[u8]) -> Bytes {
    if memchr2(b'\n', b'\r', json).is_none() { Bytes::copy_from_slice(json) } else { compacted(json).into() }
}

/// Does the same as [`one_line`] with text that is owned already.
pub(crate) fn into_one_line(json: Vec<u8>) -> Bytes {
    if memchr2(b'\n', b'\r', &json).is_none() { json.into() } else { compacted(&json).into() }
}

/// Drops the white space outside of strings. Within strings a line end is always escaped.
fn compacted(json: &[u8]) -> Vec<u8> {
    let mut compacted = Vec::with_capacity(json.len());
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in json {
        if !is_text && byte.is_ascii_whitespace() {
            continue;
        }
        if *byte == b'"' && !is_escaped {
            is_text = !is_text;
        }
        is_escaped = is_text && *byte == b'\\' && !is_escaped;
        compacted.push(*byte);
    }
    compacted.shrink_to_fit();
    compacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_drops_line_ends_and_keeps_texts() {
        for (json, line) in [
            ("{\n  \"a b\" : [ 1 ,\r\n \"x \\\" \\\\\" , 2.50 ]\n}\n", r#"{"a b":[1,"x \" \\",2.50]}"#),
            ("[\r1\r]", "[1]"),
            ("{ \"a\": 1 }", "{ \"a\": 1 }"),
        ] {
            assert_eq!(one_line(json.as_bytes()), line.as_bytes());
            assert_eq!(into_one_line(json.into()), line.as_bytes());
        }
    }
}
