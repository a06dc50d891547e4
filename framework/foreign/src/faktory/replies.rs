//! The answers of the server, in the form of Redis.

use framework_protocol::RequestError;

pub(super) const OK: &[u8] = b"+OK\r\n";
/// There is nothing.
pub(super) const NIL: &[u8] = b"$-1\r\n";

/// An answer that is a text of any length.
pub(super) fn bulk(output: &mut Vec<u8>, text: &[u8]) {
    output.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    output.extend_from_slice(text);
    output.extend_from_slice(b"\r\n");
}

/// An error, in one line.
pub(super) fn error(output: &mut Vec<u8>, message: &str) {
    output.extend_from_slice(b"-ERR ");
    output.extend(message.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    output.extend_from_slice(b"\r\n");
}

/// The error for a request that the server refuses.
pub(super) fn refusal(refusal: &RequestError) -> Vec<u8> {
    let mut output = Vec::new();
    error(&mut output, &refusal.to_string());
    output
}
