//! Turns the bytes of one connection into pages of messages, once their beginning tells how.

use bytes::Bytes;

use crate::protocol::{Frames, Lines, Opening, Page, Refusal};

/// How the messages of a connection are told apart.
#[derive(Debug)]
pub(super) enum Decoder {
    /// Not known until more has come; what has come so far.
    Undecided {
        first: Vec<u8>,
        limit: usize,
    },
    Lines(Lines),
    Frames(Frames),
}

/// What one read came to.
#[derive(Debug)]
pub(super) enum Read {
    /// Messages, perhaps none yet.
    Page(Page),
    /// The beginning of something else, all that has come of it.
    Other(Opening, Bytes),
    /// The peer has closed; what was left is a message too.
    Closed(Page),
    /// The peer hears nothing any more; these messages were its last.
    Gone(Page),
}

/// How the messages of a page are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Frames,
}

impl Form {
    /// The messages of a page.
    pub(super) fn messages(self, page: &Bytes) -> impl Iterator<Item = &[u8]> {
        let (lines, frames) = match self {
            Self::Lines => (Some(Page::lines(page)), None),
            Self::Frames => (None, Some(Frames::messages(page))),
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
    pub(super) fn knowing(opening: Option<Opening>, limit: usize) -> Self {
        match opening {
            Some(Opening::Lines) => Self::Lines(Lines::new(limit)),
            Some(Opening::Frames) => Self::Frames(Frames::new(limit)),
            Some(Opening::Http | Opening::Tls) | None => Self::new(limit),
        }
    }

    /// Takes what one read brought; nothing is the end.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Read {
        match self {
            _ if chunk.is_empty() => Read::Closed(self.finish()),
            Self::Undecided { first, limit } => {
                first.extend_from_slice(chunk);
                let Some(opening) = Opening::told_by(first) else { return Read::Page(empty()) };
                let (first, limit) = (std::mem::take(first), *limit);
                *self = match opening {
                    Opening::Lines => Self::Lines(Lines::new(limit)),
                    Opening::Frames => Self::Frames(Frames::new(limit)),
                    Opening::Http | Opening::Tls => return Read::Other(opening, first.into()),
                };
                self.feed(&first)
            }
            Self::Lines(lines) => Read::Page(lines.feed(chunk)),
            Self::Frames(frames) => Read::Page(frames.feed(chunk)),
        }
    }

    fn finish(&mut self) -> Page {
        let rest = match self {
            Self::Undecided { first, .. } => Bytes::from(std::mem::take(first)),
            Self::Lines(lines) => lines.finish().unwrap_or_default(),
            // Half a frame is no message.
            Self::Frames(_) => Bytes::new(),
        };
        Page { bytes: rest, overflow: false }
    }

    /// What is spoken; `None` while that is not known.
    pub(super) fn opening(&self) -> Option<Opening> {
        match self {
            Self::Undecided { .. } => None,
            Self::Lines(_) => Some(Opening::Lines),
            Self::Frames(_) => Some(Opening::Frames),
        }
    }

    /// Why nothing more can be read, if that is so.
    pub(super) fn broken(&self) -> Option<&Refusal> {
        match self {
            Self::Frames(frames) => frames.broken(),
            Self::Undecided { .. } | Self::Lines(_) => None,
        }
    }

    /// How the messages of a page are told apart.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Undecided { .. } | Self::Lines(_) => Form::Lines,
            Self::Frames(_) => Form::Frames,
        }
    }
}

fn empty() -> Page {
    Page { bytes: Bytes::new(), overflow: false }
}
