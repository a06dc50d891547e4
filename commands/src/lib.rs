//! The built-in commands.

mod config;
mod facts;
mod format;
mod help;
mod list;
mod make;
mod options;
mod pause;
mod queue;
mod report_each;
mod schedule;
mod task;
