//! The commands of this program; a `mod` line registers one.

mod hello;
