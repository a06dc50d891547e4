//! The kernel of a console program: commands, their registry, configuration, logs, input and output.
//!
//! Each module imports only those named before it, so this list is also the reading order.

#[cfg(test)]
extern crate self as framework;

pub mod output;
pub mod input;
pub mod files;
pub mod config;
pub mod log;
pub mod app;
pub mod command;
pub mod console;

/// The derive under the path that this crate's own tests use.
#[cfg(test)]
pub(crate) use framework_macros::Command;
#[doc(hidden)]
pub use {clap, inventory, tracing};
