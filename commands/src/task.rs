//! The task server and its clients.

mod again;
mod arguments;
mod batch;
mod batches;
mod bench;
mod cancel;
mod check;
mod connections;
mod each;
mod flush;
mod forget;
mod functions;
mod list;
mod patience;
mod pid_file;
mod reload;
mod restart;
mod retry;
mod run;
mod send;
pub(crate) mod server_address;
mod several;
mod show;
mod start;
mod status;
mod stop;
mod watch;
