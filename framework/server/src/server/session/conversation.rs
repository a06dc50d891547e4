//! Talks in messages, whatever carries them: reads, has requests pushed, and writes the answers in their order.

mod flow;
mod linger;
mod stream;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use framework_protocol::views::Protocol;
use framework_protocol::{DetectedProtocol, RequestError};
use futures_util::stream::StreamExt;

use self::flow::MessageLoop;
pub(super) use self::linger::linger;
use self::stream::StreamTransport;
use super::Session;
use super::decoder::{Framing, Read};
use super::idle::Idle;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::stream::Stream;

/// How a conversation came to its end.
pub(super) enum SessionStep {
    /// The peer has closed and has its answers, or nothing more is to be read.
    Closed,
    /// What comes cannot be understood or is not let in, which the peer has been told.
    ProtocolError,
    /// It has shown its token in this protocol; what came beyond that.
    Authenticated(DetectedProtocol, Bytes),
    /// It begins with something that is no conversation of lines or frames.
    ProtocolDetected(DetectedProtocol, Bytes),
}

/// What carries the messages of a conversation.
pub(super) trait MessageTransport {
    /// Reads once.
    fn poll_read(&mut self, context: &mut Context) -> Poll<io::Result<Read>>;

    /// Writes on; ready when all is written.
    fn poll_write(&mut self, context: &mut Context) -> Poll<io::Result<()>>;

    /// Where the next messages go, in the form of the outbox, as soon as those before are written.
    fn output(&mut self) -> &mut Vec<u8>;

    /// How many bytes are still to be written.
    fn left(&self) -> usize;

    /// Whether something is still to be written, if only from some buffer within.
    fn has_output(&self) -> bool;

    /// How the messages of a page are told apart.
    fn form(&self) -> Framing;

    /// What the first bytes announced, if the door is still to be asked about that.
    fn opening(&self) -> Option<DetectedProtocol> {
        None
    }

    /// Whether nobody on the way can read along.
    fn is_encrypted(&self) -> bool {
        false
    }

    /// Why nothing more can be read, if that is so.
    fn broken(&self) -> Option<&RequestError> {
        None
    }

    /// Whether [`MessageTransport::poll_watch`] is to be asked.
    fn is_watched(&self) -> bool {
        false
    }

    /// Looks whether the peer is still there, which `listens` says that it could show; ready when it is not.
    fn poll_watch(&mut self, _listens: bool, _context: &mut Context) -> Poll<io::Error> {
        Poll::Pending
    }

    /// Reads once if it is wanted, or writes on; what was read, or `None` when all is written.
    fn turn(&mut self, wants_input: bool, context: &mut Context) -> Poll<io::Result<Option<Read>>> {
        if wants_input {
            if let Poll::Ready(read) = self.poll_read(context) {
                return Poll::Ready(read.map(Some));
            }
        }
        if let Poll::Ready(gone) = self.poll_watch(wants_input, context) {
            return Poll::Ready(Err(gone));
        }
        match self.has_output() {
            true => self.poll_write(context).map_ok(|()| None),
            false => Poll::Pending,
        }
    }
}

impl Session {
    /// Reads and answers lines or frames, whichever is `known` or told by the first bytes, until the peer has closed
    /// and has its answers, or cannot be served.
    pub(super) async fn converse(
        &mut self,
        stream: &mut Stream,
        known: Option<DetectedProtocol>,
    ) -> io::Result<SessionStep> {
        match known {
            Some(DetectedProtocol::Frames) => {
                self.record.speaks(Protocol::Frames);
                self.outbox.frame();
            }
            Some(_) => self.record.speaks(Protocol::Lines),
            None => {}
        }
        self.converse_over(&mut StreamTransport::new(stream, known, self.context.settings.package_max_length))
            .await
    }

    pub(super) async fn converse_over<P: MessageTransport>(
        &mut self,
        pipe: &mut P,
    ) -> io::Result<SessionStep> {
        let mut reading = self.reading.take();
        let mut stop = self.stop.clone();
        // One future for all rounds, which enlists only once.
        let mut stopped = pin!(raised(&mut stop));
        let mut idle = Idle::new(self.context.settings.heartbeat_idle_time);
        let mut end = SessionStep::Closed;
        let mut flow = MessageLoop::new(self, pipe);
        loop {
            flow.flush().await?;
            if reading.is_none() && flow.is_done() {
                return Ok(end);
            }
            let wants_input = reading.is_some() && flow.wants_input();
            tokio::select! {
                biased;
                read = poll_fn(|context| flow.pipe.turn(wants_input, context)),
                    if wants_input || flow.pipe.has_output() || flow.pipe.is_watched() => {
                    let Some(read) = read? else { continue };
                    idle.touch();
                    let (page, is_last) = match read {
                        Read::Page(page) => (page, false),
                        Read::Closed(page) => (page, true),
                        Read::Gone(page) => {
                            flow.process(page).await?;
                            flow.poll_callbacks().await?;
                            flow.flush().await?;
                            return Ok(end);
                        }
                        Read::Other(opening, first) => {
                            drop(flow);
                            self.reading = reading;
                            return Ok(SessionStep::ProtocolDetected(opening, first));
                        }
                    };
                    let goes_on = flow.process(page).await?;
                    if !goes_on {
                        end = SessionStep::ProtocolError;
                    }
                    if is_last || !goes_on {
                        flow.poll_callbacks().await?;
                        reading = None;
                    }
                }
                () = self.outbox.changed() => idle.touch(),
                Some(()) = flow.receiving.next(), if !flow.receiving.is_empty() => {}
                () = &mut stopped, if reading.is_some() => {
                    flow.poll_callbacks().await?;
                    reading = None;
                }
                () = idle.over(), if flow.is_done() => {
                    self.context.metrics.limits.hit(Limit::HeartbeatIdleTime);
                    return Ok(SessionStep::Closed);
                }
            }
        }
    }
}
