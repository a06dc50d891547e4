//! Authentication by the first message, where a token is required.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::{
    AUTH, DetectedProtocol, ErrorCode, FrameDecoder, Framing, Message, ParseError, ReplyWriter, RequestError,
};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::state::Session;
use super::step::SessionStep;
use crate::server::access::Access;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::service::Outcome;
use crate::server::stream::Stream;
use crate::server::verbs;

/// The longest message that a client without a token may send, in bytes.
pub(crate) const LENGTH_MAX: usize = 4096;

/// A first message: a token, and the `id` to echo.
#[derive(Debug)]
struct TokenMessage<'a> {
    id: Option<&'a RawValue>,
    token: Cow<'a, str>,
}

/// A complete first message.
struct FirstMessage {
    protocol: DetectedProtocol,
    message: Bytes,
    /// The bytes that came after it.
    rest: Bytes,
}

/// The beginning of a connection, as far as it had to be read.
enum FirstRead {
    Message(FirstMessage),
    /// A protocol that has no messages of this kind.
    Other(DetectedProtocol, Bytes),
    TooLong(DetectedProtocol),
    Closed,
}

impl<'a> TokenMessage<'a> {
    /// Parses `{"command":"auth","token":".."}` or `auth SECRET`.
    ///
    /// # Errors
    /// `unauthorized` when the message is something else, `bad_request` when it is malformed.
    fn parse(message: &'a [u8]) -> Result<Self, ParseError<'a>> {
        match Message::parse(message)? {
            Message::Command(mut request) if request.command == AUTH => {
                let id = request.id;
                let token = verbs::token(&mut request).map_err(|refusal| ParseError { refusal, id })?;
                Ok(Self { id, token })
            }
            Message::Command(request) => Err(unauthorized(request.id)),
            Message::Task(request) => Err(unauthorized(request.id)),
            Message::Help | Message::Empty | Message::Data(_) => Err(unauthorized(None)),
        }
    }
}

fn unauthorized(id: Option<&RawValue>) -> ParseError<'_> {
    ParseError { refusal: Access::unauthorized(), id }
}

/// Reads the first message, which has to be a token, and replies to it.
pub(super) async fn authenticate_first(
    session: &mut Session,
    stream: &mut Stream,
) -> io::Result<SessionStep> {
    let mut stop = session.stop.clone();
    let limit = session.context.limits.auth_timeout;
    let first = tokio::select! {
        first = timeout(limit, read_first_message(stream)) => first,
        () = raised(&mut stop) => return Ok(SessionStep::Closed),
    };
    let (protocol, error, id) = match first {
        Err(_) => {
            session.context.metrics.limits.hit(Limit::AuthTimeout);
            (DetectedProtocol::Lines, too_late(limit), None)
        }
        Ok(first) => match first? {
            FirstRead::Closed => return Ok(SessionStep::Closed),
            FirstRead::Other(protocol, bytes) => return Ok(SessionStep::ProtocolDetected(protocol, bytes)),
            FirstRead::TooLong(protocol) => {
                session.context.metrics.limits.hit(Limit::PackageMaxLength);
                (protocol, too_long(), None)
            }
            FirstRead::Message(first) if !session.policy.accepts(first.protocol, stream.is_encrypted()) => {
                return Ok(SessionStep::ProtocolDetected(first.protocol, first.message));
            }
            FirstRead::Message(FirstMessage { protocol, message, rest }) => {
                match check_token(session, &message).await {
                    Ok(reply) => {
                        write(stream, protocol, &reply).await?;
                        return Ok(SessionStep::Authenticated(protocol, rest));
                    }
                    Err(ParseError { refusal, id }) => (protocol, refusal, id.map(RawValue::to_owned)),
                }
            }
        },
    };
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply).refused(id.as_deref().map(RawValue::get), &error);
    write(stream, protocol, &reply).await?;
    Ok(SessionStep::ProtocolError)
}

/// Gives the session the rights of the token in this message; returns the reply.
///
/// # Errors
/// `unauthorized`, `bad_request`.
pub(crate) async fn check_token<'a>(
    session: &mut Session,
    message: &'a [u8],
) -> Result<Vec<u8>, ParseError<'a>> {
    let TokenMessage { id, token } = TokenMessage::parse(message)?;
    let access = session.caller().authenticate(&token).await;
    session.access = access.map_err(|refusal| ParseError { refusal, id })?;
    let mut reply = Vec::new();
    let scopes = Outcome::Granted(session.access).into_result();
    ReplyWriter::new(&mut reply).ok(id.map(RawValue::get), &scopes);
    Ok(reply)
}

/// Reads until the first message is complete, or cannot become one.
async fn read_first_message(stream: &mut Stream) -> io::Result<FirstRead> {
    let mut first = Vec::with_capacity(512);
    loop {
        let skipped = first.len() - DetectedProtocol::skip_empty_lines(&first).len();
        first.drain(..skipped);
        let protocol = DetectedProtocol::detect(&first);
        let end = match protocol {
            Some(protocol @ (DetectedProtocol::Tls | DetectedProtocol::Http)) => {
                return Ok(FirstRead::Other(protocol, first.into()));
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
        if let (Some(protocol), Some(end)) = (protocol, end) {
            let mut message = Bytes::from(first);
            let rest = message.split_off(end);
            let message =
                Framing::of(protocol).messages(&message).next().map(|first| message.slice_ref(first));
            let message = message.unwrap_or_default();
            return Ok(FirstRead::Message(FirstMessage { protocol, message, rest }));
        }
        if first.len() > LENGTH_MAX {
            return Ok(FirstRead::TooLong(protocol.unwrap_or(DetectedProtocol::Lines)));
        }
        let room = (LENGTH_MAX + FrameDecoder::HEAD + 1 - first.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut first).await? == 0 {
            // A message without a line end counts too: its client may be waiting for the error.
            let is_message = !first.is_empty() && protocol != Some(DetectedProtocol::Frames);
            let last =
                FirstMessage { protocol: DetectedProtocol::Lines, message: first.into(), rest: Bytes::new() };
            return Ok(if is_message { FirstRead::Message(last) } else { FirstRead::Closed });
        }
    }
}

/// Writes a line as one message of the client's protocol.
async fn write(stream: &mut Stream, protocol: DetectedProtocol, line: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::new();
    Framing::of(protocol).write_lines(line, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn too_long() -> RequestError {
    RequestError::too_long(format!("Before a token was shown, a message may have {LENGTH_MAX} bytes."))
}

fn too_late(limit: Duration) -> RequestError {
    let message = format!("No token was shown within {limit:?} (auth_timeout).");
    RequestError::new(ErrorCode::Unauthorized, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_message_is_a_command_or_a_bare_line() {
        let token = |message: &str| {
            TokenMessage::parse(message.as_bytes())
                .map(|message| message.token.into_owned())
                .map_err(|error| error.refusal.code)
        };
        assert_eq!(token("{\"command\":\"auth\",\"token\":\"abc\",\"id\":1}"), Ok("abc".into()));
        assert_eq!(token("auth abc\r"), Ok("abc".into()));
        assert_eq!(token("auth \t abc "), Ok("abc".into()));
        assert_eq!(token(" AUTH abc"), Ok("abc".into()));
        for wrong in ["authabc", "hello", "?", "{\"command\":\"status\"}", "{\"function\":\"f\"}", "\u{ff}"] {
            assert_eq!(token(wrong), Err(ErrorCode::Unauthorized), "{wrong}");
        }
        for wrong in ["{\"command\":\"auth\"}", "{\"command\":\"auth\",\"token\":\"a\",\"tokn\":\"b\"}"] {
            assert_eq!(token(wrong), Err(ErrorCode::BadRequest), "{wrong}");
        }
    }
}
