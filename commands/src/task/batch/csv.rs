//! Reads a CSV file with a header: each row is the arguments of one task.

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};
use framework::prelude::*;

use super::columns::Columns;
use super::piece::{Closed, Form, Writer};
use super::quotes::Checked;

/// The number of bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// Reads to the end of the file, or until the receiver is gone.
///
/// # Errors
/// When the file cannot be read, its header is not valid, a quote stands where none may stand, or a row
/// does not end within the limit.
pub(super) fn read(input: impl Read, separator: u8, form: &Form, writer: &mut Writer) -> Result<()> {
    // A row that is a little too long is refused by its number.
    let input = Checked::new(input, separator, form.limit + CHUNK);
    let mut reader = ReaderBuilder::new();
    reader.flexible(true).delimiter(separator).buffer_capacity(CHUNK);
    let mut reader = reader.from_reader(input);
    let header = reader.byte_headers().map_err(cause)?;
    check_separator(header, separator)?;
    let mut columns = Columns::new(header, form.handler)?;
    let mut record = ByteRecord::new();
    loop {
        if !reader.read_byte_record(&mut record).map_err(cause)? {
            return Ok(());
        }
        let line = record.position().map_or(0, csv::Position::line);
        if add_row(&record, line, form.limit, &mut columns, writer).is_err() {
            return Ok(());
        }
    }
}

fn add_row(
    record: &ByteRecord,
    line: u64,
    limit: usize,
    columns: &mut Columns,
    writer: &mut Writer,
) -> Result<(), Closed> {
    let start = writer.bytes().len();
    match columns.write(record, writer.bytes()) {
        Ok(()) if writer.bytes().len() - start > limit => {
            writer.bytes().truncate(start);
            writer.add_bad(line, format!("longer than {limit} bytes (package_max_length)"))
        }
        Ok(()) => writer.add_task(line, start),
        Err(reason) => {
            writer.bytes().truncate(start);
            writer.add_bad(line, reason)
        }
    }
}

/// The error of the file itself, which names the line.
fn cause(error: csv::Error) -> anyhow::Error {
    if !error.is_io_error() {
        return error.into();
    }
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        _ => anyhow!("the file cannot be read"),
    }
}

/// Refuses a header that is separated by something else, as the exports of many spreadsheets are.
fn check_separator(header: &ByteRecord, separator: u8) -> Result<()> {
    let only = if header.len() == 1 { &header[0] } else { b"" };
    let others = [(b';', "';'"), (b'\t', "tab"), (b',', "','")];
    match others.iter().find(|(other, _)| *other != separator && only.contains(other)) {
        Some((_, name)) => bail!(
            "line 1: the header has a single column, {}; perhaps the columns are separated otherwise: \
             --separator {name}",
            String::from_utf8_lossy(only)
        ),
        None => Ok(()),
    }
}
