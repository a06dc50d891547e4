//! The lines that a process prints.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use super::eventually::PATIENCE;

/// The lines of a stream, read by a thread, so that the process never waits for a reader.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            loop {
                let mut line = Vec::new();
                // A pseudo-terminal ends with an error once nobody holds its other end.
                let is_end = stream.read_until(b'\n', &mut line).is_err() || line.is_empty();
                let line = String::from_utf8_lossy(&line);
                let line = line
                    .strip_suffix('\n')
                    .map(|line| line.strip_suffix('\r').unwrap_or(line))
                    .unwrap_or(&line);
                if is_end && line.is_empty() || sender.send(line.to_owned()).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("one more line: {error}"))
    }

    /// The next line with this in it; those before it are skipped.
    #[track_caller]
    pub(crate) fn line_with(&self, text: &str) -> String {
        self.find(text, |line| line.contains(text))
    }

    /// The next line that is what is looked for; those before it are skipped.
    #[track_caller]
    pub(crate) fn find(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut skipped = Vec::new();
        loop {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(&line) => return line,
                Ok(line) => skipped.push(line),
                Err(error) => panic!("no line with {what:?} ({error}) among {skipped:#?}"),
            }
        }
    }

    /// `true` if a line with this in it has come by now; all lines until now are skipped.
    pub(crate) fn has_come(&self, text: &str) -> bool {
        self.0.try_iter().any(|line| line.contains(text))
    }

    /// All lines up to the end of the stream.
    #[track_caller]
    pub(crate) fn rest(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        loop {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("the stream has no end after {rest:#?}"),
            }
        }
    }
}
