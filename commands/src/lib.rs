//! The built-in commands.
//!
//! Each module imports only those named before it, so this list is also the reading order.

mod format;
mod facts;
mod options;
mod pause;
mod config;
mod help;
mod list;
mod make;
mod queue;
mod schedule;
mod task;
