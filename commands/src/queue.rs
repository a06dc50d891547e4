//! The commands of queues and of the place in which tasks are stored.

mod backup;
mod check;
mod list;
mod migrate;
mod pause;
mod repair;
