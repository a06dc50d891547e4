//! What the server answers.

use framework_protocol::{ErrorCode, RequestError};

use super::decoder::Refusal;

pub(super) const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";
pub(super) const OUT_OF_MEMORY: &[u8] = b"OUT_OF_MEMORY\r\n";
pub(super) const DRAINING: &[u8] = b"DRAINING\r\n";
const INTERNAL_ERROR: &[u8] = b"INTERNAL_ERROR\r\n";

/// The answer to bytes that are no request.
pub(super) fn refused(refusal: Refusal) -> &'static [u8] {
    match refusal {
        Refusal::UnknownCommand => b"UNKNOWN_COMMAND\r\n",
        Refusal::BadFormat => b"BAD_FORMAT\r\n",
        Refusal::JobTooBig => b"JOB_TOO_BIG\r\n",
        Refusal::ExpectedCrlf => b"EXPECTED_CRLF\r\n",
    }
}

/// The answer to a request that the server refuses, which is tried again where that may help.
pub(super) fn refusal(error: &RequestError) -> &'static [u8] {
    match error.code {
        ErrorCode::ShuttingDown => DRAINING,
        ErrorCode::Busy | ErrorCode::StorageFull | ErrorCode::TooManyConnections => OUT_OF_MEMORY,
        ErrorCode::TooLong => refused(Refusal::JobTooBig),
        _ => INTERNAL_ERROR,
    }
}

/// An answer with the id of a job and its body.
pub(super) fn job(output: &mut Vec<u8>, word: &str, id: u64, body: &[u8]) {
    text(output, format_args!("{word} {id} {}\r\n", body.len()));
    output.extend_from_slice(body);
    output.extend_from_slice(b"\r\n");
}

/// An answer that is a document.
pub(super) fn document(output: &mut Vec<u8>, yaml: &str) {
    text(output, format_args!("OK {}\r\n{yaml}\r\n", yaml.len()));
}

/// Appends a text.
pub(super) fn text(output: &mut Vec<u8>, text: std::fmt::Arguments) {
    use std::io::Write;
    output.write_fmt(text).expect("a vector takes every byte");
}
