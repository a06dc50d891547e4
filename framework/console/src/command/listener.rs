//! Listeners to all commands: before and after each of them, and when one fails.

use anyhow::Result;

use super::{CommandEntry, Exit};
use crate::app::App;
use crate::output::Output;

/// A listener to all commands of the program. [`listen!`](crate::listen) registers it.
///
/// ```
/// use framework::command::{CommandEntry, CommandListener, Exit};
/// use framework::prelude::*;
///
/// struct Audit;
///
/// impl CommandListener for Audit {
///     fn after(&self, command: &CommandEntry, exit: Exit, _app: &App, output: &mut Output) {
///         output.detail(format_args!("{} ended with {exit:?}", command.name));
///     }
/// }
///
/// framework::listen!(Audit);
/// ```
pub trait CommandListener: Send + Sync {
    /// The place among the listeners: one with a lower number is called first. By default 0.
    fn order(&self) -> i32 {
        0
    }

    /// Is called before a command runs. An error keeps it from running, and is the error of the command.
    ///
    /// # Errors
    /// When the command must not run.
    fn before(&self, _command: &CommandEntry, _app: &App, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    /// Is called when a command has failed, before its error is printed.
    fn error(&self, _command: &CommandEntry, _error: &anyhow::Error, _app: &App, _output: &mut Output) {}

    /// Is called after a command, also when it has failed or did not run.
    fn after(&self, _command: &CommandEntry, _exit: Exit, _app: &App, _output: &mut Output) {}
}

/// The wrapper through which `inventory` collects listeners, with the place of its registration.
pub struct ListenerRegistration {
    pub listener: &'static dyn CommandListener,
    pub file: &'static str,
    pub line: u32,
}

inventory::collect!(ListenerRegistration);

/// Registers a [`CommandListener`](crate::command::CommandListener), which is a constant value:
/// `listen!(Audit);` beside its `impl`.
#[macro_export]
macro_rules! listen {
    ($listener:expr) => {
        $crate::inventory::submit! {
            $crate::command::ListenerRegistration { listener: &$listener, file: file!(), line: line!() }
        }
    };
}

/// The listeners that registered themselves, in their order.
pub(crate) fn listeners() -> Vec<&'static dyn CommandListener> {
    let mut registered: Vec<_> = inventory::iter::<ListenerRegistration>.into_iter().collect();
    // The linker's order is arbitrary.
    registered.sort_by_key(|one| (one.listener.order(), one.file, one.line));
    registered.into_iter().map(|one| one.listener).collect()
}
