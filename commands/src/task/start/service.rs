//! What a service manager hears of the server: that it is ready, that it lives, that it stops.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use framework::config::Systemd;
use framework::log::tracing;
use framework::prelude::*;

/// The service manager, if there is one.
pub(super) struct Service(Option<(UnixDatagram, Option<Duration>)>);

impl Service {
    /// # Errors
    /// When there is one and it cannot be reached.
    pub(super) fn find() -> Result<Self> {
        let Some(manager) = Systemd::of_process() else { return Ok(Self(None)) };
        let name = manager.socket.as_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&manager.socket),
        };
        let reach = || {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address?)?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket =
            reach().with_context(|| format!("reaching the service manager at {:?}", manager.socket))?;
        Ok(Self(Some((socket, manager.watchdog))))
    }

    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    /// Says that another process is the server from now on, and ready.
    pub(super) fn replaced(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}\nREADY=1"));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says that the server lives, twice as often as it has to, as long as this is waited for.
    pub(super) async fn live(&self) -> ! {
        match self.0 {
            Some((_, Some(grace))) => loop {
                self.tell("WATCHDOG=1");
                tokio::time::sleep(grace / 2).await;
            },
            _ => std::future::pending().await,
        }
    }

    fn tell(&self, word: &str) {
        if let Some((socket, _)) = &self.0 {
            if let Err(error) = socket.send(word.as_bytes()) {
                tracing::warn!("the service manager does not hear {word:?}: {error}");
            }
        }
    }
}
