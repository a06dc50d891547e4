//! The kernel of a console program: what a command is, how it is found, and what it prints.
//!
//! Each module imports only those named before it, so this list is also the reading order.

#[cfg(test)]
extern crate self as framework;

pub mod output;
pub mod input;
pub mod config;
pub mod log;
pub mod app;
pub mod command;
pub mod console;

/// What `#[derive(Command)]` is called by in this crate's own tests.
#[cfg(test)]
pub(crate) use framework_macros::Command;
#[doc(hidden)]
pub use {clap, inventory, tracing};
