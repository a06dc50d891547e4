//! `task:restart`: ends the task server and starts it again as it was.

use framework::prelude::*;

use super::shutdown_options::ShutdownOptions;
use super::start::daemon::launch;
use super::stop::stop;

/// Stop the task server and start it again in the background
///
/// With the options that it was started with. A service manager's server is restarted by the service manager.
#[derive(Args, Command)]
#[command(name = "task:restart")]
struct Restart {
    #[command(flatten)]
    grace: ShutdownOptions,
}

impl Execute for Restart {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let config = app.config()?;
        // Settings that are wrong would leave nothing to go back to.
        config.check_all()?;
        let arguments = match stop(app, &self.grace, output).await {
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
