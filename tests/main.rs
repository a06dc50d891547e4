//! Drives the real program, one file a subject.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

mod architecture;
mod batches;
mod browser;
mod client;
mod config;
mod console;
mod daemon;
mod frames;
mod framing;
mod functions;
mod http;
mod kill;
mod launcher;
mod life;
mod listeners;
mod mail;
mod making;
mod model;
mod power_cut;
mod queues;
mod readme;
mod release;
mod scenario;
mod schedule;
mod storage;
mod store;
mod tasks;
mod websocket;
mod workerman;
