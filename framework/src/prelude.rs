//! What almost every command and task needs: `use framework::prelude::*;`.

pub use anyhow::{Context, Result, anyhow, bail, ensure};
pub use bytes::Bytes;
pub use clap::{self, Args};
pub use framework_macros::{Command, Task};

pub use crate::app::App;
pub use crate::app_log;
pub use crate::command::{CommandEntry, Execute, Exit, Registry};
pub use crate::console::Console;
pub use crate::output::Output;
pub use crate::server::{Connection, Events, Finished};
pub use crate::task::{Attempt, Handle, HandleBlocking, Outcome};
