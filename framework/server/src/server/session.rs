//! One connection from its first byte to its last: what it speaks, who it is, and the requests it makes.

mod auth;
mod request_group;
mod verbs;
mod conversation;
mod decoder;
mod tls;
mod http;
mod idle;
mod read_buffer;
mod reject;
mod websocket;

use std::io;
use std::sync::Arc;

use framework_protocol::DetectedProtocol;
use framework_protocol::views::ListenAddress;
use tokio::sync::{mpsc, watch};

use self::conversation::{SessionStep, linger};
use super::access::Access;
use super::connection::Connection;
use super::connections::ConnectionRecord;
use super::control::Control;
use super::events::DynEvents;
use super::intake::Intake;
use super::listener::policy::ListenerPolicy;
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::scheduler::Scheduler;
use super::settings::ServerSettings;
use super::stream::Stream;
use super::subscriptions::Subscriptions;
use super::waiters::Waiters;

/// What all sessions share.
pub(super) struct SessionContext {
    pub(super) settings: ServerSettings,
    pub(super) events: Arc<dyn DynEvents>,
    pub(super) queue: Intake,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) addresses: Vec<ListenAddress>,
    pub(super) control: Control,
}

/// One connection, from its first byte to its last.
pub(super) struct Session {
    pub(super) context: Arc<SessionContext>,
    /// What others are told of it.
    pub(super) record: Arc<ConnectionRecord>,
    /// The rules of the listener that it came through.
    pub(super) policy: Arc<ListenerPolicy>,
    /// What it may do.
    pub(super) access: Access,
    pub(super) connection: Connection,
    pub(super) outbox: Arc<Outbox>,
    /// Becomes true when no more requests are to be read.
    pub(super) stop: watch::Receiver<bool>,
    /// Dropped once no request can come from here any more.
    pub(super) reading: Option<mpsc::Sender<()>>,
}

impl Session {
    pub(super) async fn run(mut self, stream: Stream) {
        self.context.events.connect(&self.connection).await;
        if let Err(error) = self.serve(stream).await {
            tracing::debug!("{:?}: {error}", self.connection);
        }
        self.reading = None;
        self.outbox.abandon();
        self.context.subscriptions.remove_connection(&self.outbox);
        self.context.events.close(&self.connection).await;
    }

    async fn serve(&mut self, mut stream: Stream) -> io::Result<()> {
        let mut known = None;
        loop {
            let turn = match self.access.is_unknown() {
                true => self.authenticate_first(&mut stream).await?,
                false => self.converse(&mut stream, known).await?,
            };
            match turn {
                SessionStep::Closed => {
                    if let Some(mut stream) = self.context.control.shutdown.keep_open(&self.outbox, stream) {
                        linger(&mut stream, false).await;
                    }
                    return Ok(());
                }
                SessionStep::ProtocolError => {
                    linger(&mut stream, true).await;
                    return Ok(());
                }
                SessionStep::Authenticated(opening, rest) => {
                    known = Some(opening);
                    stream = stream.again(rest);
                }
                SessionStep::ProtocolDetected(opening, first) => {
                    if !self.policy.accepts(opening, stream.is_encrypted()) {
                        return self.reject(stream, opening).await;
                    }
                    stream = stream.again(first);
                    match opening {
                        DetectedProtocol::Http => return self.serve_http(stream).await,
                        DetectedProtocol::Tls => match self.upgrade_tls(stream).await? {
                            Some(encrypted) => {
                                self.record.encrypts();
                                stream = encrypted;
                            }
                            None => return Ok(()),
                        },
                        DetectedProtocol::Lines | DetectedProtocol::Frames => return Ok(()),
                    }
                }
            }
        }
    }
}
