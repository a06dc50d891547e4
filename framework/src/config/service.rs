//! What a service manager such as systemd says in the environment.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

/// The service manager that has started this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceManager {
    /// The datagram socket that it listens on: a path, or a name behind `@`.
    pub socket: OsString,
    /// How long it lets the process be silent before it takes it for dead.
    pub watchdog: Option<Duration>,
}

impl ServiceManager {
    /// `None` where nobody waits to hear from this process.
    #[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
    pub fn of_process() -> Option<Self> {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
        let micros = env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let is_ours = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = micros.filter(|_| is_ours).map(Duration::from_micros);
        Some(Self { socket, watchdog })
    }
}
