//! Length framing (Workerman's Frame): four bytes, big-endian, say how long message and length are together.

use bytes::Bytes;

use crate::error::{ErrorCode, RequestError};
use crate::line_decoder::MessageBatch;

/// How many bytes the length takes.
const HEAD: usize = 4;

/// Cuts a stream of bytes into frames, however they arrive.
///
/// Holds only the beginning of an unfinished frame, as far as it has arrived. After a length that cannot be, nothing
/// that follows can be told apart any more: [`FrameDecoder::broken`] says why.
#[derive(Debug)]
pub struct FrameDecoder {
    limit: usize,
    partial: Vec<u8>,
    broken: Option<RequestError>,
}

impl FrameDecoder {
    /// How many bytes the length takes.
    pub const HEAD: usize = HEAD;

    /// `limit`: the longest message in bytes, its length not counted.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), broken: None }
    }

    /// Takes what one read brought and gives back the frames that are complete now, each with its length.
    pub fn feed(&mut self, chunk: &[u8]) -> MessageBatch {
        let mut bytes = Bytes::new();
        if self.partial.is_empty() {
            let end = self.complete(chunk);
            bytes = Bytes::copy_from_slice(&chunk[..end]);
            self.partial.extend_from_slice(&chunk[end..]);
        } else {
            self.partial.extend_from_slice(chunk);
            let mut rest = std::mem::take(&mut self.partial);
            let end = self.complete(&rest);
            if end > 0 {
                let tail = rest.split_off(end);
                bytes = Bytes::from(std::mem::replace(&mut rest, tail));
            }
            self.partial = rest;
        }
        if self.broken.is_some() {
            self.partial = Vec::new();
        }
        MessageBatch { bytes, overflow: false }
    }

    /// Why nothing can be read any more, if that is so.
    pub fn broken(&self) -> Option<&RequestError> {
        self.broken.as_ref()
    }

    /// The messages of a page.
    pub fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let length = length(rest)?;
            let message = rest.get(HEAD..length)?;
            rest = &rest[length..];
            Some(message)
        })
    }

    /// Appends a message as a frame; `false` when it is too long for any.
    pub fn write(message: &[u8], bytes: &mut Vec<u8>) -> bool {
        let Ok(length) = u32::try_from(message.len() + HEAD) else { return false };
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message);
        true
    }

    /// Where the last complete frame ends; notes a length that cannot be.
    fn complete(&mut self, bytes: &[u8]) -> usize {
        let mut end = 0;
        while self.broken.is_none() {
            let Some(length) = length(&bytes[end..]) else { break };
            if length < HEAD {
                let message =
                    format!("A frame says it is {length} bytes long, but its length alone takes {HEAD}.");
                self.broken = Some(RequestError::new(ErrorCode::BadRequest, message));
            } else if length - HEAD > self.limit {
                let message = format!(
                    "The frame announces a message of {} bytes, and the longest is {} (package_max_length).",
                    length - HEAD,
                    self.limit
                );
                self.broken = Some(RequestError::new(ErrorCode::TooLong, message));
            } else if bytes.len() - end >= length {
                end += length;
            } else {
                break;
            }
        }
        end
    }
}

/// What the next frame says of its length; `None` while that has not arrived.
fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<HEAD>()?;
    Some(u32::from_be_bytes(*head) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| assert!(FrameDecoder::write(message.as_bytes(), &mut bytes)));
        bytes
    }

    fn texts(page: &MessageBatch) -> Vec<String> {
        FrameDecoder::messages(&page.bytes)
            .map(|message| String::from_utf8_lossy(message).into_owned())
            .collect()
    }

    #[test]
    fn a_stream_split_anywhere_gives_the_same_frames() {
        let stream = framed(&["hello", "", "two\nlines"]);
        for cut in 0..=stream.len() {
            let mut frames = FrameDecoder::new(9);
            let mut found = texts(&frames.feed(&stream[..cut]));
            found.extend(texts(&frames.feed(&stream[cut..])));
            assert_eq!(found, ["hello", "", "two\nlines"], "cut at {cut}");
            assert_eq!(frames.broken(), None);
        }
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_reading_after_the_frames_before_it() {
        for (length, code) in
            [(0_u32, ErrorCode::BadRequest), (3, ErrorCode::BadRequest), (4 + 6, ErrorCode::TooLong)]
        {
            let mut frames = FrameDecoder::new(5);
            let stream = [framed(&["a"]), length.to_be_bytes().to_vec(), vec![b'x'; 100]].concat();
            assert_eq!(texts(&frames.feed(&stream)), ["a"]);
            assert_eq!(frames.broken().map(|refusal| refusal.code), Some(code), "{length}");
            assert_eq!(texts(&frames.feed(&framed(&["b"]))), [""; 0]);
            assert_eq!(frames.partial.capacity(), 0);
        }
    }
}
