//! Opens connections: finds a server that answers, encrypts, and authenticates.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use framework_console::config::{Secret, Section};
use framework_protocol::Status;
use serde::Serialize;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use crate::address::{Address, Addresses};
use crate::connection::{Connection, Stream};
use crate::dedicated::DedicatedConnection;
use crate::error::{ClientError, Result};
use crate::project::OwnProject;
use crate::settings::ClientSettings;
use crate::tls::Tls;

/// A server that vanishes without closing its connections is noticed by the system after about this time,
/// even while the client only waits for the ends of long tasks.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The address of a server whose settings name no other.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9501";

/// Finds servers. The address that worked last is tried first the next time.
pub(crate) struct Connector {
    addresses: Vec<Address>,
    /// The addresses as errors show them.
    names: Vec<String>,
    tls: Option<Tls>,
    token: Secret,
    project: Option<OwnProject>,
    timeout: Duration,
    max_reply_length: usize,
    /// The index of the address to try first.
    preferred: AtomicUsize,
    /// A connection that was opened before it is needed.
    spare: Mutex<Option<Connection>>,
}

/// The error when no address leads to a server.
pub(crate) struct Unreachable {
    /// Of the errors at all addresses, the one that explains most.
    pub(crate) error: ClientError,
    /// Whether another try would fail in the same way everywhere.
    pub(crate) is_final: bool,
}

impl Connector {
    /// # Errors
    /// When the settings are invalid, or a file they name cannot be used.
    pub(crate) fn new(settings: &ClientSettings) -> Result<Self> {
        settings.check().map_err(|invalid| ClientError::Settings(invalid.to_string()))?;
        let addresses = match &settings.address {
            Some(Addresses(addresses)) => addresses.clone(),
            None => vec![Address::Tcp(DEFAULT_ADDRESS.to_owned())],
        };
        Ok(Self {
            names: addresses.iter().map(ToString::to_string).collect(),
            addresses,
            tls: Tls::read(settings)?,
            token: settings.token.clone(),
            project: settings.project.clone(),
            timeout: settings.connect_timeout,
            max_reply_length: settings.max_reply_length,
            preferred: AtomicUsize::new(0),
            spare: Mutex::default(),
        })
    }

    /// The addresses as errors show them.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The address that is preferred at present.
    pub(crate) fn current(&self) -> &str {
        &self.names[self.preferred.load(Ordering::Relaxed)]
    }

    /// Opens a connection before it is needed, for the next [`Connector::connect`].
    ///
    /// # Errors
    /// When none of the addresses can be used.
    pub(crate) async fn prepare(&self) -> Result<()> {
        if self.spare().is_none() {
            let connection = self.open().await.map_err(|unreachable| unreachable.error)?;
            *self.spare() = Some(connection);
        }
        Ok(())
    }

    /// A connection that is ready for requests: the one that was prepared, or a new one.
    ///
    /// # Errors
    /// When none of the addresses can be used.
    pub(crate) async fn connect(&self) -> Result<Connection, Unreachable> {
        let spare = self.spare().take();
        match spare {
            Some(connection) => Ok(connection),
            None => self.open().await,
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.spare.lock().expect("no one panics while holding a connection")
    }

    /// Tries each address once, the preferred one first.
    async fn open(&self) -> Result<Connection, Unreachable> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut worst: Option<ClientError> = None;
        let mut is_final = true;
        for at in (first..self.addresses.len()).chain(0..first) {
            match self.open_at(at).await {
                Ok(connection) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => {
                    is_final &= error.is_final();
                    worst = Some(more_telling(worst, error));
                }
            }
        }
        let error = match worst {
            Some(ClientError::NotRunning(_)) | None => ClientError::NotRunning(self.public_names()),
            Some(error) => error,
        };
        Err(Unreachable { error, is_final })
    }

    /// The addresses that a server would have been found at, without the control socket if there are others.
    fn public_names(&self) -> String {
        let is_public = |at: &usize| !self.is_control(&self.addresses[*at]);
        let mut names: Vec<_> = (0..self.names.len()).filter(is_public).map(|at| &*self.names[at]).collect();
        if names.is_empty() {
            names.extend(self.names.iter().map(String::as_str));
        }
        names.join(", ")
    }

    fn is_control(&self, address: &Address) -> bool {
        self.project.as_ref().is_some_and(|project| project.is_control(address))
    }

    /// Tries the next address first from now on, because the one of this index has failed.
    pub(crate) fn avoid(&self, at: usize) {
        let next = (at + 1) % self.addresses.len();
        // Unless another connection has moved on already.
        let _ = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn open_at(&self, at: usize) -> Result<Connection> {
        let opened = tokio::time::timeout(self.timeout, self.reach(at)).await;
        opened.unwrap_or_else(|_| {
            let what = format!("no connection within {:?} (connect_timeout)", self.timeout);
            let error = io::Error::new(io::ErrorKind::TimedOut, what);
            Err(ClientError::unreachable(&self.names[at], error))
        })
    }

    async fn reach(&self, at: usize) -> Result<Connection> {
        let (address, name) = (&self.addresses[at], &self.names[at]);
        let dialled: io::Result<Box<dyn Stream>> = match address {
            Address::Tcp(address) => dial(address).await.map(|stream| Box::new(stream) as _),
            Address::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
        };
        let stream = dialled.map_err(|error| match (error.kind(), address) {
            (io::ErrorKind::ConnectionRefused, _) | (io::ErrorKind::NotFound, Address::Unix(_)) => {
                ClientError::NotRunning(name.to_owned())
            }
            // A server listens there, but not for this user.
            (io::ErrorKind::PermissionDenied, _) => ClientError::io(name, error),
            _ => ClientError::unreachable(name, error),
        })?;
        if self.is_control(address) {
            return Ok(Connection::new(stream, at, name, self.max_reply_length));
        }
        let stream = match &self.tls {
            Some(tls) => Box::new(tls.wrap(stream, address).await?),
            None => stream,
        };
        let mut connection = Connection::new(stream, at, name, self.max_reply_length);
        if !self.token.is_empty() {
            connection = authenticate(connection, &self.token).await?;
        }
        match &self.project {
            Some(project) => project.check(connection).await,
            None => Ok(connection),
        }
    }
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    // Keep-alive is silent while something was sent and is not confirmed.
    socket.set_tcp_user_timeout(Some(2 * KEEPALIVE))?;
    Ok(stream)
}

/// Of two errors the one that explains more: one that has to be fixed before one that may pass, and that
/// before silence.
fn more_telling(known: Option<ClientError>, error: ClientError) -> ClientError {
    let weight = |error: &ClientError| match error {
        ClientError::NotRunning(_) => 0,
        error if error.is_final() => 2,
        _ => 1,
    };
    match known {
        Some(known) if weight(&known) >= weight(&error) => known,
        _ => error,
    }
}

/// Sends the token, and waits until it is accepted.
async fn authenticate(connection: Connection, token: &Secret) -> Result<Connection> {
    #[derive(Serialize)]
    struct Auth<'a> {
        command: &'static str,
        token: &'a str,
        id: u64,
    }
    let auth = Auth { command: "auth", token: token.reveal(), id: 0 };
    let mut exchange = DedicatedConnection::send(connection, &auth);
    let reply = exchange.next_reply().await?;
    let connection = exchange.into_connection();
    match reply.status {
        Status::Ok => Ok(connection),
        Status::Error => Err(ClientError::Refused(reply.refusal())),
        _ => Err(ClientError::unexpected_reply(connection.address(), &reply)),
    }
}
