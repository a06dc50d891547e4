//! The two ways in which messages are told apart on a connection.

use crate::detect::DetectedProtocol;
use crate::frame_decoder::FrameDecoder;
use crate::line_decoder::MessageBatch;

/// How the messages of a connection are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Each message ends with a line end.
    #[default]
    Lines,
    /// Each message comes after its length.
    Frames,
}

impl Framing {
    /// The framing of a connection that began as `protocol`.
    pub fn of(protocol: DetectedProtocol) -> Self {
        if protocol == DetectedProtocol::Frames { Self::Frames } else { Self::Lines }
    }

    /// The complete messages of one read.
    pub fn messages(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let (lines, frames) = match self {
            Self::Lines => (Some(MessageBatch::lines(bytes)), None),
            Self::Frames => (None, Some(FrameDecoder::messages(bytes))),
        };
        lines.into_iter().flatten().chain(frames.into_iter().flatten())
    }

    /// Appends whole lines, each of them as one message.
    pub fn write_lines(self, lines: &[u8], bytes: &mut Vec<u8>) {
        match self {
            Self::Lines => bytes.extend_from_slice(lines),
            Self::Frames => MessageBatch::lines(lines).for_each(|line| write_frame(line, bytes)),
        }
    }

    /// Appends one message, also if its text has several lines.
    pub fn write_text(self, text: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::Lines => {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(b'\n');
            }
            Self::Frames => write_frame(text.as_bytes(), bytes),
        }
    }
}

fn write_frame(message: &[u8], bytes: &mut Vec<u8>) {
    if !FrameDecoder::write(message, bytes) {
        tracing::warn!("a message of {} bytes is too long for a frame and is dropped", message.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_lines_reads_back_as_the_same_messages() {
        for framing in [Framing::Lines, Framing::Frames] {
            let mut bytes = Vec::new();
            framing.write_lines(b"one\ntwo\n", &mut bytes);
            framing.write_text("three", &mut bytes);
            assert_eq!(framing.messages(&bytes).collect::<Vec<_>>(), [&b"one"[..], b"two", b"three"]);
        }
    }
}
