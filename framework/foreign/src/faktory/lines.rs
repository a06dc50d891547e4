//! Reads commands from bytes, however they are divided.

use bytes::{Bytes, BytesMut};

/// Reads lines of a bounded length.
#[derive(Debug)]
pub(super) struct LineReader {
    /// The longest line, in bytes.
    max: usize,
    /// The bytes of the buffer in which there is no end.
    seen: usize,
}

/// A line that is longer than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl LineReader {
    pub(super) fn new(max: usize) -> Self {
        Self { max, seen: 0 }
    }

    /// Takes the next line without its end; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The line is too long: nothing more can be read.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, LineTooLong> {
        let Some(end) = memchr::memchr(b'\n', &buffer[self.seen..]) else {
            self.seen = buffer.len();
            // Its last byte may belong to the end.
            return if buffer.len() > self.max + 1 { Err(LineTooLong) } else { Ok(None) };
        };
        let end = self.seen + end;
        self.seen = 0;
        let mut line = buffer.split_to(end + 1);
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        if line.len() > self.max { Err(LineTooLong) } else { Ok(Some(line.freeze())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_are_divided() {
        let bytes = b"HELLO {}\r\nEND\n\r\nx";
        for piece in 1..bytes.len() {
            let (mut reader, mut buffer, mut lines) = (LineReader::new(8), BytesMut::new(), Vec::new());
            for piece in bytes.chunks(piece) {
                buffer.extend_from_slice(piece);
                while let Some(line) = reader.next(&mut buffer).unwrap() {
                    lines.push(line);
                }
            }
            assert_eq!(lines, [&b"HELLO {}"[..], b"END", b""], "in pieces of {piece}");
        }
    }

    #[test]
    fn line_beyond_the_bound_is_an_error_also_before_its_end() {
        for bytes in [&b"123456789\n"[..], b"1234567890"] {
            assert_eq!(LineReader::new(8).next(&mut BytesMut::from(bytes)), Err(LineTooLong));
        }
    }
}
