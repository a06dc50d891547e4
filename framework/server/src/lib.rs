//! The asynchronous task server: the stores, and the stages through which a task passes.
//!
//! Each module imports only those named before it, so this list is also the reading order.

#[cfg(test)]
extern crate self as framework;

mod arguments;
mod processes;
mod series;
pub mod schedule;
pub mod store;
pub mod rules;
pub mod server;
pub mod functions;

/// What `#[derive(Task)]` names in this crate's own tests.
#[cfg(test)]
pub(crate) use {::inventory, ::schemars, framework_protocol::task};
