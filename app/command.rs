//! The commands of this program.

mod hello;
