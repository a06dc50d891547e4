//! The figures of the process that Prometheus knows by the names of its own.

use std::fs;

/// The figures of this process; `None` where the system does not tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessFigures {
    /// The time on processors, in seconds.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: Option<u64>,
}

impl ProcessFigures {
    pub(crate) fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu_seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let resident_bytes = resident.and_then(|count| Some(count.parse::<u64>().ok()? * 1024));
        Self { cpu_seconds, resident_bytes }
    }
}
