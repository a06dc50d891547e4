//! The program behind `./think`.

mod command;
mod server;
mod task;

use std::process::ExitCode;

// Without this line the linker would drop every built-in command.
use commands as _;
use framework::prelude::*;

fn main() -> ExitCode {
    Console::new().version(env!("CARGO_PKG_VERSION")).events(server::AsyncTask).run()
}
