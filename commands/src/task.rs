//! The task server and its clients.

mod bench;
mod send;
mod server_address;
mod start;
mod status;
