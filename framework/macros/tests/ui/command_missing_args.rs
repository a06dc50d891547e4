//! A command without `Args`.

use framework::prelude::*;

#[derive(Command)]
#[command(name = "demo:hello")]
struct Hello {
    name: String,
}

impl Execute for Hello {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        output.line(self.name);
        Ok(())
    }
}

fn main() {}
