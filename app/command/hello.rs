//! `demo:hello`: prints a greeting.

use framework::prelude::*;

/// Greet somebody
///
/// Says hello as often as you like.
#[derive(Args, Command)]
#[command(name = "demo:hello")]
struct Hello {
    /// Whom to greet
    #[ask]
    name: String,
    /// How often
    #[arg(short, long, default_value_t = 1)]
    times: u8,
}

impl Execute for Hello {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        for _ in 0..self.times {
            output.line(format_args!("Hello, {}!", self.name));
        }
        Ok(())
    }
}
