//! Reads a file with the arguments of one task on each line, as JSON.

use std::io::{ErrorKind, Read};

use framework::prelude::*;
use framework::protocol::{LineDecoder, MessageBatch};
use serde_json::value::RawValue;

use super::piece::{Closed, Form, Writer};
use crate::json_text::json_fault;

/// The number of bytes read at a time.
const CHUNK: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads to the end of the file, or until the receiver is gone.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read(mut input: impl Read, form: &Form, writer: &mut Writer) -> Result<()> {
    let mut lines = LineDecoder::new(form.limit);
    let mut chunk = vec![0; CHUNK];
    let mut number = 0;
    loop {
        let count = match input.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let batch = match count {
            0 => MessageBatch { bytes: lines.finish().unwrap_or_default(), overflow: false },
            count => lines.feed(&chunk[..count]),
        };
        if add_lines(&batch, form.limit, &mut number, writer).is_err() || count == 0 {
            return Ok(());
        }
    }
}

fn add_lines(
    batch: &MessageBatch,
    limit: usize,
    number: &mut u64,
    writer: &mut Writer,
) -> Result<(), Closed> {
    for line in MessageBatch::lines(&batch.bytes) {
        *number += 1;
        let mark = if *number == 1 { BYTE_ORDER_MARK } else { b"" };
        let line = line.strip_prefix(mark).unwrap_or(line);
        match args(line, limit) {
            Ok(Some(args)) => {
                let start = writer.bytes().len();
                writer.bytes().extend_from_slice(args.get().as_bytes());
                writer.add_task(*number, start)?;
            }
            Ok(None) => {}
            Err(reason) => writer.add_bad(*number, reason)?,
        }
    }
    if batch.overflow {
        *number += 1;
        writer.add_bad(*number, too_long(limit))?;
    }
    Ok(())
}

/// The arguments on a line; `None` for an empty line, which is skipped.
fn args(line: &[u8], limit: usize) -> Result<Option<&RawValue>, String> {
    if line.len() > limit {
        return Err(too_long(limit));
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to() + 1))?;
    match text.trim_ascii() {
        "" => Ok(None),
        text => {
            serde_json::from_str(text).map(Some).map_err(|error| format!("not JSON: {}", json_fault(&error)))
        }
    }
}

fn too_long(limit: usize) -> String {
    format!("longer than {limit} bytes (package_max_length)")
}
