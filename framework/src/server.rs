//! The asynchronous task server.

pub mod settings;
