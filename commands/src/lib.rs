//! The built-in commands.

mod config;
mod help;
mod list;
mod make;
mod people;
mod queue;
mod schedule;
mod task;
