//! The built-in commands.
//!
//! A program has them if it names this crate anywhere, which [`console!`] does:
//!
//! ```
//! use framework::prelude::*;
//!
//! fn console() -> Console {
//!     commands::console!() // .events(server::AsyncTask), .provide(..)
//! }
//! ```
//!
//! Each module imports only those named before it, so this list is also the reading order.

mod format;
mod facts;
mod bounded_input;
mod json_text;
mod options;
mod pause;
mod config;
mod help;
mod completion;
mod doctor;
mod list;
mod make;
mod new;
mod queue;
mod schedule;
mod task;

/// The console of the program that this stands in: with the built-in commands, its own, and its version.
#[macro_export]
macro_rules! console {
    () => {
        $crate::console(::core::env!("CARGO_PKG_VERSION"))
    };
}

/// A console of this version; [`console!`] knows which.
pub fn console(version: &'static str) -> framework::console::Console {
    framework::console::Console::new().version(version)
}
