//! The program that `./think` runs.

mod command;
mod server;
mod task;

use std::process::ExitCode;

// Without this line the linker would drop the built-in commands.
use commands as _;
use framework::prelude::*;

fn main() -> ExitCode {
    Console::new().version(env!("CARGO_PKG_VERSION")).events(server::AsyncTask).run()
}
