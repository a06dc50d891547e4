//! `make:task NAME`: a new task with its handler.

use framework::prelude::*;

use super::make;
use super::names::Names;

/// Write a new task with its handler
///
/// Writes app/task/NAME.rs and adds its `mod` line to app/task.rs. The next start of the server runs such
/// tasks.
#[derive(Args, Command)]
#[command(name = "make:task")]
struct MakeTask {
    /// What clients are to call the task, such as resize_image
    name: String,
    /// Write over a file that exists
    #[arg(long)]
    force: bool,
}

impl Execute for MakeTask {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        check(&self.name)?;
        let names = Names::of(&self.name, "task");
        make(app, output, "task", &names.module, &text(&self.name, &names.structure), self.force)
    }
}

fn check(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if !name.is_empty() && name.chars().all(good) {
        return Ok(());
    }
    Err(Exit::Usage.error(format!(
        "\"{name}\" is no name for a task: write lower case letters, digits, `_`, `-` and `.`, such as \"send_mail\""
    )))
}

fn text(name: &str, structure: &str) -> String {
    format!(
        r#"//! `{name}`: gives back what it was given.

use framework::prelude::*;
use serde::{{Deserialize, Serialize}};

/// Give back what was given
#[derive(Serialize, Deserialize, Task)]
#[serde(deny_unknown_fields)]
#[task(name = "{name}", timeout = "30s")]
pub(crate) struct {structure} {{
    pub(crate) text: String,
}}

impl Handle for {structure} {{
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {{
        Ok(self.text)
    }}
}}
"#
    )
}
