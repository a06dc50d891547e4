//! The built-in commands.

mod help;
mod list;
mod make;
mod task;
