//! Listening sockets inherited from the old process or from a service manager.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::{fmt, io};

use anyhow::{Result, bail};
use socket2::{SockRef, Type};

use crate::server::settings::ListenPlace;

/// A listening socket that another process has opened, so that no connection is refused in between.
#[derive(Debug)]
pub struct InheritedSocket {
    /// The address in the settings of the old process, such as `127.0.0.1:0`; `None` from a service manager,
    /// whose sockets are matched by the address they are bound to.
    pub place: Option<String>,
    /// A service manager has opened it, and owns the file of a Unix socket.
    pub is_managed: bool,
    pub socket: OwnedFd,
}

/// The inherited sockets that no listener uses yet.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets(Vec<InheritedSocket>);

impl From<Vec<InheritedSocket>> for InheritedSockets {
    fn from(sockets: Vec<InheritedSocket>) -> Self {
        Self(sockets)
    }
}

impl InheritedSockets {
    /// Takes the socket for a TCP listener of the settings, which resolves to `address`.
    pub(crate) fn tcp(&mut self, place: &ListenPlace, address: SocketAddr) -> Option<InheritedSocket> {
        self.take(place, |socket| socket.local_addr().is_ok_and(|bound| bound.as_socket() == Some(address)))
    }

    /// Takes the socket for a Unix listener of the settings, whose absolute path is `path`.
    pub(crate) fn unix(&mut self, place: &ListenPlace, path: &Path) -> Option<InheritedSocket> {
        self.take(place, |socket| socket.local_addr().is_ok_and(|bound| bound.as_pathname() == Some(path)))
    }

    fn take(&mut self, place: &ListenPlace, is_bound: impl Fn(SockRef) -> bool) -> Option<InheritedSocket> {
        let place = place.to_string();
        let fits = |inherited: &InheritedSocket| match &inherited.place {
            Some(other) => *other == place,
            None => is_bound(SockRef::from(&inherited.socket)),
        };
        let found = self.0.iter().position(fits)?;
        Some(self.0.remove(found))
    }

    /// Closes the sockets that the settings do not name any more.
    ///
    /// # Errors
    /// A service manager passed a socket that they do not name: connections to it would wait for ever.
    pub(crate) fn close(self) -> Result<()> {
        for InheritedSocket { place, socket, .. } in self.0 {
            match place {
                Some(place) => tracing::info!("no longer listening on {place}"),
                None => {
                    let socket = SockRef::from(&socket);
                    let address = describe(&socket);
                    bail!(
                        "the service manager has handed over a socket at {address}, and config/server.toml names no \
                         such listener: set host and port to just that, or remove it from the socket unit"
                    );
                }
            }
        }
        Ok(())
    }
}

impl InheritedSocket {
    /// Checks the kind of the socket, and makes it non-blocking.
    ///
    /// # Errors
    /// It is not a listening stream socket.
    pub(crate) fn check(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            let message = format!("the socket at {} does not listen for streams", describe(&socket));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        socket.set_nonblocking(true)
    }
}

fn describe(socket: &SockRef) -> impl fmt::Display {
    let address = socket.local_addr().ok();
    let tcp = address.as_ref().and_then(|address| address.as_socket()).map(|address| address.to_string());
    let unix = || Some(format!("unix:{}", address.as_ref()?.as_pathname()?.display()));
    tcp.or_else(unix).unwrap_or_else(|| "an address of another kind".to_owned())
}
