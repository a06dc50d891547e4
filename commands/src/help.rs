//! `help NAME`: the help of a command.

use framework::console::help;
use framework::prelude::*;

/// Show the help of a command
#[derive(Args, Command)]
#[command(name = "help")]
struct Help {
    /// The command, in full or abbreviated
    #[arg(default_value = "help")]
    name: String,
}

impl Execute for Help {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let registry = Registry::running(app).context("help is for commands that a console runs")?;
        let entry = registry.find(&self.name).map_err(|error| Exit::Usage.error(error.to_string()))?;
        output.help(&help(app.program(), entry));
        Ok(())
    }
}
