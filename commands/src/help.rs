//! `help NAME`: shows the help of a command.

use framework::console::help;
use framework::prelude::*;

/// Show the help of a command
#[derive(Args, Command)]
#[command(name = "help")]
struct Help {
    /// Name of the command, or an abbreviation
    #[arg(default_value = "help")]
    name: String,
}

impl Execute for Help {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let registry = Registry::running(app).context("there is no console")?;
        let entry = registry.find(&self.name).map_err(|error| Exit::Usage.error(error.to_string()))?;
        output.help(&help(app.program(), entry));
        Ok(())
    }
}
