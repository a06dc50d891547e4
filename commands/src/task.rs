//! The commands of the task server and of tasks.

mod arguments;
mod batch;
mod batches;
mod bench;
mod cancel;
mod check;
mod connections;
mod failures;
mod flush;
mod forget;
mod functions;
mod list;
mod registered_functions;
mod reload;
mod restart;
mod retry;
mod run;
mod running_display;
mod send;
mod show;
mod start;
mod status;
mod stop;
mod watch;
mod work;
mod workers;
