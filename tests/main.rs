//! Drives the real program, one file a subject.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

mod architecture;
mod clients;
mod config;
mod console;
mod daemon;
mod foreign;
mod load;
mod logs;
mod make;
mod mutants;
mod pages;
mod protocol;
mod readme;
mod release;
mod store;
mod tasks;
