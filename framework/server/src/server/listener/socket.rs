//! A listening socket, TCP or Unix: bound or inherited, and accepted from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framework_console::config::Config;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};

use super::unix::{self, SocketFile};
use crate::server::peer::Peer;
use crate::server::settings::{ListenPlace, ListenerSettings, ServerSettings};
use crate::server::stream::Stream;
use crate::server::takeover::sockets::{InheritedSocket, InheritedSockets};

/// The silence after which the system probes a connection.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// A listening socket.
pub(crate) struct ListenSocket {
    /// The address as the settings name it.
    place: String,
    kind: SocketKind,
}

enum SocketKind {
    Tcp {
        socket: TcpListener,
        /// TCP keep-alive is set on accepted connections.
        keepalive: bool,
    },
    Unix {
        socket: UnixListener,
        /// Removed with the socket.
        file: SocketFile,
    },
}

impl ListenSocket {
    /// Listens on the address of `listener`, with the inherited socket for it if there is one.
    ///
    /// # Errors
    /// The address does not exist, is taken, or can be reached by other machines although no token is
    /// required. [`AlreadyRunning`](super::AlreadyRunning) when a server answers at a Unix socket.
    pub(super) async fn bind(
        listener: &ListenerSettings,
        settings: &ServerSettings,
        config: &Config,
        inherited: &mut InheritedSockets,
    ) -> Result<Self> {
        let place = listener.place();
        let kind = match place {
            ListenPlace::Unix(path) => {
                let (socket, file) = match inherited.unix(&place, &config.path(path)) {
                    Some(socket) => {
                        socket.check()?;
                        unix::adopt(config.path(path), path, socket)
                    }
                    None => unix::bind(config.path(path), path, settings.backlog)?,
                };
                SocketKind::Unix { socket: UnixListener::from_std(socket)?, file }
            }
            ListenPlace::Tcp(host, port) => {
                let address = resolve(host, port).await?;
                check(address, listener, settings)?;
                let socket = match inherited.tcp(&place, address) {
                    Some(inherited) => {
                        inherited.check()?;
                        TcpListener::from_std(inherited.socket.into())
                    }
                    None => listen(address, settings.backlog),
                };
                let socket = socket.with_context(|| format!("cannot listen on {address}"))?;
                SocketKind::Tcp { socket, keepalive: settings.open_tcp_keepalive }
            }
        };
        Ok(Self { place: place.to_string(), kind })
    }

    /// The address that clients connect to.
    pub(super) fn address(&self) -> Result<String> {
        Ok(match &self.kind {
            SocketKind::Tcp { socket, .. } => socket.local_addr()?.to_string(),
            SocketKind::Unix { file, .. } => file.address(),
        })
    }

    /// A second descriptor of the same socket, for the process that takes over.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub(crate) fn try_clone(&self) -> io::Result<InheritedSocket> {
        let (socket, is_managed) = match &self.kind {
            SocketKind::Tcp { socket, .. } => (socket.as_fd(), false),
            SocketKind::Unix { socket, file } => (socket.as_fd(), file.is_detached()),
        };
        Ok(InheritedSocket {
            place: Some(self.place.clone()),
            is_managed,
            socket: socket.try_clone_to_owned()?,
        })
    }

    /// Keeps the file of the socket when this is dropped, because another process goes on listening.
    pub(crate) fn detach(&self) {
        if let SocketKind::Unix { file, .. } = &self.kind {
            file.detach();
        }
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.kind {
            SocketKind::Tcp { socket, keepalive } => {
                let (stream, address) = socket.accept().await?;
                set_options(&stream, *keepalive);
                Ok((stream.into(), Peer::Tcp(address)))
            }
            SocketKind::Unix { socket, .. } => {
                let (stream, _) = socket.accept().await?;
                let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
                Ok((stream.into(), Peer::Unix { process }))
            }
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr> {
    let mut addresses = tokio::net::lookup_host((host, port))
        .await
        .with_context(|| format!("host \"{host}\" in config/server.toml is not an address"))?;
    addresses.next().with_context(|| format!("host \"{host}\" has no address"))
}

/// Refuses an address that other machines reach while no token is required, and warns of tokens in plain
/// text.
fn check(address: SocketAddr, listener: &ListenerSettings, settings: &ServerSettings) -> Result<()> {
    if address.ip().to_canonical().is_loopback() || listener.insecure {
        return Ok(());
    }
    let wants_token = settings.wants_token(listener);
    if !wants_token && listener.ssl_client_cert_file.is_none() {
        bail!(
            "{address} can be reached by other machines, and no token is required there: listen on 127.0.0.1, \
             or set tokens_file (or THINK_SERVER_TOKENS) or ssl_client_cert_file, or write insecure = true into \
             config/server.toml"
        );
    }
    if wants_token && !listener.speaks_tls_only() {
        tracing::warn!(
            "{address} can be reached by other machines, and tokens are sent to it unencrypted; see ssl_required"
        );
    }
    Ok(())
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

fn set_options(stream: &TcpStream, keepalive: bool) {
    let socket = socket2::SockRef::from(stream);
    // Replies leave in one write a batch already; waiting for more would only add delay.
    let mut result = socket.set_tcp_nodelay(true);
    if keepalive {
        let probes = socket2::TcpKeepalive::new().with_time(KEEPALIVE_TIME);
        result = result.and(socket.set_tcp_keepalive(&probes));
    }
    if let Err(error) = result {
        tracing::debug!("setting socket options: {error}");
    }
}
