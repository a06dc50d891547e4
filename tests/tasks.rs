//! Tasks from their acceptance to their end: commands, batches, queues, schedules, and the workers that run
//! them.

mod batches;
mod bulk_changes;
mod command_functions;
mod console_commands;
mod commands;
mod failures;
mod functions;
mod history;
mod isolated;
mod keys;
mod queues;
mod remote_workers;
mod schedule;
mod search;
mod send_mail;
mod testing_kit;
mod url_functions;
mod worker;
mod worker_programs;
