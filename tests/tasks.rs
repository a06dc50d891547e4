//! Tasks from their acceptance to their end: commands, batches, queues, schedules, and the workers that run
//! them.

mod batches;
mod commands;
mod functions;
mod queues;
mod schedule;
mod send_mail;
mod worker;
