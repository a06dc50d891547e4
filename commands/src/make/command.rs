//! `make:command NAME`: a new command.

use framework::command::check_name;
use framework::prelude::*;

use super::make;
use super::names::Names;

/// Write a new command
///
/// Writes app/command/NAME.rs and adds its `mod` line to app/command.rs. The next start of the program has
/// the command.
#[derive(Args, Command)]
#[command(name = "make:command")]
struct MakeCommand {
    /// What the command is to be called, such as report:daily
    name: String,
    /// Write over a file that exists
    #[arg(long)]
    force: bool,
}

impl Execute for MakeCommand {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        check_name(&self.name).map_err(|error| Exit::Usage.error(error.to_string()))?;
        let names = Names::of(&self.name, "command");
        make(app, output, "command", &names.module, &text(&self.name, &names.structure), self.force)
    }
}

fn text(name: &str, structure: &str) -> String {
    format!(
        r#"//! `{name}`: says what it was given.

use framework::prelude::*;

/// Say what was given
#[derive(Args, Command)]
#[command(name = "{name}")]
struct {structure} {{
    /// What to say
    text: Option<String>,
}}

impl Execute for {structure} {{
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {{
        output.line(self.text.as_deref().unwrap_or("This is {name}."));
        Ok(())
    }}
}}
"#
    )
}
