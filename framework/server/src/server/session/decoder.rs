//! Turns the bytes of one connection into batches of messages, once its protocol is detected.

use bytes::Bytes;
use framework_protocol::{DetectedProtocol, FrameDecoder, Framing, LineDecoder, MessageBatch, RequestError};

/// The decoder of one connection.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// The protocol is not detected yet; `first` is all that has come.
    Undecided {
        first: Vec<u8>,
        limit: usize,
    },
    Lines(LineDecoder),
    Frames(FrameDecoder),
}

/// The result of one read.
#[derive(Debug)]
pub(crate) enum Read {
    /// Messages, perhaps none.
    Messages(MessageBatch),
    /// Another protocol than lines or frames; the bytes are its beginning.
    Other(DetectedProtocol, Bytes),
    /// The peer has closed its side; the rest of the input is a message too.
    Closed(MessageBatch),
    /// The peer is gone and reads nothing any more; these messages were its last.
    Gone(MessageBatch),
}

impl Decoder {
    /// `limit`: the longest message, in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self::Undecided { first: Vec::new(), limit }
    }

    /// The decoder of a connection whose protocol may be known already.
    pub(super) fn for_protocol(protocol: Option<DetectedProtocol>, limit: usize) -> Self {
        match protocol {
            Some(DetectedProtocol::Lines) => Self::Lines(LineDecoder::new(limit)),
            Some(DetectedProtocol::Frames) => Self::Frames(FrameDecoder::new(limit)),
            Some(DetectedProtocol::Http | DetectedProtocol::Tls) | None => Self::new(limit),
        }
    }

    /// Takes the bytes of one read; no bytes are the end of the input.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Read {
        match self {
            _ if chunk.is_empty() => Read::Closed(self.finish()),
            Self::Undecided { first, limit } => {
                first.extend_from_slice(chunk);
                let skipped = first.len() - DetectedProtocol::skip_empty_lines(first).len();
                first.drain(..skipped);
                let Some(protocol) = DetectedProtocol::detect(first) else { return Read::Messages(empty()) };
                let (first, limit) = (std::mem::take(first), *limit);
                *self = match protocol {
                    DetectedProtocol::Lines => Self::Lines(LineDecoder::new(limit)),
                    DetectedProtocol::Frames => Self::Frames(FrameDecoder::new(limit)),
                    DetectedProtocol::Http | DetectedProtocol::Tls => {
                        return Read::Other(protocol, first.into());
                    }
                };
                self.feed(&first)
            }
            Self::Lines(lines) => Read::Messages(lines.feed(chunk)),
            Self::Frames(frames) => Read::Messages(frames.feed(chunk)),
        }
    }

    fn finish(&mut self) -> MessageBatch {
        let rest = match self {
            Self::Undecided { first, limit } => {
                let (first, limit) = (std::mem::take(first), *limit);
                if !first.is_empty() {
                    *self = Self::Lines(LineDecoder::new(limit));
                }
                Bytes::from(first)
            }
            Self::Lines(lines) => lines.finish().unwrap_or_default(),
            // An incomplete frame is no message.
            Self::Frames(_) => Bytes::new(),
        };
        MessageBatch { bytes: rest, overflow: false }
    }

    /// The protocol; `None` while it is not detected.
    pub(super) fn detected(&self) -> Option<DetectedProtocol> {
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

    /// The framing of the messages of a batch.
    pub(super) fn framing(&self) -> Framing {
        match self {
            Self::Undecided { .. } | Self::Lines(_) => Framing::Lines,
            Self::Frames(_) => Framing::Frames,
        }
    }
}

fn empty() -> MessageBatch {
    MessageBatch { bytes: Bytes::new(), overflow: false }
}
