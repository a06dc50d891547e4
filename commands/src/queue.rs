//! The queues, and the file that tasks survive in.

mod backup;
mod check;
mod list;
mod pause;
pub(crate) mod queue_file;
mod repair;
mod resume;
