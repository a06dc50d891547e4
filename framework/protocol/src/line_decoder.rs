//! Line framing (Workerman's Text, telnet): a message ends with `\n`; a trailing `\r` is dropped.

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memmem, memrchr};

/// Cuts a stream of bytes into lines, in whatever pieces it arrives.
///
/// Holds only the beginning of an unfinished line, at most `limit` bytes of it. A longer line is reported
/// once and skipped up to its end, so that the connection stays usable.
#[derive(Debug)]
pub struct LineDecoder {
    limit: usize,
    partial: Vec<u8>,
    skipping: bool,
}

/// The complete messages of one read, in one shared allocation of exactly their size.
#[derive(Debug, PartialEq, Eq)]
pub struct MessageBatch {
    /// Whole messages, each with its line end or its length.
    pub bytes: Bytes,
    /// Whether a line beyond the limit followed.
    pub overflow: bool,
}

impl LineDecoder {
    /// `limit`: the longest line in bytes, its end not counted.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), skipping: false }
    }

    /// Takes the bytes of one read and returns the lines that are complete now.
    pub fn feed(&mut self, chunk: &[u8]) -> MessageBatch {
        let chunk = match self.skip(chunk) {
            Some(rest) => rest,
            None => return MessageBatch { bytes: Bytes::new(), overflow: false },
        };
        let Some(end) = memrchr(b'\n', chunk).map(|position| position + 1) else {
            self.partial.extend_from_slice(chunk);
            return MessageBatch { bytes: Bytes::new(), overflow: self.overflows() };
        };
        let bytes = if self.partial.is_empty() {
            Bytes::copy_from_slice(&chunk[..end])
        } else {
            self.partial.extend_from_slice(&chunk[..end]);
            Bytes::from(std::mem::take(&mut self.partial))
        };
        self.partial.extend_from_slice(&chunk[end..]);
        MessageBatch { bytes, overflow: self.overflows() }
    }

    /// The rest when the peer closes, which is a message, too.
    pub fn finish(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.is_empty()).then(|| Bytes::from(rest))
    }

    /// Drops the rest of a line that was too long; `None` while it has not ended.
    fn skip<'a>(&mut self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        if !self.skipping {
            return Some(chunk);
        }
        let end = memchr(b'\n', chunk)?;
        self.skipping = false;
        Some(&chunk[end + 1..])
    }

    fn overflows(&mut self) -> bool {
        // One byte more than the limit may still be the `\r` of a line end.
        let length = self.partial.len() - usize::from(self.partial.last() == Some(&b'\r'));
        if length > self.limit {
            self.partial = Vec::new();
            self.skipping = true;
        }
        self.skipping
    }
}

impl MessageBatch {
    /// The lines without their ends, and without the commands of a telnet client before them; a last line
    /// without an end counts too.
    pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        let unfinished = (!bytes.is_empty() && bytes.last() != Some(&b'\n')).then_some(bytes.len());
        memchr_iter(b'\n', bytes).chain(unfinished).map(move |end| {
            let line = &bytes[start..end];
            start = end + 1;
            skip_telnet(line.strip_suffix(b"\r").unwrap_or(line))
        })
    }
}

/// The line without the telnet commands at its beginning (RFC 854), with which clients such as PuTTY open.
fn skip_telnet(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = skip_command(line) {
        line = rest;
    }
    line
}

/// The line after one telnet command: a negotiation, a subnegotiation, or a single command.
fn skip_command(line: &[u8]) -> Option<&[u8]> {
    match line {
        // The byte order mark of UTF-16, whose letters have a zero.
        [0xff, 0xfe, _, 0, ..] => None,
        [0xff, 251..=254, _, rest @ ..] | [0xff, 241..=249, rest @ ..] => Some(rest),
        [0xff, 250, ..] => memmem::find(line, &[0xff, 240]).map(|end| &line[end + 2..]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(page: &MessageBatch) -> Vec<String> {
        MessageBatch::lines(&page.bytes).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    #[test]
    fn feed_gives_the_same_lines_wherever_the_stream_is_split() {
        let stream = b"hello\r\n{\"a\":1}\n\nlast\n";
        for cut in 0..=stream.len() {
            let mut lines = LineDecoder::new(64);
            let mut found = texts(&lines.feed(&stream[..cut]));
            found.extend(texts(&lines.feed(&stream[cut..])));
            assert_eq!(found, ["hello", "{\"a\":1}", "", "last"], "cut at {cut}");
        }
    }

    #[test]
    fn feed_accepts_a_line_of_the_limit_and_not_one_byte_more() {
        let mut lines = LineDecoder::new(4);
        assert!(!lines.feed(b"abcd").overflow);
        assert!(!lines.feed(b"\r").overflow);
        assert_eq!(texts(&lines.feed(b"\n")), ["abcd"]);
        assert!(lines.feed(b"abcde").overflow);
        assert_eq!(texts(&lines.feed(b"fgh\nok\n")), ["ok"]);
    }

    #[test]
    fn lines_begin_after_the_commands_of_a_telnet_client() {
        let putty =
            b"\xff\xfb\x1f\xff\xfb\x20\xff\xfa\x18\0xterm\xff\xf0\xff\xf1hello\r\n\xff\xf4\xff\xfd\x06\n";
        assert_eq!(MessageBatch::lines(putty).collect::<Vec<_>>(), [&b"hello"[..], b""]);
        let data = [&b"\xff\xfb"[..], b"\xff\xfa\x18", b"\xff\xff", b"a\xff\xfb\x01", b"\xff\xfe{\0\"\0"];
        assert_eq!(MessageBatch::lines(&data.join(&b'\n')).collect::<Vec<_>>(), data, "no whole command");
    }

    #[test]
    fn finish_returns_the_rest_once() {
        let mut lines = LineDecoder::new(64);
        lines.feed(b"one\ntwo");
        assert_eq!(lines.finish().as_deref(), Some(&b"two"[..]));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn skipped_line_holds_no_memory() {
        let mut lines = LineDecoder::new(8);
        lines.feed(&[b'x'; 1000]);
        for _ in 0..1000 {
            assert!(!lines.feed(&[b'x'; 1000]).overflow, "reported once");
        }
        assert_eq!(lines.partial.capacity(), 0);
    }
}
