//! Talks to a running task server: what `task:send` and `task:status` use, and Rust programs too.

mod client;

pub use client::*;
