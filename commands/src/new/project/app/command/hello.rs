//! `hello`: prints a greeting.

use framework::prelude::*;

/// Greet somebody
#[derive(Args, Command)]
#[command(name = "hello")]
struct Hello {
    /// Whom to greet
    #[ask]
    name: String,
}

impl Execute for Hello {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        output.line(format_args!("Hello, {}!", self.name));
        Ok(())
    }
}
