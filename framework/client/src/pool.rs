//! The channels of a client, and the choice of one for each request.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use framework_protocol::Reply;
use framework_protocol::task::TaskId;

use crate::channel::driver::Driver;
use crate::channel::{Channel, ChannelEvent, OutgoingRequest, RequestKind};
use crate::connection::Connection;
use crate::connector::Connector;
use crate::error::Result;
use crate::settings::ClientSettings;

/// The number of permits that are taken of a channel before another one is preferred: the requests of one
/// channel leave in one write.
const STEP: usize = 64;

/// The state that all clones of a client share.
pub(crate) struct Pool {
    pub(crate) settings: ClientSettings,
    pub(crate) connector: Arc<Connector>,
    channels: Vec<Arc<Channel>>,
    /// The `id` of the next request.
    next_id: AtomicU64,
    /// The random part of this client's idempotency keys.
    key_prefix: u128,
}

impl Pool {
    /// # Errors
    /// When the settings are invalid.
    pub(crate) fn new(settings: ClientSettings) -> Result<Self> {
        let connector = Arc::new(Connector::new(&settings)?);
        let is_pinned = connector.names().len() > 1 && !settings.shared_store;
        let channel = |_| Arc::new(Channel::new(&settings, is_pinned));
        let channels = (0..settings.connections).map(channel).collect();
        // Two keys of the system's random numbers: two clients of one prefix would lose tasks, and fastrand
        // has 64 bits of state.
        let random = || u128::from(RandomState::new().build_hasher().finish());
        let key_prefix = random() << 64 | random();
        Ok(Self { settings, connector, channels, next_id: AtomicU64::new(1), key_prefix })
    }

    /// The `id` of a new request.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// An idempotency key that no other task has.
    pub(crate) fn key(&self, id: u64) -> String {
        format!("client-{:032x}-{id}", self.key_prefix)
    }

    /// The least loaded channel, of those to `pinned_address` if there is one.
    pub(crate) fn channel(&self, pinned_address: Option<usize>) -> Arc<Channel> {
        let is_elsewhere = |channel: &Channel| pinned_address.is_some() && channel.at() != pinned_address;
        let best = self.channels.iter().min_by_key(|channel| (is_elsewhere(channel), channel.load() / STEP));
        best.expect("a pool has at least one channel").clone()
    }

    /// Queues a request, once there is room for it.
    pub(crate) async fn send(self: &Arc<Self>, request: OutgoingRequest) -> PendingRequest {
        let channel = self.channel(request.pinned_address);
        self.send_on(channel, request).await
    }

    /// Queues a request on this channel, once there is room for it.
    pub(crate) async fn send_on(
        self: &Arc<Self>,
        channel: Arc<Channel>,
        request: OutgoingRequest,
    ) -> PendingRequest {
        let id = request.id;
        let driver = || Driver::new(channel.clone(), self.connector.clone(), self.settings.reply_timeout);
        channel.send(request, || tokio::spawn(driver().run())).await;
        PendingRequest { pool: self.clone(), channel, id }
    }

    /// Waits for the end of a task, or for all its events.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        task: TaskId,
        kind: RequestKind,
        pinned_address: Option<usize>,
    ) -> PendingRequest {
        self.send(OutgoingRequest::watch_task(self.next_id(), task, kind, pinned_address)).await
    }

    /// Makes sure that there is a connection.
    ///
    /// # Errors
    /// When no server can be reached.
    pub(crate) async fn open(&self) -> Result<()> {
        if self.channels[0].at().is_some() { Ok(()) } else { self.connector.prepare().await }
    }

    /// A connection for a single caller.
    ///
    /// # Errors
    /// When no server can be reached.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        self.connector.connect().await.map_err(|unreachable| unreachable.error)
    }

    /// The number of requests.
    pub(crate) fn len(&self) -> usize {
        self.channels.iter().map(|channel| channel.len()).sum()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.channels.iter().for_each(|channel| channel.stop());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Pool").field("address", &self.connector.current()).finish_non_exhaustive()
    }
}

/// A request that was queued. Dropping it abandons the request: its replies are thrown away.
pub(crate) struct PendingRequest {
    pool: Arc<Pool>,
    channel: Arc<Channel>,
    id: u64,
}

impl PendingRequest {
    /// Waits for the next event; nothing is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> ChannelEvent {
        self.channel.next(self.id).await
    }

    /// Waits for the next reply; nothing is lost when this is dropped.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn reply(&mut self) -> Result<Reply> {
        match self.next().await {
            ChannelEvent::Reply(reply) => Ok(reply),
            ChannelEvent::Disconnected(error) | ChannelEvent::Failed(error) => Err(error),
        }
    }

    /// The index of the only address whose server knows the task.
    pub(crate) fn pinned_address(&self) -> Option<usize> {
        self.channel.pinned_address(self.id)
    }

    /// The address that is preferred at present, for errors.
    pub(crate) fn address(&self) -> &str {
        self.pool.connector.current()
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.channel.abandon(self.id);
    }
}

impl fmt::Debug for PendingRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "request {}", self.id)
    }
}
