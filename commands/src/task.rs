//! The commands of the task server and of tasks.

mod arguments;
mod batch;
mod batches;
mod bench;
mod cancel;
mod check;
mod connections;
mod flush;
mod forget;
mod functions;
mod list;
mod reload;
mod restart;
mod retry;
mod run;
mod send;
mod show;
mod start;
mod status;
mod stop;
mod watch;
