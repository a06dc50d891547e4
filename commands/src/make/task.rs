//! `make:task NAME`: generates a task with its handler.

use framework::prelude::*;
use framework::task::Handlers;

use super::names::Names;
use super::{make, may_overwrite, reject_existing};

/// Generate a task with its handler
///
/// Writes app/task/NAME.rs and adds its `mod` line to app/task.rs. The server knows the task after its next
/// start or reload.
#[derive(Args, Command)]
#[command(name = "make:task")]
struct MakeTask {
    /// Name of the task's function, such as resize_image
    name: String,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

impl Execute for MakeTask {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        check(&self.name)?;
        let names = Names::of(&self.name, "task");
        let file = format!("app/task/{}.rs", names.module);
        let force = self.force || may_overwrite(app, output, &file)?;
        if let Some(handler) = Handlers::collect()?.get(&self.name) {
            reject_existing("task", &self.name, (handler.file, handler.line), &file, force)?;
        }
        make(app, output, "task", &names.module, &text(&self.name, &names.structure), force)
    }
}

fn check(name: &str) -> Result<()> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if !name.is_empty() && name.chars().all(is_valid) {
        return Ok(());
    }
    Err(Exit::Usage.error(format!(
        "\"{name}\" is not a valid task name: use lower case letters, digits, `_`, `-` and `.`, such as \"send_mail\""
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
