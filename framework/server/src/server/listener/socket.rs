//! Sockets of both kinds: bound, and accepted from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framework_console::config::Config;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};

use super::unix::{self, Entry};
use crate::server::inherited_sockets::{InheritedSocket, InheritedSockets};
use crate::server::peer::Peer;
use crate::server::settings::{ListenerSettings, Place, ServerSettings};
use crate::server::stream::Stream;

/// What is listened on.
pub(crate) struct Socket {
    /// As the settings name it.
    place: String,
    kind: Kind,
}

enum Kind {
    Tcp {
        socket: TcpListener,
        /// Whether the system probes silent connections.
        keepalive: bool,
    },
    Unix {
        socket: UnixListener,
        /// Gone with the socket.
        entry: Entry,
    },
}

impl Socket {
    /// Listens where the settings say, with a socket that was given if there is one for that.
    ///
    /// # Errors
    /// When that is no address, or one that cannot be had, or one that others reach although nobody is asked who
    /// it is. [`AlreadyRunning`](super::AlreadyRunning) when a server answers at a Unix socket.
    pub(super) async fn bind(
        listener: &ListenerSettings,
        settings: &ServerSettings,
        config: &Config,
        given: &mut InheritedSockets,
    ) -> Result<Self> {
        let place = listener.place();
        let kind = match place {
            Place::Unix(path) => {
                let (socket, entry) = match given.unix(&place, &config.root().join(path)) {
                    Some(given) => {
                        given.check()?;
                        unix::go_on(config.root(), path, given)
                    }
                    None => unix::bind(config.root(), path, settings.backlog)?,
                };
                Kind::Unix { socket: UnixListener::from_std(socket)?, entry }
            }
            Place::Tcp(host, port) => {
                let address = find(host, port).await?;
                check(address, listener, settings)?;
                let socket = match given.tcp(&place, address) {
                    Some(given) => {
                        given.check()?;
                        TcpListener::from_std(given.socket.into())
                    }
                    None => listen(address, settings.backlog),
                };
                let socket = socket.with_context(|| format!("cannot listen on {address}"))?;
                Kind::Tcp { socket, keepalive: settings.open_tcp_keepalive }
            }
        };
        Ok(Self { place: place.to_string(), kind })
    }

    /// For people, and for clients to connect to.
    pub(super) fn address(&self) -> Result<String> {
        Ok(match &self.kind {
            Kind::Tcp { socket, .. } => socket.local_addr()?.to_string(),
            Kind::Unix { entry, .. } => entry.address(),
        })
    }

    /// Another hold of the same socket, for the server after this one.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub(crate) fn try_clone(&self) -> io::Result<InheritedSocket> {
        let (socket, is_managed) = match &self.kind {
            Kind::Tcp { socket, .. } => (socket.as_fd(), false),
            Kind::Unix { socket, entry } => (socket.as_fd(), entry.is_detached()),
        };
        Ok(InheritedSocket {
            place: Some(self.place.clone()),
            is_managed,
            socket: socket.try_clone_to_owned()?,
        })
    }

    /// Lets the socket outlive this hold of it, with everything that belongs to it.
    pub(crate) fn detach(&self) {
        if let Kind::Unix { entry, .. } = &self.kind {
            entry.detach();
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.kind {
            Kind::Tcp { socket, keepalive } => {
                let (stream, address) = socket.accept().await?;
                prepare(&stream, *keepalive);
                Ok((stream.into(), Peer::Tcp(address)))
            }
            Kind::Unix { socket, .. } => {
                let (stream, _) = socket.accept().await?;
                let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
                Ok((stream.into(), Peer::Unix { process }))
            }
        }
    }
}

async fn find(host: &str, port: u16) -> Result<SocketAddr> {
    let mut found = tokio::net::lookup_host((host, port))
        .await
        .with_context(|| format!("host \"{host}\" in config/server.toml is not an address"))?;
    found.next().with_context(|| format!("host \"{host}\" has no address"))
}

/// Whom the network lets through has to say who it is.
fn check(address: SocketAddr, listener: &ListenerSettings, settings: &ServerSettings) -> Result<()> {
    if address.ip().to_canonical().is_loopback() || listener.insecure {
        return Ok(());
    }
    let wants_token = settings.wants_token(listener);
    if !wants_token && listener.ssl_client_cert_file.is_none() {
        bail!(
            "{address} can be reached by other machines, and nobody is asked there who it is: listen on 127.0.0.1, \
             or set tokens_file (or THINK_SERVER_TOKENS) or ssl_client_cert_file, or write insecure = true into \
             config/server.toml"
        );
    }
    if wants_token && !listener.speaks_tls_only() {
        tracing::warn!(
            "{address} can be reached by other machines, and takes tokens that are not encrypted; see ssl_required"
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

fn prepare(stream: &TcpStream, keepalive: bool) {
    let socket = socket2::SockRef::from(stream);
    // Answers leave in one write a batch already; waiting for more would only add delay.
    let nodelay = socket.set_tcp_nodelay(true);
    let alive = match keepalive {
        true => socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(Duration::from_secs(60))),
        false => Ok(()),
    };
    if let Err(error) = nodelay.and(alive) {
        tracing::debug!("setting socket options: {error}");
    }
}
