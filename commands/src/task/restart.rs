//! `task:restart`: ends the task server and starts it again as it was.

use std::time::Duration;

use framework::client::Address;
use framework::prelude::*;

use super::server_address::parse_duration;
use super::start::daemon::launch;
use super::stop::stop;

/// Stop the task server and start it again in the background
///
/// With the options that it was started with. A service manager's server is restarted by the service manager.
#[derive(Args, Command)]
#[command(name = "task:restart")]
struct Restart {
    /// Give running tasks up at once; they run again after the start
    #[arg(long, conflicts_with = "timeout")]
    now: bool,
    /// How long running tasks may take, such as 30s [default: max_wait_time of config/server.toml]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Where the server listens [default: this project's own server, by its control_socket]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<Address>,
}

impl Execute for Restart {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let config = app.config()?;
        // Settings that are wrong would leave nothing to go back to.
        config.check_all()?;
        let patience = if self.now { Some(Duration::ZERO) } else { self.timeout };
        let arguments = match stop(app, self.address, patience, output).await {
            Ok(farewell) => farewell.map(|farewell| farewell.arguments).unwrap_or_default(),
            Err(error) if Exit::of(&error) == Exit::NotRunning => {
                output.note("No task server is running; one is started.");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let bare = || vec!["task:start".to_owned()];
        launch(config, &if arguments.is_empty() { bare() } else { arguments }, output)
    }
}
