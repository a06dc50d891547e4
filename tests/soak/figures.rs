//! What the process of the server holds, and what its project has on the disk.

use std::{fmt, fs};

use crate::daemon::guard::Daemon;

#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// In KiB.
    pub(super) memory: u64,
    pub(super) descriptors: usize,
    threads: u64,
    /// In KiB: the queue's file with what belongs to it.
    pub(super) queue: u64,
    /// In KiB: the log and those put aside.
    pub(super) logs: u64,
}

impl Figures {
    pub(super) fn of(daemon: &Daemon) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid)).unwrap();
        let figure = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap().count();
        let (queue, logs) = (size(daemon, "queue.db"), size(daemon, "server.log"));
        Self { memory: figure("VmRSS:"), descriptors, threads: figure("Threads:"), queue, logs }
    }
}

/// Of all files in `runtime/` whose names begin so.
fn size(daemon: &Daemon, name: &str) -> u64 {
    let files = fs::read_dir(daemon.project.path("runtime")).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(name));
    // One that is put aside just now may have gone.
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
