//! What a service manager such as systemd says in the environment.

use std::env;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use listenfd::ListenFd;

/// The service manager that has started this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systemd {
    /// The datagram socket that it listens on: a path, or a name behind `@`.
    pub socket: OsString,
    /// How long it lets the process be silent before it takes it for dead.
    pub watchdog: Option<Duration>,
}

impl Systemd {
    /// `None` where nobody waits to hear from this process.
    #[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
    pub fn of_process() -> Option<Self> {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let micros = env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let is_ours = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = micros.filter(|_| is_ours).map(Duration::from_micros);
        Some(Self { socket, watchdog })
    }

    /// The sockets that a service manager has opened for this process (`LISTEN_FDS`); none where there is none.
    ///
    /// # Errors
    /// When one of them is neither TCP nor a Unix socket that listens for streams.
    pub fn sockets() -> Result<Vec<OwnedFd>> {
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(given.len());
        for index in 0..given.len() {
            let tcp = given.take_tcp_listener(index).map(|socket| socket.map(OwnedFd::from));
            let socket =
                tcp.or_else(|_| given.take_unix_listener(index).map(|socket| socket.map(OwnedFd::from)));
            let socket =
                socket.with_context(|| format!("socket {index} of LISTEN_FDS can be none to listen on"))?;
            sockets.extend(socket);
        }
        Ok(sockets)
    }
}
