//! How many files the process may have open, of which every connection is one.

use std::fs;

use framework_protocol::views::OpenFiles;

/// What is open beside the connections of `max_connection`: listeners, those of the control socket, the store, logs,
/// and what handlers open.
const BESIDE: u64 = 100;

/// The open files of this process.
pub(super) fn open_files() -> OpenFiles {
    OpenFiles { used: used(), limit: limit() }
}

/// Lifts the limit as far as the system lets; says so when that is less than this many connections need.
pub(crate) fn raise_limit(max_connection: usize) {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let needed = max_connection as u64 + BESIDE;
    let Some(limit) = limit().filter(|limit| *limit < needed) else { return };
    let why = raised.err().map(|error| format!(" ({error})")).unwrap_or_default();
    tracing::warn!(
        "the system lets this process have {limit} files open and no more{why}, but max_connection = \
         {max_connection} needs {needed}: raise the limit (ulimit -n {needed}, or LimitNOFILE={needed} in a systemd \
         unit), or lower max_connection in config/server.toml"
    );
}

fn limit() -> Option<u64> {
    let (soft, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).ok()?;
    (soft != rlimit::INFINITY).then_some(soft)
}

/// Newer systems tell the number at once; else the entries are counted, of which one is for the counting itself.
fn used() -> Option<u64> {
    let list = "/proc/self/fd";
    match fs::metadata(list).ok()?.len() {
        0 => Some((fs::read_dir(list).ok()?.count() as u64).saturating_sub(1)),
        told => Some(told),
    }
}
