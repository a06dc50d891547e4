//! The task server and its clients.

mod watch_option;
mod arguments;
mod batch;
mod batches;
mod bench;
mod cancel;
mod check;
mod connections;
mod report_each;
mod flush;
mod forget;
mod functions;
mod list;
mod shutdown_options;
mod reload;
mod restart;
mod retry;
mod run;
mod send;
mod own_server;
pub(crate) mod server_address;
mod task_selection;
mod show;
mod start;
mod status;
mod stop;
mod watch;
