//! `task:restart`: stops the task server and starts it again.

use framework::prelude::*;

use super::start::daemon::launch;
use super::stop::stop;
use crate::options::shutdown::ShutdownOptions;

/// Stop the task server and start it again in the background
///
/// Keeps the options of the last start. Under a service manager such as systemd, restart the service instead.
#[derive(Args, Command)]
#[command(name = "task:restart")]
struct Restart {
    #[command(flatten)]
    options: ShutdownOptions,
}

impl Execute for Restart {
    const BLOCK: Option<&'static str> = Some("server");
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let config = app.config()?;
        // Before the stop: with invalid settings, the server could not be started again.
        config.check_all()?;
        let arguments = match stop(app, &self.options, output).await {
            Ok(status) => status.map(|status| status.arguments).unwrap_or_default(),
            Err(error) if Exit::of(&error) == Exit::NotRunning => {
                output.note("No task server is running; starting one.");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let arguments = if arguments.is_empty() { vec!["task:start".to_owned()] } else { arguments };
        launch(config, &arguments, output)
    }
}
