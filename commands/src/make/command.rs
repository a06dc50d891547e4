//! `make:command NAME`: generates a command.

use framework::command::check_name;
use framework::prelude::*;

use super::names::Names;
use super::{make, may_overwrite, reject_existing};

/// Generate a command
///
/// Writes app/command/NAME.rs and adds its `mod` line to app/command.rs. The command is there at the next
/// start of the program.
#[derive(Args, Command)]
#[command(name = "make:command")]
struct MakeCommand {
    /// Name of the command, such as report:daily
    name: String,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

impl Execute for MakeCommand {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        check_name(&self.name).map_err(|error| Exit::Usage.error(error.to_string()))?;
        let names = Names::of(&self.name, "command");
        let registry = Registry::running(app).context("there is no console")?;
        let file = format!("app/command/{}.rs", names.module);
        let force = self.force || may_overwrite(app, output, &file)?;
        if let Some(entry) = registry.get(&self.name) {
            reject_existing("command", &self.name, (entry.file, entry.line), &file, force)?;
        }
        make(app, output, "command", &names.module, &text(&self.name, &names.structure), force)
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
