//! One connection from its first byte to its last: what it speaks, who it is, and the requests it makes.

mod auth;
mod batch;
mod commands;
mod conversation;
mod decoder;
mod encryption;
mod http;
mod idle;
mod scratch;
mod unspoken;
mod websocket;

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use self::conversation::{Turn, linger};
use super::access::Access;
use super::audience::Audience;
use super::connection::Connection;
use super::door::Door;
use super::ending::Ending;
use super::events::AnyEvents;
use super::outbox::Outbox;
use super::queue::Queue;
use super::renewal::Renewal;
use super::roster::Guest;
use super::scheduler::Scheduler;
use super::settings::ServerSettings;
use super::status::{Address, Board};
use super::stream::Stream;
use super::waiters::Waiters;
use crate::protocol::Opening;

/// What all sessions share.
pub(super) struct Hall {
    pub(super) settings: ServerSettings,
    pub(super) events: Arc<dyn AnyEvents>,
    pub(super) queue: Queue,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) audience: Arc<Audience>,
    pub(super) board: Arc<Board>,
    pub(super) addresses: Vec<Address>,
    pub(super) ending: Arc<Ending>,
    pub(super) renewal: Arc<Renewal>,
}

/// One connection, from its first byte to its last.
pub(super) struct Session {
    pub(super) hall: Arc<Hall>,
    /// What others are told of it.
    pub(super) guest: Arc<Guest>,
    /// The rules of the listener that it came through.
    pub(super) door: Arc<Door>,
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
        self.hall.events.connect(&self.connection).await;
        if let Err(error) = self.serve(stream).await {
            tracing::debug!("{:?}: {error}", self.connection);
        }
        self.reading = None;
        self.outbox.abandon();
        self.hall.audience.leave(&self.outbox);
        self.hall.events.close(&self.connection).await;
    }

    async fn serve(&mut self, mut stream: Stream) -> io::Result<()> {
        let mut known = None;
        loop {
            let turn = match self.access.is_unknown() {
                true => self.greet(&mut stream).await?,
                false => self.converse(&mut stream, known).await?,
            };
            match turn {
                Turn::Over => {
                    if let Some(mut stream) = self.hall.ending.part(&self.outbox, stream) {
                        linger(&mut stream, false).await;
                    }
                    return Ok(());
                }
                Turn::Broken => {
                    linger(&mut stream, true).await;
                    return Ok(());
                }
                Turn::Welcome(opening, rest) => {
                    known = Some(opening);
                    stream = stream.again(rest);
                }
                Turn::Other(opening, first) => {
                    if !self.door.speaks(opening, stream.is_encrypted()) {
                        return self.decline(stream, opening).await;
                    }
                    stream = stream.again(first);
                    match opening {
                        Opening::Http => return self.serve_http(stream).await,
                        Opening::Tls => match self.encrypt(stream).await? {
                            Some(encrypted) => {
                                self.guest.encrypts();
                                stream = encrypted;
                            }
                            None => return Ok(()),
                        },
                        Opening::Lines | Opening::Frames => return Ok(()),
                    }
                }
            }
        }
    }
}
