//! Numbers of a server: its ledger, and what its process holds.

use std::fs;

use serde_json::Value;

/// The states that add up to what was accepted.
const STATES: [&str; 6] = ["done", "failed", "cancelled", "expired", "waiting", "running"];

/// Checks that every accepted task is in one of the states.
///
/// # Errors
/// Names the ledger that does not balance.
pub(crate) fn balance(ledger: &Value) -> Result<(), String> {
    let count = |name: &str| ledger[name].as_u64().ok_or_else(|| format!("no {name} in {ledger}"));
    let sum = STATES.iter().map(|state| count(state)).sum::<Result<u64, _>>()?;
    if count("accepted")? == sum { Ok(()) } else { Err(format!("the ledger does not balance: {ledger}")) }
}

/// Fails unless every accepted task is in one of the states.
#[track_caller]
pub(crate) fn assert_balanced(ledger: &Value) {
    balance(ledger).unwrap_or_else(|error| panic!("{error}"));
}

/// `true` if no task waits or runs.
pub(crate) fn is_idle(ledger: &Value) -> bool {
    ledger["waiting"] == 0 && ledger["running"] == 0
}

/// A figure of `/proc/PID/status`, such as `VmRSS` (in KiB) or `Threads`.
pub(crate) fn process_figure(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// The number of open file descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
