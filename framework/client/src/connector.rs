//! Opens connections: finds a server that answers, encrypts, and shows the token.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use framework_console::config::{Secret, Section};
use framework_protocol::{Reply, Status};
use serde::Serialize;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::address::{Address, Addresses};
use crate::error::{ClientError, Result, read_answer, stranger};
use crate::settings::ClientSettings;
use crate::tls::Tls;

/// A server that vanishes without a word is noticed by the system after about this time, also while all that is
/// owed are the ends of long tasks.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Where a server listens unless its settings say otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9501";
/// The longest answer to a token.
const ANSWER_MAX: usize = 64 * 1024;

/// Finds servers. One that could be reached is asked first the next time.
pub(crate) struct Connector {
    addresses: Vec<Address>,
    /// What they are called in errors.
    names: Vec<String>,
    tls: Option<Tls>,
    token: Secret,
    timeout: Duration,
    /// The index of the address to try first.
    good: AtomicUsize,
}

/// A connection that is ready for requests.
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn Stream>,
    /// The index of its address.
    pub(crate) at: usize,
}

/// No address leads to a server.
pub(crate) struct Unreachable {
    /// What says most of why.
    pub(crate) error: ClientError,
    /// Whether another try would meet the same end everywhere.
    pub(crate) is_final: bool,
}

/// Bytes in both directions, whatever carries them.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connector {
    /// # Errors
    /// When the settings make no sense, or a file they name cannot be used.
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
            timeout: settings.connect_timeout,
            good: AtomicUsize::new(0),
        })
    }

    /// How many addresses there are.
    pub(crate) fn count(&self) -> usize {
        self.addresses.len()
    }

    /// What the address of this index is called.
    pub(crate) fn name(&self, at: usize) -> &str {
        &self.names[at]
    }

    /// The address that counts at present.
    pub(crate) fn current(&self) -> &str {
        self.name(self.good.load(Ordering::Relaxed))
    }

    /// Tries each address once, the last good one first.
    ///
    /// # Errors
    /// When none of them can be used.
    pub(crate) async fn open(&self) -> Result<Connection, Unreachable> {
        let first = self.good.load(Ordering::Relaxed);
        let mut worst: Option<ClientError> = None;
        let mut is_final = true;
        for at in (first..self.count()).chain(0..first) {
            match self.open_at(at).await {
                Ok(connection) => {
                    self.good.store(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => {
                    is_final &= error.is_final();
                    worst = Some(worse(worst, error));
                }
            }
        }
        let error = match worst {
            Some(ClientError::NotRunning(_)) | None => ClientError::NotRunning(self.names.join(", ")),
            Some(error) => error,
        };
        Err(Unreachable { error, is_final })
    }

    /// The address of this index turned out to be no good: the next one is tried first from now on.
    pub(crate) fn avoid(&self, at: usize) {
        let next = (at + 1) % self.count();
        // Unless somebody else has moved on already.
        let _ = self.good.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn open_at(&self, at: usize) -> Result<Connection> {
        let name = self.name(at);
        let opened = tokio::time::timeout(self.timeout, self.reach(at)).await;
        opened.unwrap_or_else(|_| {
            let what = format!("no connection within {:?} (connect_timeout)", self.timeout);
            Err(ClientError::unreachable(name, io::Error::new(io::ErrorKind::TimedOut, what)))
        })
    }

    async fn reach(&self, at: usize) -> Result<Connection> {
        let (address, name) = (&self.addresses[at], self.name(at));
        let dialled: io::Result<Box<dyn Stream>> = match address {
            Address::Tcp(address) => dial(address).await.map(|stream| Box::new(stream) as _),
            Address::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
        };
        let stream = dialled.map_err(|error| match (error.kind(), address) {
            (io::ErrorKind::ConnectionRefused, _) | (io::ErrorKind::NotFound, Address::Unix(_)) => {
                ClientError::NotRunning(name.to_owned())
            }
            // Somebody is there, but not for this user.
            (io::ErrorKind::PermissionDenied, _) => ClientError::io(name, error),
            _ => ClientError::unreachable(name, error),
        })?;
        let mut stream = match &self.tls {
            Some(tls) => Box::new(tls.wrap(stream, address).await?),
            None => stream,
        };
        if !self.token.is_empty() {
            show(&mut stream, name, &self.token).await?;
        }
        Ok(Connection { stream, at })
    }
}

/// Writes some of `rest`, or flushes when there is nothing left; tells how much is written. May be dropped at any point.
pub(crate) async fn put<W: AsyncWrite + Unpin>(writer: &mut W, rest: &[u8]) -> io::Result<usize> {
    if rest.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(rest).await {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    }
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Of two errors the one that says more: what has to be changed before what may pass, and that before silence.
fn worse(known: Option<ClientError>, error: ClientError) -> ClientError {
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

/// Shows the token, and waits until it is accepted.
async fn show(stream: &mut Box<dyn Stream>, name: &str, token: &Secret) -> Result<()> {
    #[derive(Serialize)]
    struct Auth<'a> {
        command: &'static str,
        token: &'a str,
        id: u64,
    }
    let auth = Auth { command: "auth", token: token.reveal(), id: 0 };
    let mut line = serde_json::to_vec(&auth).expect("the request is a plain struct");
    line.push(b'\n');
    let exchange = async {
        stream.write_all(&line).await?;
        stream.flush().await?;
        // The server has nothing to say beyond this one line before it is asked.
        let mut said = Vec::new();
        while !said.contains(&b'\n') && said.len() < ANSWER_MAX && stream.read_buf(&mut said).await? > 0 {}
        io::Result::Ok(said)
    };
    let said = exchange.await.map_err(|error| ClientError::io(name, error))?;
    if said.is_empty() {
        return Err(ClientError::closed(name));
    }
    if !said.starts_with(b"{") {
        return Err(stranger(name, &said));
    }
    let answer: Reply = read_answer(name, &said)?;
    match answer.status {
        Status::Ok => Ok(()),
        Status::Error => Err(ClientError::Refused(answer.refusal())),
        _ => Err(ClientError::unexpected_answer(name, &answer)),
    }
}
