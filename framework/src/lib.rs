//! A console kernel whose main pluggable command is an asynchronous task server.
//!
//! Each module imports only those named before it, so this list is also the reading order.

extern crate self as framework;

pub mod output;
pub mod input;
pub mod config;
pub mod log;
pub mod protocol;
pub mod task;
pub mod schedule;
pub mod store;
pub mod server;
pub mod client;
pub mod app;
pub mod command;
pub mod console;

pub mod prelude;

pub use framework_macros::{Command, Task};
pub use {anyhow, clap, humantime, inventory, schemars, serde, serde_json};

/// Keeps the code in the README true.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
