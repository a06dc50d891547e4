//! The client of a task server; the other files add its methods by subject.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::pool::Pool;
use crate::settings::ClientSettings;

/// A few connections to a server, for any number of callers. Clones share them; dropping the last clone
/// closes them.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) pool: Arc<Pool>,
}

impl Client {
    /// A client that connects with its first request. Requests are to be made within a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Settings`](crate::ClientError::Settings) when the settings are invalid, or a file they
    /// name cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self> {
        Ok(Self { pool: Arc::new(Pool::new(settings)?) })
    }

    /// Connects to `host:port` or `unix:path`, with one connection and without retries: every failure is
    /// reported at once.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`](crate::ClientError::NotRunning) when nothing listens there;
    /// [`ClientError::Unreachable`](crate::ClientError::Unreachable) when the address cannot be reached, or
    /// not within `timeout`.
    pub async fn connect(address: impl AsRef<str>, timeout: Duration) -> Result<Self> {
        let settings = ClientSettings::for_address(address.as_ref())?.without_retries();
        let client = Self::new(ClientSettings { connections: 1, connect_timeout: timeout, ..settings })?;
        client.open().await?;
        Ok(client)
    }

    /// Makes sure that there is a connection, trying each address once.
    ///
    /// # Errors
    /// When no server can be reached.
    pub async fn open(&self) -> Result<()> {
        self.pool.open().await
    }

    /// The address in use at present.
    pub fn address(&self) -> &str {
        self.pool.connector.current()
    }

    /// The number of requests, waits and subscriptions that are not over.
    pub fn pending(&self) -> usize {
        self.pool.len()
    }
}
