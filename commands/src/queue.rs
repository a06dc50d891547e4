//! The commands of queues and of the file in which tasks are stored.

mod backup;
mod check;
mod list;
mod pause;
mod repair;
