//! Sockets that listen already: those of the server before this one, or of a service manager.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::{fmt, io};

use anyhow::{Result, bail};
use socket2::{SockRef, Type};

use super::settings::Place;

/// A socket that somebody else has opened and that listens already: nobody who connects is refused meanwhile.
#[derive(Debug)]
pub struct InheritedSocket {
    /// Where the settings of the server before this one had it, such as `127.0.0.1:0`; `None` from a service manager,
    /// where its address tells.
    pub place: Option<String>,
    /// Whether a service manager has opened it, whose its file is, if it has one.
    pub is_managed: bool,
    pub socket: OwnedFd,
}

/// What has been given and is not in use yet.
#[derive(Debug, Default)]
pub(super) struct InheritedSockets(Vec<InheritedSocket>);

impl From<Vec<InheritedSocket>> for InheritedSockets {
    fn from(sockets: Vec<InheritedSocket>) -> Self {
        Self(sockets)
    }
}

impl InheritedSockets {
    /// The socket for a place of the settings, which is at this TCP address.
    pub(super) fn tcp(&mut self, place: &Place, address: SocketAddr) -> Option<InheritedSocket> {
        self.take(place, |socket| socket.local_addr().is_ok_and(|there| there.as_socket() == Some(address)))
    }

    /// The socket for a place of the settings, which is at this path.
    pub(super) fn unix(&mut self, place: &Place, path: &Path) -> Option<InheritedSocket> {
        self.take(place, |socket| socket.local_addr().is_ok_and(|there| there.as_pathname() == Some(path)))
    }

    fn take(&mut self, place: &Place, is_there: impl Fn(SockRef) -> bool) -> Option<InheritedSocket> {
        let place = place.to_string();
        let fits = |given: &InheritedSocket| match &given.place {
            Some(other) => *other == place,
            None => is_there(SockRef::from(&given.socket)),
        };
        let found = self.0.iter().position(fits)?;
        Some(self.0.remove(found))
    }

    /// Closes what the settings do not name any more.
    ///
    /// # Errors
    /// When a service manager gave something that they do not name: whoever connects there would wait for ever.
    pub(super) fn close(self) -> Result<()> {
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
    /// # Errors
    /// When it is no stream socket that listens.
    pub(super) fn check(&self) -> io::Result<()> {
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
