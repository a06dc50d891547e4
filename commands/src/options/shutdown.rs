//! The options of the commands that end a server: which one, and how long its running tasks may take.

use std::time::Duration;

use framework::client::Address;
use framework::humantime::format_duration;
use framework::prelude::*;

use super::server_address::parse_duration;

/// How long running tasks are waited for, and where.
#[derive(Debug, Clone, Args)]
pub(super) struct ShutdownOptions {
    /// Give running tasks up at once; they run again later, and the attempt does not count
    #[arg(long, conflicts_with = "grace")]
    now: bool,
    /// How long running tasks may take, such as 30s [default: max_wait_time of config/server.toml]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Where the server listens [default: this project's own server, by its control_socket]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) address: Option<Address>,
}

impl ShutdownOptions {
    /// As the wire names it; `None` is the server's own.
    pub(super) fn wire_value(&self) -> Option<String> {
        let grace = if self.now { Some(Duration::ZERO) } else { self.grace };
        grace.map(|grace| format_duration(grace).to_string())
    }

    /// Whether running tasks are to be given up at once.
    pub(super) fn is_none(&self) -> bool {
        self.now || self.grace == Some(Duration::ZERO)
    }
}
