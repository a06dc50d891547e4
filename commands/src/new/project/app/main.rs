//! The program that `./think` runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    app::console().run()
}
