//! The environment of a service manager such as systemd.

use std::env;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use listenfd::ListenFd;

/// The service manager that has started this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systemd {
    /// The datagram socket of the service manager: a path, or an abstract name after `@`.
    pub socket: OsString,
    /// The interval within which the process must send a keep-alive.
    pub watchdog: Option<Duration>,
}

impl Systemd {
    /// The service manager of this process; `None` without `NOTIFY_SOCKET`.
    #[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
    pub fn of_process() -> Option<Self> {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let micros = env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let is_ours = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = micros.filter(|_| is_ours).map(Duration::from_micros);
        Some(Self { socket, watchdog })
    }

    /// The sockets that a service manager has opened for this process (`LISTEN_FDS`).
    ///
    /// # Errors
    /// When one of them is neither a TCP listener nor a Unix stream listener.
    pub fn sockets() -> Result<Vec<OwnedFd>> {
        let mut inherited = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(inherited.len());
        for index in 0..inherited.len() {
            let tcp = inherited.take_tcp_listener(index).map(|socket| socket.map(OwnedFd::from));
            let socket =
                tcp.or_else(|_| inherited.take_unix_listener(index).map(|socket| socket.map(OwnedFd::from)));
            let socket =
                socket.with_context(|| format!("socket {index} of LISTEN_FDS is not a stream listener"))?;
            sockets.extend(socket);
        }
        Ok(sockets)
    }
}
