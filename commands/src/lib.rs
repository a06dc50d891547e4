//! The built-in commands.

mod config;
mod facts;
mod help;
mod list;
mod make;
mod format;
mod queue;
mod schedule;
mod task;
