//! The names that almost every command, task and server uses, by features: `use framework::prelude::*;`.

pub use anyhow::{Context, Result, anyhow, bail, ensure};
#[cfg(feature = "tasks")]
pub use bytes::Bytes;
pub use clap::{self, Args};
pub use framework_console::app::App;
pub use framework_console::app_log;
pub use framework_console::command::{CommandEntry, Execute, Exit, Registry};
pub use framework_console::console::Console;
pub use framework_console::output::Output;
#[cfg(feature = "tasks")]
pub use framework_macros::Task;
pub use framework_macros::{Command, markup};
#[cfg(feature = "tasks")]
pub use framework_protocol::task::{Attempt, Handle, HandleBlocking, Outcome, Task};
#[cfg(feature = "server")]
pub use framework_server::server::{Connection, ConsoleEvents, Events, Finished};
