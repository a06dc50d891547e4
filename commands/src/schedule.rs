//! The commands of schedules.

mod list;
mod pause;
mod run;
