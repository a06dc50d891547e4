//! The state of one connection, which the protocols on it share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::server::access::Access;
use crate::server::access::policy::ListenerPolicy;
use crate::server::connection::Connection;
use crate::server::connections::ConnectionRecord;
use crate::server::context::SessionContext;
use crate::server::outbox::Outbox;
use crate::server::service::Caller;

/// The state of one connection.
pub(crate) struct Session {
    pub(crate) context: Arc<SessionContext>,
    /// Its entry in the registry of connections.
    pub(crate) record: Arc<ConnectionRecord>,
    /// The rules of the listener that it came through.
    pub(crate) policy: Arc<ListenerPolicy>,
    pub(crate) access: Access,
    /// The handle that callbacks get.
    pub(crate) connection: Connection,
    pub(crate) outbox: Arc<Outbox>,
    /// Becomes true when no more requests are to be read.
    pub(crate) stop: watch::Receiver<bool>,
    /// Dropped once no request can come from here any more.
    pub(crate) reading: Option<mpsc::Sender<()>>,
}

impl Session {
    pub(crate) fn new(
        context: Arc<SessionContext>,
        record: Arc<ConnectionRecord>,
        policy: Arc<ListenerPolicy>,
        stop: watch::Receiver<bool>,
        reading: mpsc::Sender<()>,
    ) -> Self {
        let is_child = record.peer.child().is_some();
        // A process of the server is sent whatever this has accepted.
        let limit = if is_child { usize::MAX } else { context.limits.max_output_buffer };
        let outbox = Arc::new(Outbox::new(limit));
        let intake = context.service.intake.clone();
        let connection = Connection::new(record.number, record.peer, intake, outbox.clone());
        record.hears_from(&outbox);
        let (access, reading) = (policy.access(), Some(reading));
        Self { context, record, policy, access, connection, outbox, stop, reading }
    }

    /// The silence after which the connection is closed; zero is never. A process of the server may take its
    /// time to begin.
    pub(crate) fn idle_time(&self) -> Duration {
        match self.record.peer.child() {
            Some(_) => Duration::ZERO,
            None => self.context.limits.heartbeat_idle_time,
        }
    }

    /// The client, as requests see it.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller {
            access: self.access,
            policy: &self.policy,
            peer: self.record.peer,
            outbox: &self.outbox,
            stop: &self.stop,
        }
    }
}
