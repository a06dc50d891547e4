//! Reads a CSV file with a header: each row is the arguments of one task.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};
use framework::prelude::*;

use super::columns::Columns;
use super::piece::{Closed, Form, Writer};

/// The number of bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// Reads to the end of the file, or until the receiver is gone.
///
/// # Errors
/// When the file cannot be read, its header is not valid, or a row does not end within the limit.
pub(super) fn read(input: impl Read, form: &Form, writer: &mut Writer) -> Result<()> {
    let since_row = Rc::new(Cell::new(0));
    let bounded = Bounded { input, since_row: since_row.clone(), limit: form.limit + 2 * CHUNK };
    let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(CHUNK).from_reader(bounded);
    let mut columns = Columns::new(reader.byte_headers()?, form.handler)?;
    let mut record = ByteRecord::new();
    loop {
        let read = reader.read_byte_record(&mut record);
        let line = record.position().map_or(0, csv::Position::line);
        if !read.with_context(|| format!("the row after line {line}"))? {
            return Ok(());
        }
        since_row.set(0);
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

/// An input that fails when a row does not end: otherwise an unclosed quote would fill the memory.
struct Bounded<R> {
    input: R,
    since_row: Rc<Cell<usize>>,
    limit: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() > self.limit {
            let message = "it is too long (package_max_length); perhaps a quote is not closed";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let count = self.input.read(buffer)?;
        self.since_row.set(self.since_row.get() + count);
        Ok(count)
    }
}
