//! The statistics of jobs, tubes and the server, in YAML as beanstalkd writes it.

use std::fmt::{Display, Write};
use std::time::Instant;

use framework_server::store::QueueBacklog;

use super::priority::urgent;
use super::tubes::{COMMANDS, Shared, Tube, get};

/// The statistics of a job; times in seconds.
pub(super) struct JobStats {
    pub(super) id: u64,
    pub(super) tube: String,
    pub(super) state: &'static str,
    pub(super) priority: u32,
    pub(super) age: u64,
    pub(super) delay: u32,
    pub(super) time_to_run: u64,
    pub(super) time_left: u64,
    pub(super) reserves: u64,
    pub(super) timeouts: u64,
    pub(super) releases: u64,
    pub(super) buries: u64,
    pub(super) kicks: u64,
}

/// A document of names and values.
struct Document(String);

impl Document {
    fn new() -> Self {
        Self("---\n".to_owned())
    }

    fn add(&mut self, name: impl Display, value: impl Display) {
        writeln!(self.0, "{name}: {value}").expect("a text takes every letter");
    }
}

impl JobStats {
    pub(super) fn document(&self) -> String {
        let mut document = Document::new();
        document.add("id", self.id);
        document.add("tube", &self.tube);
        document.add("state", self.state);
        document.add("pri", self.priority);
        document.add("age", self.age);
        document.add("delay", self.delay);
        document.add("ttr", self.time_to_run);
        document.add("time-left", self.time_left);
        // That of a write-ahead log of beanstalkd.
        document.add("file", 0);
        document.add("reserves", self.reserves);
        document.add("timeouts", self.timeouts);
        document.add("releases", self.releases);
        document.add("buries", self.buries);
        document.add("kicks", self.kicks);
        document.0
    }
}

/// A list of names.
pub(super) fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.fold("---\n".to_owned(), |list, name| list + "- " + name + "\n")
}

/// The jobs of all tubes together.
pub(super) fn sum<'a>(all: impl Iterator<Item = &'a QueueBacklog>) -> QueueBacklog {
    all.fold(QueueBacklog::default(), |mut sum, jobs| {
        sum.due.iter_mut().zip(jobs.due).for_each(|(sum, due)| *sum += due);
        sum.delayed += jobs.delayed;
        sum.running += jobs.running;
        sum.failed += jobs.failed;
        sum
    })
}

fn add_jobs(document: &mut Document, jobs: &QueueBacklog) {
    document.add("current-jobs-urgent", urgent(&jobs.due));
    document.add("current-jobs-ready", jobs.due.iter().sum::<u64>());
    document.add("current-jobs-reserved", jobs.running);
    document.add("current-jobs-delayed", jobs.delayed);
    document.add("current-jobs-buried", jobs.failed);
}

/// The statistics of a tube; `tube` is `None` if nobody has named it since the start.
pub(super) fn of_tube(name: &str, tube: Option<&Tube>, jobs: &QueueBacklog) -> String {
    let count = |of: fn(&Tube) -> u64| tube.map_or(0, of);
    let (pause, left) = tube.map_or((0, 0), |tube| tube.pause(Instant::now()));
    let mut document = Document::new();
    document.add("name", name);
    add_jobs(&mut document, jobs);
    document.add("total-jobs", count(|tube| get(&tube.total_jobs)));
    document.add("current-using", count(|tube| get(&tube.using)));
    document.add("current-watching", count(|tube| get(&tube.watching)));
    document.add("current-waiting", count(|tube| get(&tube.waiting)));
    document.add("cmd-delete", count(|tube| get(&tube.deletes)));
    document.add("cmd-pause-tube", count(|tube| get(&tube.pauses)));
    document.add("pause", pause);
    document.add("pause-time-left", left);
    document.0
}

/// The statistics of the server.
pub(super) struct ServerStats {
    pub(super) shared: &'static Shared,
    pub(super) jobs: QueueBacklog,
    pub(super) tubes: usize,
    pub(super) timeouts: u64,
    pub(super) max_job_size: usize,
    /// At the moment, and since the start.
    pub(super) connections: (usize, u64),
    pub(super) is_draining: bool,
}

impl ServerStats {
    pub(super) fn document(&self) -> String {
        let counts = &self.shared.counts;
        let mut document = Document::new();
        add_jobs(&mut document, &self.jobs);
        for (index, command) in COMMANDS.iter().enumerate() {
            document.add(format_args!("cmd-{command}"), counts.of(index));
        }
        document.add("job-timeouts", self.timeouts);
        document.add("total-jobs", get(&counts.jobs));
        document.add("max-job-size", self.max_job_size);
        document.add("current-tubes", self.tubes);
        document.add("current-connections", self.connections.0);
        document.add("current-producers", get(&counts.producers));
        document.add("current-workers", get(&counts.workers));
        document.add("current-waiting", get(&counts.waiting));
        document.add("total-connections", self.connections.1);
        document.add("pid", std::process::id());
        document.add("version", format_args!("\"1.12 think {}\"", env!("CARGO_PKG_VERSION")));
        let times = times();
        document.add("rusage-utime", format_args!("{:.6}", times.0));
        document.add("rusage-stime", format_args!("{:.6}", times.1));
        document.add("uptime", self.shared.started.elapsed().as_secs());
        // There is no such log: tasks are in the queue's file.
        for name in ["oldest-index", "current-index", "records-migrated", "records-written", "max-size"] {
            document.add(format_args!("binlog-{name}"), 0);
        }
        document.add("draining", self.is_draining);
        let system = rustix::system::uname();
        document.add("hostname", system.nodename().to_string_lossy());
        document.add("os", system.version().to_string_lossy());
        document.add("platform", system.machine().to_string_lossy());
        document.0
    }
}

/// The seconds that the process has run for itself, and in the system; zeros where that is not to be had.
fn times() -> (f64, f64) {
    // A tick is a hundredth of a second on Linux, whatever the system counts in.
    let read = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
        let mut seconds = || fields.next()?.parse::<f64>().ok().map(|ticks| ticks / 100.0);
        Some((seconds()?, seconds()?))
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_of_a_tube_nobody_has_named_count_its_jobs() {
        let jobs = QueueBacklog { due: [0, 0, 0, 0, 0, 2, 1, 0, 0, 0], delayed: 4, running: 5, failed: 6 };
        let document = of_tube("mails", None, &jobs);
        for line in [
            "name: mails",
            "current-jobs-urgent: 1",
            "current-jobs-ready: 3",
            "current-jobs-reserved: 5",
            "current-jobs-delayed: 4",
            "current-jobs-buried: 6",
            "total-jobs: 0",
        ] {
            assert!(document.lines().any(|known| known == line), "{line} in {document}");
        }
    }

    #[test]
    fn list_has_a_line_for_each_name() {
        assert_eq!(list(["a", "b"].into_iter()), "---\n- a\n- b\n");
    }
}
