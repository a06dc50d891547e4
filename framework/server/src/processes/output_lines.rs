//! What a program writes, line by line and within bounds.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is kept whole, in bytes; more of it is left out.
const LINE_MAX: usize = 4096;
const READ_SIZE: usize = 8192;

/// The lines of a stream of bytes.
#[derive(Default)]
pub(crate) struct OutputLines {
    line: Vec<u8>,
    /// The line is longer than [`LINE_MAX`]; its rest is left out.
    is_cut: bool,
}

impl OutputLines {
    /// Reads a stream to its end, and hands on each line: without its end, cut at [`LINE_MAX`], with
    /// `\u{fffd}` in place of what is not UTF-8.
    pub(crate) async fn read(mut source: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) {
        let mut lines = Self::default();
        let mut buffer = [0; READ_SIZE];
        while let Ok(length @ 1..) = source.read(&mut buffer).await {
            lines.add(&buffer[..length], &mut each);
        }
        lines.end(&mut each);
    }

    fn add(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&str)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.extend(&bytes[..end]);
            self.finish(each);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// Hands on what stands behind the last end of a line.
    fn end(&mut self, each: &mut impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.finish(each);
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = LINE_MAX - self.line.len();
        self.is_cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self, each: &mut impl FnMut(&str)) {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let mut text = String::from_utf8_lossy(line);
        if self.is_cut {
            text.to_mut().push_str("..");
        }
        each(&text);
        self.line.clear();
        self.is_cut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        OutputLines::read(bytes, |line| lines.push(line.to_owned())).await;
        lines
    }

    #[tokio::test]
    async fn output_lines_are_separated_at_their_ends() {
        assert_eq!(lines(b"one\r\n\ntwo\nthree").await, ["one", "", "two", "three"]);
        assert_eq!(lines(b"").await, [""; 0]);
        assert_eq!(lines(b"a\xffb\n").await, ["a\u{fffd}b"]);
    }

    #[tokio::test]
    async fn output_lines_are_cut_at_their_bound() {
        let long = [vec![b'x'; 3 * LINE_MAX + 1], b"\nnext\n".to_vec()].concat();
        let lines = lines(&long).await;
        assert_eq!(lines, ["x".repeat(LINE_MAX) + "..", "next".to_owned()]);
    }
}
