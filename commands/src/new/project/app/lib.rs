//! The application: its commands, its tasks, and what its server does.

mod command;
mod server;
mod task;

use framework::prelude::*;

/// The console of the program, for `main` and for tests.
pub fn console() -> Console {
    commands::console!().events(server::AsyncTask)
}
