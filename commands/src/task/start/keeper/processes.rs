//! The processes below another, as the system lists them.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, Signal};

/// One process, as it was a moment ago.
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) parent: Pid,
    pub(super) name: String,
    /// Whether it only waits for being waited for.
    pub(super) has_ended: bool,
    /// When it began, in ticks since the system did.
    pub(super) began: u64,
}

impl Process {
    /// What it was started with; `None` once it has begun to end.
    pub(super) fn arguments(&self) -> Option<Vec<String>> {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid.as_raw_pid())).unwrap_or_default();
        let words = line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        (!line.is_empty()).then(|| words.collect())
    }

    /// Whether it has said what it does at this signal, which would kill it else.
    pub(super) fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_pid()));
        let caught =
            status.iter().flat_map(|status| status.lines()).find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
    }

    fn read(pid: Pid) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
    }

    /// The name stands in brackets, and may hold some.
    fn parse(pid: Pid, stat: &str) -> Option<Self> {
        let (head, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let [state, parent, ..] = fields[..] else { return None };
        Some(Self {
            pid,
            parent: Pid::from_raw(parent.parse().ok()?)?,
            name: head.split_once('(')?.1.to_owned(),
            has_ended: matches!(state, "Z" | "X"),
            began: fields.get(19)?.parse().ok()?,
        })
    }
}

/// All processes below this one, at any depth. The list of its children that the system has, too, may leave one out
/// when another ends in that moment.
pub(super) fn below(root: Pid) -> Vec<Process> {
    let mut others: Vec<_> = all().collect();
    let mut found = Vec::new();
    let mut family = HashSet::from([root]);
    loop {
        let (inside, outside): (Vec<_>, _) =
            others.into_iter().partition(|process| family.contains(&process.parent));
        if inside.is_empty() {
            return found;
        }
        family.extend(inside.iter().map(|process| process.pid));
        found.extend(inside);
        others = outside;
    }
}

/// What the system calls this process.
pub(super) fn own_name() -> String {
    fs::read_to_string("/proc/self/comm").unwrap_or_default().trim_end().to_owned()
}

fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter_map(Process::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) Z (b)) Z 3 7 7 0 -1 4228364 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0";
        let process = Process::parse(Pid::from_raw(7).unwrap(), stat).unwrap();
        assert_eq!((process.name.as_str(), process.began), ("a) Z (b)", 123_456));
        assert_eq!(process.parent, Pid::from_raw(3).unwrap());
        assert!(process.has_ended);
    }

    #[test]
    fn a_child_is_below_its_parent_and_has_its_arguments() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let found = below(rustix::process::getpid());
        let sleep = found.iter().find(|process| process.pid == Pid::from_child(&child)).unwrap();
        assert_eq!(sleep.name, "sleep");
        assert!(!sleep.has_ended && !sleep.catches(Signal::USR1));
        assert!(sleep.arguments().unwrap().contains(&"600".to_owned()));
        child.kill().unwrap();
        let killed = || {
            below(rustix::process::getpid())
                .into_iter()
                .find(|process| process.pid == Pid::from_child(&child))
        };
        while killed().is_some_and(|killed| !killed.has_ended) {}
        assert!(killed().unwrap().arguments().is_none());
        child.wait().unwrap();
        assert!(below(Pid::from_child(&child)).is_empty());
    }
}
