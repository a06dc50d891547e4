//! The wire: lines, frames, WebSocket, HTTP and TLS on the listeners of a server, and access to it.

mod access;
mod bounds;
mod connections;
mod foreign_pages;
mod frames;
mod fuzz;
mod http;
mod json;
mod lines;
mod listeners;
mod telnet;
mod tls;
mod websocket;
