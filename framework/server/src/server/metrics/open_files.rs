//! The open files of the process, of which every connection is one, and their limit.

use std::fs;

use framework_protocol::views::OpenFiles;

/// The files needed beside `max_connection` connections: listeners, control connections, the store, logs, and
/// what handlers open.
const RESERVE: u64 = 100;

/// The open files of this process.
pub(crate) fn open_files() -> OpenFiles {
    OpenFiles { used: used(), limit: limit() }
}

/// The number of files that a server with so many connections may have to open.
pub fn needed_files(max_connection: usize) -> u64 {
    max_connection as u64 + RESERVE
}

/// Raises the limit as far as the system permits; the number of connections that then fit, at most
/// `max_connection`. Warns when they are fewer.
pub(crate) fn raise_limit(max_connection: usize) -> usize {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let needed = needed_files(max_connection);
    let Some(limit) = limit().filter(|limit| *limit < needed) else { return max_connection };
    let fitting = usize::try_from(limit - RESERVE.min(limit / 2)).unwrap_or(max_connection).max(1);
    let why = raised.err().map(|error| format!(" ({error})")).unwrap_or_default();
    tracing::warn!(
        "the system lets this process open {limit} files{why}, but max_connection = \
         {max_connection} needs {needed}; so it accepts {fitting} connections: raise the limit (ulimit -n {needed}, or LimitNOFILE={needed} in a systemd \
         unit), or lower max_connection in config/server.toml"
    );
    fitting
}

fn limit() -> Option<u64> {
    let (soft, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).ok()?;
    (soft != rlimit::INFINITY).then_some(soft)
}

/// Newer kernels report the number as the size of the directory; otherwise its entries are counted, of which
/// one is for the counting itself.
fn used() -> Option<u64> {
    let list = "/proc/self/fd";
    match fs::metadata(list).ok()?.len() {
        0 => Some((fs::read_dir(list).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}
