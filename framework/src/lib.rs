//! A console kernel whose main pluggable command is an asynchronous task server.
//!
//! This crate re-exports the crates that stand in its folder, chosen by features: `console` (always there), `client`
//! and `server`, both by default. Read them in this order.

#[cfg(feature = "client")]
pub use framework_client as client;
pub use framework_console::{app, app_log, command, config, console, input, log, output, section};
#[cfg(feature = "tasks")]
pub use framework_protocol::{self as protocol, task, views};
#[cfg(feature = "server")]
pub use framework_server::{schedule, server, store};

pub mod prelude;

pub use anyhow;
pub use clap;
pub use framework_macros::Command;
#[cfg(feature = "tasks")]
pub use framework_macros::Task;
pub use humantime;
pub use inventory;
#[cfg(feature = "tasks")]
pub use schemars;
pub use serde;
pub use serde_json;

/// Keeps the code in the README true.
#[cfg(all(doctest, feature = "client", feature = "server"))]
#[doc = include_str!("../../README.md")]
struct Readme;
