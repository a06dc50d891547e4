//! Lets a client in that shows a token with its first message, and no other.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use framework_protocol::{
    CommandRequest, DetectedProtocol, ErrorCode, FrameDecoder, Message, ParseError, ReplyWriter, RequestError,
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Session;
use super::conversation::SessionStep;
use crate::server::access::{Access, Scope};
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::stream::Stream;

/// The command, and the word before a bare token.
pub(super) const AUTH: &str = "auth";
/// The longest message that a client without a token may send, in bytes.
const LENGTH_MAX: usize = 4096;

/// A token that a client shows, and the `id` to echo.
#[derive(Debug)]
pub(super) struct TokenMessage<'a> {
    pub(super) id: Option<&'a RawValue>,
    pub(super) token: Cow<'a, str>,
}

/// What the answer to a valid token holds.
#[derive(Serialize)]
pub(super) struct GrantedScopes {
    scopes: Vec<Scope>,
}

/// The first message of a client.
struct FirstMessage {
    opening: DetectedProtocol,
    message: Bytes,
    /// What came beyond it.
    rest: Bytes,
}

/// What a client begins with that has to show a token.
enum FirstRead {
    Message(FirstMessage),
    /// No message, but something else.
    Other(DetectedProtocol, Bytes),
    TooLong(DetectedProtocol),
    Closed,
}

impl<'a> TokenMessage<'a> {
    /// Reads `{"command":"auth","token":".."}` or `auth SECRET`.
    ///
    /// # Errors
    /// `unauthorized` when the message is something else, `bad_request` when it is not complete.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, ParseError<'a>> {
        match Message::parse(message)? {
            Message::Command(request) if request.command == AUTH => Self::of_command(request),
            Message::Data(data) => match bare(data) {
                Some(token) => Ok(Self { id: None, token: token.into() }),
                None => Err(unknown(None)),
            },
            Message::Command(request) => Err(unknown(request.id)),
            Message::Task(request) => Err(unknown(request.id)),
            Message::Help => Err(unknown(None)),
        }
    }

    /// Takes the token out of the command "auth".
    ///
    /// # Errors
    /// When there is none, or anything else beside it.
    pub(super) fn of_command(mut request: CommandRequest<'a>) -> Result<Self, ParseError<'a>> {
        let id = request.id;
        let token = request.need("token", "a string");
        let read = token.and_then(|token| request.only(&[]).map(|()| Self { id, token }));
        read.map_err(|refusal| ParseError { refusal, id })
    }
}

/// The token of a line `auth SECRET`.
pub(super) fn bare(data: &[u8]) -> Option<&str> {
    let token = std::str::from_utf8(data).ok()?.trim().strip_prefix(AUTH)?;
    token.starts_with([' ', '\t']).then(|| token.trim_start())
}

fn unknown(id: Option<&RawValue>) -> ParseError<'_> {
    let refusal = Access::Unknown.check(Scope::Send).err();
    let refusal = refusal.unwrap_or_else(|| RequestError::new(ErrorCode::Unauthorized, "Who are you?"));
    ParseError { refusal, id }
}

impl GrantedScopes {
    pub(super) fn of(access: Access) -> Self {
        Self { scopes: access.scopes() }
    }
}

impl Session {
    /// What a client may do who names this token; the answer to a wrong one takes its time.
    ///
    /// # Errors
    /// `unauthorized`.
    pub(super) async fn admit(&self, token: &str) -> Result<Access, RequestError> {
        let mut stop = self.stop.clone();
        let peer = self.connection.address();
        tokio::select! {
            biased;
            admitted = self.policy.authenticate(&peer, token) => admitted,
            () = raised(&mut stop) => Err(RequestError::new(ErrorCode::ShuttingDown, "The server is shutting down.")),
        }
    }

    /// Hears the first message, which has to be a token, and answers it.
    pub(super) async fn authenticate_first(&mut self, stream: &mut Stream) -> io::Result<SessionStep> {
        let mut stop = self.stop.clone();
        let limit = self.context.settings.auth_timeout;
        let begun = tokio::select! {
            begun = timeout(limit, begin(stream)) => begun,
            () = raised(&mut stop) => return Ok(SessionStep::Closed),
        };
        let (opening, refusal, id) = match begun {
            Ok(begun) => match begun? {
                FirstRead::Closed => return Ok(SessionStep::Closed),
                FirstRead::Other(opening, bytes) => return Ok(SessionStep::ProtocolDetected(opening, bytes)),
                FirstRead::TooLong(opening) => {
                    self.context.metrics.limits.hit(Limit::PackageMaxLength);
                    (opening, too_long(), None)
                }
                FirstRead::Message(first) if !self.policy.accepts(first.opening, stream.is_encrypted()) => {
                    return Ok(SessionStep::ProtocolDetected(first.opening, first.message));
                }
                FirstRead::Message(FirstMessage { opening, message, rest }) => {
                    match self.check_token(&message).await {
                        Ok((id, access)) => {
                            self.access = access;
                            let id = id.map(RawValue::get);
                            answer(stream, opening, |reply| reply.ok(id, &GrantedScopes::of(access))).await?;
                            return Ok(SessionStep::Authenticated(opening, rest));
                        }
                        Err(ParseError { refusal, id }) => (opening, refusal, id.map(RawValue::to_owned)),
                    }
                }
            },
            Err(_) => {
                self.context.metrics.limits.hit(Limit::AuthTimeout);
                (DetectedProtocol::Lines, too_late(limit), None)
            }
        };
        let id = id.as_deref().map(RawValue::get);
        answer(stream, opening, |reply| reply.refused(id, &refusal)).await?;
        Ok(SessionStep::ProtocolError)
    }

    /// What a client may do that sends this first, and the `id` to echo.
    ///
    /// # Errors
    /// `unauthorized`, `bad_request`.
    pub(super) async fn check_token<'a>(
        &self,
        message: &'a [u8],
    ) -> Result<(Option<&'a RawValue>, Access), ParseError<'a>> {
        let TokenMessage { id, token } = TokenMessage::read(message)?;
        let admitted = self.admit(&token).await;
        admitted.map(|access| (id, access)).map_err(|refusal| ParseError { refusal, id })
    }
}

/// Reads until the first message is complete, or cannot become one.
async fn begin(stream: &mut Stream) -> io::Result<FirstRead> {
    let mut first = Vec::with_capacity(512);
    loop {
        let opening = DetectedProtocol::detect(&first);
        let end = match opening {
            Some(opening @ (DetectedProtocol::Tls | DetectedProtocol::Http)) => {
                return Ok(FirstRead::Other(opening, first.into()));
            }
            Some(DetectedProtocol::Lines) => memchr::memchr(b'\n', &first).map(|end| end + 1),
            Some(DetectedProtocol::Frames) => {
                let mut frames = FrameDecoder::new(LENGTH_MAX);
                let complete = frames.feed(&first).bytes;
                if frames.broken().is_some() {
                    return Ok(FirstRead::TooLong(DetectedProtocol::Frames));
                }
                FrameDecoder::messages(&complete).next().map(|message| message.len() + FrameDecoder::HEAD)
            }
            None => None,
        };
        if let (Some(opening), Some(end)) = (opening, end) {
            let mut message = Bytes::from(first);
            let rest = message.split_off(end);
            let head = if opening == DetectedProtocol::Frames { FrameDecoder::HEAD } else { 0 };
            return Ok(FirstRead::Message(FirstMessage { opening, message: message.slice(head..), rest }));
        }
        if first.len() > LENGTH_MAX {
            return Ok(FirstRead::TooLong(opening.unwrap_or(DetectedProtocol::Lines)));
        }
        let room = (LENGTH_MAX + FrameDecoder::HEAD + 1 - first.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut first).await? == 0 {
            // What has no line end is a message, too: its client may be waiting to be told what is wrong.
            let is_message = !first.is_empty() && opening != Some(DetectedProtocol::Frames);
            let last =
                FirstMessage { opening: DetectedProtocol::Lines, message: first.into(), rest: Bytes::new() };
            return Ok(if is_message { FirstRead::Message(last) } else { FirstRead::Closed });
        }
    }
}

/// Writes one message in the form in which the client speaks.
async fn answer(
    stream: &mut Stream,
    opening: DetectedProtocol,
    write: impl FnOnce(ReplyWriter),
) -> io::Result<()> {
    let mut line = Vec::new();
    write(ReplyWriter::new(&mut line));
    if opening == DetectedProtocol::Frames {
        let mut frame = Vec::new();
        FrameDecoder::write(line.trim_ascii_end(), &mut frame);
        line = frame;
    }
    stream.write_all(&line).await?;
    stream.flush().await
}

fn too_long() -> RequestError {
    let message = format!("Before a token was shown, a message may have {LENGTH_MAX} bytes.");
    RequestError::new(ErrorCode::TooLong, message)
}

fn too_late(limit: std::time::Duration) -> RequestError {
    let message = format!("No token was shown within {limit:?} (auth_timeout).");
    RequestError::new(ErrorCode::Unauthorized, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_as_a_command_or_as_a_bare_line() {
        let token = |message: &str| {
            TokenMessage::read(message.as_bytes())
                .map(|shown| shown.token.into_owned())
                .map_err(|no| no.refusal.code)
        };
        assert_eq!(token("{\"command\":\"auth\",\"token\":\"abc\",\"id\":1}"), Ok("abc".into()));
        assert_eq!(token("auth abc\r"), Ok("abc".into()));
        assert_eq!(token("auth \t abc "), Ok("abc".into()));
        for wrong in [
            "authabc",
            "AUTH abc",
            "hello",
            "?",
            "{\"command\":\"status\"}",
            "{\"function\":\"f\"}",
            "\u{ff}",
        ] {
            assert_eq!(token(wrong), Err(ErrorCode::Unauthorized), "{wrong}");
        }
        for wrong in ["{\"command\":\"auth\"}", "{\"command\":\"auth\",\"token\":\"a\",\"tokn\":\"b\"}"] {
            assert_eq!(token(wrong), Err(ErrorCode::BadRequest), "{wrong}");
        }
    }
}
