//! Task types, the wire, and what a server reports to its clients: no sockets, no store.

#[cfg(test)]
extern crate self as framework;

mod protocol;
pub mod task;
pub mod views;

pub use protocol::*;
#[doc(hidden)]
pub use {inventory, schemars, serde_json};
