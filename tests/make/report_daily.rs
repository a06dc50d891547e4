//! `report:daily`: says what it was given.

use framework::prelude::*;

/// Say what was given
#[derive(Args, Command)]
#[command(name = "report:daily")]
struct ReportDaily {
    /// What to say
    text: Option<String>,
}

impl Execute for ReportDaily {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        output.line(self.text.as_deref().unwrap_or("This is report:daily."));
        Ok(())
    }
}
