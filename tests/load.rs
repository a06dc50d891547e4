//! The server under load: hostile clients, kills, changes of many tasks, and a long mixed load with
//! restarts.

mod bulk_changes;
mod checker;
mod faults;
mod hostile;
mod kills;
mod promises;
mod recorder;
mod scenarios;
mod soak;
mod web;
mod wire;

use std::io::{self, Write};

/// Prints figures also when a test passes; libtest captures only what macros print.
fn print(figures: &str) {
    io::stdout().write_all(format!("{figures}\n").as_bytes()).unwrap();
}
