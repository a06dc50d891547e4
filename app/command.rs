//! The commands of this program.

mod hello;
mod questions;
mod show;
