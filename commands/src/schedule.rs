//! What the clock does.

mod list;
mod pause;
mod resume;
mod run;
