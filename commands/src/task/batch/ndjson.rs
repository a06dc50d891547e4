//! A file with the arguments of one task on each line, as JSON.

use std::io::{ErrorKind, Read};

use framework::prelude::*;
use framework::protocol::{LineDecoder, MessageBatch};
use serde_json::value::RawValue;

use super::reader::{Closed, Form, Writer};

/// How much is read at a time.
const CHUNK: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads to the end of the file, or until nobody wants more.
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
        let page = match count {
            0 => MessageBatch { bytes: lines.finish().unwrap_or_default(), overflow: false },
            count => lines.feed(&chunk[..count]),
        };
        if take(&page, form.limit, &mut number, writer).is_err() || count == 0 {
            return Ok(());
        }
    }
}

fn take(page: &MessageBatch, limit: usize, number: &mut u64, writer: &mut Writer) -> Result<(), Closed> {
    for line in MessageBatch::lines(&page.bytes) {
        *number += 1;
        let line = match *number {
            1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            _ => line,
        };
        match args(line, limit) {
            Ok(Some(args)) => {
                let start = writer.bytes().len();
                writer.bytes().extend_from_slice(args.get().as_bytes());
                writer.good(*number, start)?;
            }
            Ok(None) => {}
            Err(why) => writer.bad(*number, why)?,
        }
    }
    if page.overflow {
        *number += 1;
        writer.bad(*number, too_long(limit))?;
    }
    Ok(())
}

/// What stands on a line; an empty one is no task and no mistake.
fn args(line: &[u8], limit: usize) -> Result<Option<&RawValue>, String> {
    if line.len() > limit {
        return Err(too_long(limit));
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to() + 1))?;
    match text.trim_ascii() {
        "" => Ok(None),
        text => serde_json::from_str(text).map(Some).map_err(|error| format!("not JSON: {error}")),
    }
}

fn too_long(limit: usize) -> String {
    format!("longer than {limit} bytes (package_max_length)")
}
