//! The client for Rust programs, `framework::client`.

mod access;
mod concurrency;
mod encrypted;
mod foreign_servers;
mod relay;
mod restarts;
