//! Checks the quotes of a CSV file while it is read: the parser itself would take any text.

use std::io::{self, Read};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A CSV file that fails at a quote that is not closed, at text behind a closing quote, and at a row without
/// end.
pub(super) struct Checked<R> {
    input: R,
    separator: u8,
    /// The number of bytes that a row may have.
    limit: usize,
    place: Place,
    /// The number of the current line, from 1.
    line: u64,
    /// The line on which the last quote was opened.
    quote_line: u64,
    row_length: usize,
    is_begun: bool,
}

/// The place of the next byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted field: the end of the field, or the first half of a doubled quote.
    AfterQuote,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(input: R, separator: u8, limit: usize) -> Self {
        let place = Place::FieldStart;
        Self { input, separator, limit, place, line: 1, quote_line: 0, row_length: 0, is_begun: false }
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            self.place = self.next(*byte)?;
            self.row_length += 1;
            if *byte == b'\n' {
                self.line += 1;
            }
            if matches!(byte, b'\n' | b'\r') && self.place == Place::FieldStart {
                self.row_length = 0;
            }
            if self.row_length > self.limit {
                return Err(self.too_long());
            }
        }
        Ok(())
    }

    fn next(&mut self, byte: u8) -> io::Result<Place> {
        let is_end = byte == self.separator || matches!(byte, b'\n' | b'\r');
        match self.place {
            Place::FieldStart if byte == b'"' => {
                self.quote_line = self.line;
                Ok(Place::Quoted)
            }
            Place::Quoted if byte == b'"' => Ok(Place::AfterQuote),
            Place::AfterQuote if byte == b'"' => Ok(Place::Quoted),
            Place::Quoted => Ok(Place::Quoted),
            _ if is_end => Ok(Place::FieldStart),
            Place::FieldStart | Place::Unquoted => Ok(Place::Unquoted),
            Place::AfterQuote => Err(broken(format!(
                "line {}: there is text behind a closing quote; write a quote within a value twice (\"\")",
                self.line
            ))),
        }
    }

    fn finish(&self) -> io::Result<()> {
        if self.place == Place::Quoted { Err(self.not_closed()) } else { Ok(()) }
    }

    fn too_long(&self) -> io::Error {
        if self.place == Place::Quoted {
            return self.not_closed();
        }
        broken(format!("line {}: longer than {} bytes (package_max_length)", self.line, self.limit))
    }

    fn not_closed(&self) -> io::Error {
        broken(format!("line {}: the quote that begins a value here is not closed", self.quote_line))
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut bytes = &buffer[..count];
        if !std::mem::replace(&mut self.is_begun, true) {
            bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        }
        if count == 0 && !buffer.is_empty() {
            self.finish()?
        } else {
            self.check(bytes)?
        }
        Ok(count)
    }
}

fn broken(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let mut all = String::new();
        let mut checked = Checked::new(text.as_bytes(), b',', 40);
        checked.read_to_string(&mut all).map(|_| all).map_err(|error| error.to_string())
    }

    #[test]
    fn checked_passes_on_every_valid_file() {
        for text in [
            "",
            "a,b\n1,2\n",
            "a,b\r\n\"1\",\"2\"\r\n",
            "\u{feff}\"a\",b",
            "a\n\"two\nlines, and a \"\"quote\"\"\"\n\"\"",
            "a,5\" pipe\n\n,\n",
        ] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn checked_names_the_line_of_a_wrong_quote() {
        let open = |line| Err(format!("line {line}: the quote that begins a value here is not closed"));
        assert_eq!(read("a,b\n1,\"2\n3,4\n"), open(2));
        assert_eq!(read("\"a"), open(1));
        assert_eq!(read(&format!("a\nb\n\"{}", "x\n".repeat(30))), open(3));
        for text in ["a\n\n\"b\"c\n", "a\n\"x\"\n\"b\" ,c", "a\n\n\"b\"\"\" \"\n"] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("line 3: there is text behind a closing quote"), "{text:?}: {error}");
        }
    }

    #[test]
    fn checked_fails_at_a_row_that_does_not_end() {
        let error = read(&format!("a\n{}", "x".repeat(41))).unwrap_err();
        assert_eq!(error, "line 2: longer than 40 bytes (package_max_length)");
        assert!(read(&"x\n".repeat(100)).is_ok());
    }
}
