//! The program that `./think` runs.

mod command;
mod server;
mod task;

use std::process::ExitCode;

use framework::prelude::*;

fn main() -> ExitCode {
    // The macro names the crate of the built-in commands, which the linker would drop otherwise.
    commands::console!().events(server::AsyncTask).run()
}
