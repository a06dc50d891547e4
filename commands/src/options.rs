//! Options that several commands share.

pub(crate) mod bulk_change;
pub(crate) mod own_server;
pub(crate) mod queue_file;
pub(crate) mod report_each;
pub(crate) mod server_address;
pub(crate) mod shutdown;
pub(crate) mod task_selection;
pub(crate) mod watch;
