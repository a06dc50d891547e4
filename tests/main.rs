//! Drives the real program, one file a subject.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

mod access;
mod architecture;
mod batches;
mod browser;
mod client;
mod config;
mod connections;
mod console;
mod daemon;
mod frames;
mod framing;
mod fuzz;
mod functions;
mod http;
mod hostile;
mod kill;
mod languages;
mod launcher;
mod life;
mod listeners;
mod logs;
mod mail;
mod making;
mod model;
mod no_wait;
mod power_cut;
mod queues;
mod readme;
mod release;
mod reload;
mod scenario;
mod schedule;
mod soak;
mod storage;
mod store;
mod tasks;
mod tls;
mod watching;
mod websocket;
mod workerman;
