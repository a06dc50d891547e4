//! Memory, descriptors and files of the server.

use std::{fmt, fs};

use crate::harness::daemon::Daemon;
use crate::harness::metrics::{descriptors, process_figure};

#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Resident memory, in KiB.
    pub(super) memory: u64,
    pub(super) descriptors: usize,
    threads: u64,
    /// In KiB: the queue file and its companions.
    pub(super) queue: u64,
    /// In KiB: the log and the rotated ones.
    pub(super) logs: u64,
}

impl Figures {
    pub(super) fn of(daemon: &Daemon) -> Self {
        Self {
            memory: process_figure(daemon.pid, "VmRSS"),
            descriptors: descriptors(daemon.pid),
            threads: process_figure(daemon.pid, "Threads"),
            queue: size(daemon, "queue.db"),
            logs: size(daemon, "server.log"),
        }
    }
}

/// The size in KiB of all files in `runtime/` whose names begin like this.
fn size(daemon: &Daemon, name: &str) -> u64 {
    let files = fs::read_dir(daemon.project.path("runtime")).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(name));
    // A file that is being rotated may be gone.
    files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum::<u64>() / 1024
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, descriptors, threads, queue, logs } = self;
        write!(
            formatter,
            "memory {} MiB, {descriptors} descriptors, {threads} threads; queue {} MiB, logs {logs} KiB",
            memory >> 10,
            queue >> 10
        )
    }
}
