//! Tells data from messages that were surely meant as requests.

use memchr::memmem;
use serde::de::IgnoredAny;

use super::Message;
use crate::error::RequestError;

/// A message that is no object: data, unless it was surely meant as a request.
pub(super) fn data(message: &[u8]) -> Result<Message<'_>, RequestError> {
    if matches!(message, [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff, 0, _, ..]) {
        return Err(RequestError::bad_request("The message is UTF-16; send UTF-8."));
    }
    let text = message.trim_ascii_start();
    if text.first() != Some(&b'[') {
        return Ok(Message::Data(message));
    }
    match serde_json::from_slice::<IgnoredAny>(text) {
        Ok(_) => Err(RequestError::bad_request(
            "A message is one JSON object, not an array: send each element as a message of its own.",
        )),
        Err(error) if text[1..].trim_ascii_start().starts_with(b"{") => {
            Err(RequestError::broken_json(&error))
        }
        Err(_) => Ok(Message::Data(message)),
    }
}

/// True when broken JSON has a field `function` or `command`, in any quotes.
pub(super) fn names_a_request(line: &[u8]) -> bool {
    ["function", "command"].iter().any(|name| {
        memmem::find_iter(line, name).any(|start| {
            let (before, after) = (&line[..start], &line[start + name.len()..]);
            let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'');
            let before = if before.last().is_some_and(is_quote) { &before[..start - 1] } else { before };
            let after = if after.first().is_some_and(is_quote) { &after[1..] } else { after };
            matches!(before.trim_ascii_end().last(), Some(b'{' | b','))
                && matches!(after.trim_ascii_start().first(), Some(b':'))
        })
    })
}
