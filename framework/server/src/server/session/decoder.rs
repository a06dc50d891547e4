//! Turns the bytes of one connection into pages of messages, once their beginning tells how.

use bytes::Bytes;
use framework_protocol::{DetectedProtocol, FrameDecoder, LineDecoder, MessageBatch, RequestError};

/// How the messages of a connection are told apart.
#[derive(Debug)]
pub(super) enum Decoder {
    /// Not known until more has come; what has come so far.
    Undecided {
        first: Vec<u8>,
        limit: usize,
    },
    Lines(LineDecoder),
    Frames(FrameDecoder),
}

/// What one read came to.
#[derive(Debug)]
pub(super) enum Read {
    /// Messages, perhaps none yet.
    Page(MessageBatch),
    /// The beginning of something else, all that has come of it.
    Other(DetectedProtocol, Bytes),
    /// The peer has closed; what was left is a message too.
    Closed(MessageBatch),
    /// The peer hears nothing any more; these messages were its last.
    Gone(MessageBatch),
}

/// How the messages of a page are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Lines,
    Frames,
}

impl Framing {
    /// The messages of a page.
    pub(super) fn messages(self, page: &Bytes) -> impl Iterator<Item = &[u8]> {
        let (lines, frames) = match self {
            Self::Lines => (Some(MessageBatch::lines(page)), None),
            Self::Frames => (None, Some(FrameDecoder::messages(page))),
        };
        lines.into_iter().flatten().chain(frames.into_iter().flatten())
    }
}

impl Decoder {
    /// `limit`: the longest message, in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self::Undecided { first: Vec::new(), limit }
    }

    /// Where it is known already what is spoken.
    pub(super) fn knowing(opening: Option<DetectedProtocol>, limit: usize) -> Self {
        match opening {
            Some(DetectedProtocol::Lines) => Self::Lines(LineDecoder::new(limit)),
            Some(DetectedProtocol::Frames) => Self::Frames(FrameDecoder::new(limit)),
            Some(DetectedProtocol::Http | DetectedProtocol::Tls) | None => Self::new(limit),
        }
    }

    /// Takes what one read brought; nothing is the end.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Read {
        match self {
            _ if chunk.is_empty() => Read::Closed(self.finish()),
            Self::Undecided { first, limit } => {
                first.extend_from_slice(chunk);
                let Some(opening) = DetectedProtocol::detect(first) else { return Read::Page(empty()) };
                let (first, limit) = (std::mem::take(first), *limit);
                *self = match opening {
                    DetectedProtocol::Lines => Self::Lines(LineDecoder::new(limit)),
                    DetectedProtocol::Frames => Self::Frames(FrameDecoder::new(limit)),
                    DetectedProtocol::Http | DetectedProtocol::Tls => {
                        return Read::Other(opening, first.into());
                    }
                };
                self.feed(&first)
            }
            Self::Lines(lines) => Read::Page(lines.feed(chunk)),
            Self::Frames(frames) => Read::Page(frames.feed(chunk)),
        }
    }

    fn finish(&mut self) -> MessageBatch {
        let rest = match self {
            Self::Undecided { first, .. } => Bytes::from(std::mem::take(first)),
            Self::Lines(lines) => lines.finish().unwrap_or_default(),
            // Half a frame is no message.
            Self::Frames(_) => Bytes::new(),
        };
        MessageBatch { bytes: rest, overflow: false }
    }

    /// What is spoken; `None` while that is not known.
    pub(super) fn opening(&self) -> Option<DetectedProtocol> {
        match self {
            Self::Undecided { .. } => None,
            Self::Lines(_) => Some(DetectedProtocol::Lines),
            Self::Frames(_) => Some(DetectedProtocol::Frames),
        }
    }

    /// Why nothing more can be read, if that is so.
    pub(super) fn broken(&self) -> Option<&RequestError> {
        match self {
            Self::Frames(frames) => frames.broken(),
            Self::Undecided { .. } | Self::Lines(_) => None,
        }
    }

    /// How the messages of a page are told apart.
    pub(super) fn form(&self) -> Framing {
        match self {
            Self::Undecided { .. } | Self::Lines(_) => Framing::Lines,
            Self::Frames(_) => Framing::Frames,
        }
    }
}

fn empty() -> MessageBatch {
    MessageBatch { bytes: Bytes::new(), overflow: false }
}
