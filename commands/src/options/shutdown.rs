//! The options of commands that end a server: its address, and the grace period.

use std::time::Duration;

use framework::client::Address;
use framework::humantime::format_duration;
use framework::prelude::*;

use super::own_server;
use super::server_address::{ServerAddress, parse_duration};

/// The grace period of running tasks, and the address of the server.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShutdownOptions {
    /// Do not wait for running tasks; they run again later, and the attempt does not count
    #[arg(long, conflicts_with = "grace")]
    now: bool,
    /// Grace period for running tasks, such as 30s [default: max_wait_time of config/server.toml]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Address of the server [default: the control socket of this project's own server]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<Address>,
}

impl ShutdownOptions {
    /// The server: that of the address, or this project's own by its control socket alone, since another
    /// project's server may have the port. If it has no control socket, its first listener is used.
    pub(crate) fn server(&self, app: &App) -> Result<ServerAddress> {
        let address = match &self.address {
            Some(address) => Some(address.clone()),
            None => own_server::control_socket(app.config()?)?.map(Address::Unix),
        };
        Ok(ServerAddress::at(address))
    }

    /// The grace period in the form of the wire; `None` is the server's own.
    pub(crate) fn wire_value(&self) -> Option<String> {
        let grace = if self.now { Some(Duration::ZERO) } else { self.grace };
        grace.map(|grace| format_duration(grace).to_string())
    }

    /// Whether running tasks are given up at once.
    pub(crate) fn is_immediate(&self) -> bool {
        self.now || self.grace == Some(Duration::ZERO)
    }
}
