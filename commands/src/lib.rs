//! The built-in commands.
//!
//! Each module imports only those named before it, so this list is also the reading order.

mod format;
mod facts;
mod bounded_input;
mod options;
mod pause;
mod config;
mod help;
mod completion;
mod doctor;
mod list;
mod make;
mod queue;
mod schedule;
mod task;
