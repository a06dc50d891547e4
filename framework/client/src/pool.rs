//! A few lines to a server, and who gets which.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use framework_protocol::task::TaskId;

use crate::channel::{Channel, OutgoingRequest};
use crate::connection::{Connection, Connector};
use crate::driver::Driver;
use crate::error::Result;
use crate::in_flight::{ChannelEvent, RequestKind};
use crate::settings::ClientSettings;

/// A line takes so many requests before another one is opened: those of one line leave in one write.
const STEP: usize = 64;

/// What all clones of a client share.
pub(crate) struct Pool {
    pub(crate) settings: ClientSettings,
    pub(crate) connector: Arc<Connector>,
    lines: Vec<Arc<Channel>>,
    /// The `id` of the next request.
    next: AtomicU64,
    /// What the keys of this client begin with.
    name: u128,
}

impl Pool {
    /// # Errors
    /// When the settings make no sense.
    pub(crate) fn new(settings: ClientSettings) -> Result<Self> {
        let connector = Arc::new(Connector::new(&settings)?);
        let lines =
            (0..settings.connections).map(|_| Arc::new(Channel::new(&settings, &connector))).collect();
        // Two hashers that the system's random numbers went into.
        let random = || u128::from(RandomState::new().build_hasher().finish());
        Ok(Self { settings, connector, lines, next: AtomicU64::new(1), name: random() << 64 | random() })
    }

    /// The `id` of a new request.
    pub(crate) fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A key that no other task has.
    pub(crate) fn key(&self, id: u64) -> String {
        format!("client-{:032x}-{id}", self.name)
    }

    /// The line that has the least to do, of those to `home` if there is one.
    pub(crate) fn channel(&self, home: Option<usize>) -> Arc<Channel> {
        let is_elsewhere = |line: &Channel| home.is_some() && line.at() != home;
        let best = self.lines.iter().min_by_key(|line| (is_elsewhere(line), line.load() / STEP));
        best.expect("there is at least one line").clone()
    }

    /// Sends a request.
    pub(crate) async fn send(self: &Arc<Self>, order: OutgoingRequest) -> PendingRequest {
        let line = self.channel(order.home);
        self.send_on(line, order).await
    }

    pub(crate) async fn send_on(
        self: &Arc<Self>,
        line: Arc<Channel>,
        order: OutgoingRequest,
    ) -> PendingRequest {
        let id = order.id;
        let driver = || Driver::new(line.clone(), self.connector.clone(), &self.settings);
        line.send(order, || tokio::spawn(driver().run())).await;
        PendingRequest { pool: self.clone(), line, id }
    }

    /// Asks for the end of a task, or for all that becomes of it.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        task: TaskId,
        kind: RequestKind,
        home: Option<usize>,
    ) -> PendingRequest {
        self.send(OutgoingRequest::watch(self.id(), task, kind, home)).await
    }

    /// Makes sure that there is a connection.
    ///
    /// # Errors
    /// When no server can be reached.
    pub(crate) async fn open(&self) -> Result<()> {
        let line = &self.lines[0];
        if line.at().is_none() {
            line.keep_spare(self.connect().await?);
        }
        Ok(())
    }

    /// A connection for somebody's own use.
    ///
    /// # Errors
    /// When no server can be reached.
    pub(crate) async fn dedicated(&self) -> Result<Connection> {
        match self.lines[0].take_spare() {
            Some(spare) => {
                self.lines[0].forget();
                Ok(spare)
            }
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Connection> {
        self.connector.open().await.map_err(|unreachable| unreachable.error)
    }

    pub(crate) fn length(&self) -> usize {
        self.lines.iter().map(|line| line.length()).sum()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.lines.iter().for_each(|line| line.stop());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Pool").field("address", &self.connector.current()).finish_non_exhaustive()
    }
}

/// A request that was sent. Dropping it forgets the request; what is answered then is thrown away.
pub(crate) struct PendingRequest {
    pool: Arc<Pool>,
    line: Arc<Channel>,
    id: u64,
}

impl PendingRequest {
    /// Waits for what comes next; nothing is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> ChannelEvent {
        self.line.next(self.id).await
    }

    /// The only address whose server knows of the task.
    pub(crate) fn home(&self) -> Option<usize> {
        self.line.pinned_address(self.id)
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.line.abandon(self.id);
    }
}

impl fmt::Debug for PendingRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "request {}", self.id)
    }
}
