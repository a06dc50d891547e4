//! Clients of the server: the commands, the Rust client, other languages, browsers and Workerman's clients.

mod browser;
mod commands;
mod languages;
mod no_wait;
mod own_server;
mod rust;
mod workerman;
