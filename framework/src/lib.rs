//! A console kernel whose main pluggable command is an asynchronous task server.
//!
//! This crate re-exports the crates that stand in its folder, by features:
//!
//! | feature | modules | compiles |
//! |---|---|---|
//! | `console` | [`output`], [`input`], [`files`], [`config`], [`log`], [`app`], [`command`], [`console`] | |
//! | `client` | `protocol`, `task`, `views`, `client` | TLS, but no store and no HTTP |
//! | `server` | `protocol`, `task`, `views`, `schedule`, `store`, `server` | SQLite, HTTP, WebSocket, cron |
//! | `beanstalkd`, `faktory` | as `server`, and `foreign` | the protocol of that system |
//! | `postgres` | as `server`, and `postgres` | the client of that database |
//! | `web` | as `server`, and `web` | the pages of a server, as HTML |
//!
//! The kernel is always there, and all of them but `postgres` are on by default. A program that is only a
//! console says `default-features = false, features = ["console"]`; one that only sends tasks,
//! `features = ["client"]`.
//! The modules of a feature stand in reading order.

#[cfg(feature = "client")]
pub use framework_client as client;
pub use framework_console::{
    app, app_log, command, complete_values, config, console, files, input, listen, log, output, section,
};
#[cfg(any(feature = "beanstalkd", feature = "faktory"))]
pub use framework_foreign as foreign;
#[cfg(feature = "postgres")]
pub use framework_postgres as postgres;
#[cfg(feature = "tasks")]
pub use framework_protocol::{self as protocol, task, views};
#[cfg(feature = "server")]
pub use framework_server::{functions, rules, schedule, server, store};
#[cfg(feature = "web")]
pub use framework_web as web;

pub mod prelude;

pub use anyhow;
pub use clap;
#[cfg(feature = "tasks")]
pub use framework_macros::Task;
pub use framework_macros::{Command, markup};
pub use humantime;
pub use inventory;
#[cfg(feature = "tasks")]
pub use schemars;
pub use serde;
pub use serde_json;

/// The README, whose Rust examples are compiled as tests.
#[cfg(all(doctest, feature = "client", feature = "server"))]
#[doc = include_str!("../../README.md")]
struct Readme;
