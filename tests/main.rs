//! Drives the real program, one file a subject.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

mod architecture;
mod client;
mod config;
mod console;
mod framing;
mod launcher;
mod life;
mod mail;
mod making;
mod readme;
mod release;
mod scenario;
mod store;
