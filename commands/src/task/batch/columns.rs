//! Converts a CSV row into the JSON object that the function's type expects.

use std::ops::Range;

use csv::ByteRecord;
use framework::prelude::*;
use framework::task::Handler;
use serde_json::Number;

/// The columns of a CSV file.
///
/// A value is a string, unless the function expects another type in its place: then `12`, `1.5`, `true` and
/// `false` are JSON values, and an empty value is `null`. The first row decides which columns these are.
pub(super) struct Columns {
    /// The names as in the object, with quotes and colon.
    names: Vec<String>,
    /// Whether the values of a column are JSON values instead of strings.
    typed: Vec<bool>,
    handler: Option<&'static Handler>,
    /// The places of the row's values, relative to its beginning.
    places: Vec<Range<usize>>,
}

impl Columns {
    /// # Errors
    /// When a name is missing, repeated, or not UTF-8.
    pub(super) fn new(header: &ByteRecord, handler: Option<&'static Handler>) -> Result<Self> {
        let mut names = Vec::new();
        for (index, name) in header.iter().enumerate() {
            let name =
                std::str::from_utf8(name).with_context(|| format!("column {} of the header", index + 1))?;
            let name = name.trim();
            ensure!(!name.is_empty(), "column {} of the header has no name", index + 1);
            let name = format!("{}:", serde_json::to_string(name)?);
            ensure!(!names.contains(&name), "the header repeats the column {}", name.trim_end_matches(':'));
            names.push(name);
        }
        Ok(Self { typed: vec![false; names.len()], names, handler, places: Vec::new() })
    }

    /// Appends a row as an object. A row that the function does not accept in any form is written as strings:
    /// the server's error says what is wrong with it.
    ///
    /// # Errors
    /// When the row has more or fewer values than the header, or one is not UTF-8.
    pub(super) fn write(&mut self, row: &ByteRecord, bytes: &mut Vec<u8>) -> Result<(), String> {
        if row.len() != self.names.len() {
            return Err(format!("{} values, but the header has {}", row.len(), self.names.len()));
        }
        let values: Vec<&str> =
            row.iter().map(std::str::from_utf8).collect::<Result<_, _>>().map_err(|_| {
                let broken =
                    row.iter().position(|value| std::str::from_utf8(value).is_err()).unwrap_or_default();
                format!("the value of {} is not UTF-8", self.names[broken].trim_end_matches(':'))
            })?;
        let start = bytes.len();
        self.append(&values, bytes);
        let Some(handler) = self.handler else { return Ok(()) };
        if handler.decode(&bytes[start..]).is_err() {
            self.find_types(handler, &values, start, bytes);
        }
        Ok(())
    }

    /// Begins with strings, and makes each value that the decoder rejects a JSON value, one by one.
    fn find_types(&mut self, handler: &Handler, values: &[&str], start: usize, bytes: &mut Vec<u8>) {
        let known = std::mem::replace(&mut self.typed, vec![false; values.len()]);
        loop {
            bytes.truncate(start);
            self.append(values, bytes);
            let Err(error) = handler.decode(&bytes[start..]) else { return };
            // The decoder's column is the last byte that it has read.
            let place =
                self.places.iter().position(|place| place.contains(&(error.column().saturating_sub(1))));
            match place {
                Some(column) if !self.typed[column] => self.typed[column] = true,
                _ => break,
            }
        }
        // A type that buffers its object does not report the place.
        self.typed.fill(true);
        bytes.truncate(start);
        self.append(values, bytes);
        if handler.decode(&bytes[start..]).is_err() {
            self.typed.fill(false);
            bytes.truncate(start);
            self.append(values, bytes);
            self.typed = known;
        }
    }

    fn append(&mut self, values: &[&str], bytes: &mut Vec<u8>) {
        let start = bytes.len();
        self.places.clear();
        for (index, value) in values.iter().enumerate() {
            bytes.push(if index == 0 { b'{' } else { b',' });
            bytes.extend_from_slice(self.names[index].as_bytes());
            let from = bytes.len() - start;
            if self.typed[index] && value.is_empty() {
                bytes.extend_from_slice(b"null");
            } else if self.typed[index] && is_json_value(value) {
                bytes.extend_from_slice(value.as_bytes());
            } else {
                serde_json::to_writer(&mut *bytes, value).expect("writing text to a vector cannot fail");
            }
            self.places.push(from..bytes.len() - start);
        }
        bytes.push(b'}');
    }
}

/// Whether a text is a number, `true` or `false` in JSON.
fn is_json_value(value: &str) -> bool {
    matches!(value, "true" | "false")
        || value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            && !value.ends_with(|last: char| last.is_ascii_whitespace())
            && serde_json::from_str::<Number>(value).is_ok()
}
