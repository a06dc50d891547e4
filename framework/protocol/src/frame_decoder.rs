//! Length framing (Workerman's Frame): four bytes, big-endian, with the length of the frame, themselves
//! included.

use bytes::Bytes;

use crate::error::RequestError;
use crate::line_decoder::MessageBatch;

/// The number of bytes that the length takes.
const HEAD: usize = 4;

/// Cuts a stream of bytes into frames, in whatever pieces it arrives.
///
/// Holds only the beginning of an unfinished frame, as far as it has arrived. After an impossible length the
/// rest of the stream cannot be decoded any more: [`FrameDecoder::broken`] has the reason.
#[derive(Debug)]
pub struct FrameDecoder {
    limit: usize,
    partial: Vec<u8>,
    broken: Option<RequestError>,
}

impl FrameDecoder {
    /// The number of bytes that the length takes.
    pub const HEAD: usize = HEAD;

    /// `limit`: the longest message in bytes, its length not counted.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), broken: None }
    }

    /// Takes the bytes of one read and returns the frames that are complete now, each with its length.
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

    /// The reason why nothing can be decoded any more, if that is so.
    pub fn broken(&self) -> Option<&RequestError> {
        self.broken.as_ref()
    }

    /// The messages in the bytes of a batch.
    pub fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let length = length(rest)?;
            let message = rest.get(HEAD..length)?;
            rest = &rest[length..];
            Some(message)
        })
    }

    /// Appends a message as a frame; `false` when it is too long for one.
    pub fn write(message: &[u8], bytes: &mut Vec<u8>) -> bool {
        let Ok(length) = u32::try_from(message.len() + HEAD) else { return false };
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message);
        true
    }

    /// The end of the last complete frame; notes an impossible length.
    fn complete(&mut self, bytes: &[u8]) -> usize {
        let mut end = 0;
        while self.broken.is_none() {
            let Some(length) = length(&bytes[end..]) else { break };
            if length < HEAD {
                let message =
                    format!("A frame says it is {length} bytes long, but its length alone takes {HEAD}.");
                self.broken = Some(RequestError::bad_request(message));
            } else if length - HEAD > self.limit {
                let message = format!(
                    "The frame announces a message of {} bytes, and the longest is {} (package_max_length).",
                    length - HEAD,
                    self.limit
                );
                self.broken = Some(RequestError::too_long(message));
            } else if bytes.len() - end >= length {
                end += length;
            } else {
                break;
            }
        }
        end
    }
}

/// The length of the next frame; `None` while it has not arrived.
fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<HEAD>()?;
    Some(u32::from_be_bytes(*head) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

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
    fn feed_gives_the_same_frames_wherever_the_stream_is_split() {
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
    fn feed_stops_at_an_impossible_length_after_the_frames_before_it() {
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
