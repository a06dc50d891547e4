//! Ends a run that hangs, with the name of the test that does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::variable;

/// The bound on every test, unless it asks for more by [`allow`].
const TEST_TIMEOUT: Duration = Duration::from_secs(600);
/// Sets another bound than [`TEST_TIMEOUT`], in seconds.
const VARIABLE: &str = "TEST_TIMEOUT";
const PAUSE: Duration = Duration::from_millis(200);
/// The exit code of libtest after a failed test.
const FAILED: i32 = 101;

/// The tests that run, by a number for each.
static RUNNING: Mutex<BTreeMap<u64, Test>> = Mutex::new(BTreeMap::new());
/// The directories of the projects, by which their processes are found.
static PROJECTS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A test that runs.
struct Test {
    name: String,
    begun: Instant,
    bound: Duration,
}

/// The test of this thread, watched until the thread ends.
struct Watched(Option<u64>);

thread_local! {
    static WATCHED: Watched = Watched::begin();
}

/// Watches the test of this thread; called by everything in the harness that a test begins with.
pub(crate) fn watch() {
    WATCHED.with(|_| ());
}

/// Watches the test of this thread with a longer bound.
pub(crate) fn allow(bound: Duration) {
    WATCHED.with(|watched| {
        let Some(number) = watched.0 else { return };
        if let Some(test) = running().get_mut(&number) {
            test.bound = test.bound.max(bound);
        }
    });
}

/// Notes the directory of a project, so that its processes end with a run that hangs.
pub(super) fn add_project(directory: &Path) {
    projects().insert(directory.to_owned());
}

pub(super) fn remove_project(directory: &Path) {
    projects().remove(directory);
}

fn running() -> MutexGuard<'static, BTreeMap<u64, Test>> {
    RUNNING.lock().expect("no one panics while holding the tests")
}

fn projects() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PROJECTS.lock().expect("no one panics while holding the projects")
}

impl Watched {
    /// libtest names the thread of a test after it; other threads belong to a test that is watched already.
    fn begin() -> Self {
        static STARTED: Once = Once::new();
        let thread = thread::current();
        let Some(name) = thread.name().filter(|name| name.contains("::")) else { return Self(None) };
        STARTED.call_once(|| {
            let seconds = variable(VARIABLE).map(|seconds| seconds.parse().expect(VARIABLE));
            let bound = seconds.map_or(TEST_TIMEOUT, Duration::from_secs_f64);
            thread::spawn(move || supervise(bound));
        });
        let mut running = running();
        let number = running.last_key_value().map_or(0, |(last, _)| last + 1);
        let test = Test { name: name.to_owned(), begun: Instant::now(), bound: Duration::ZERO };
        running.insert(number, test);
        Self(Some(number))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            running().remove(&number);
        }
    }
}

/// Looks at the tests that run for as long as the process does.
fn supervise(bound: Duration) {
    loop {
        thread::sleep(PAUSE);
        let over = running().values().find_map(|test| {
            let bound = test.bound.max(bound);
            (test.begun.elapsed() > bound).then(|| (test.name.clone(), bound))
        });
        if let Some((name, bound)) = over {
            let failure =
                format!("\ntest {name} has not ended after {bound:?}: it hangs, and the run ends here\n");
            // Not by a macro, whose text libtest would keep for a test that never ends.
            let _ = io::stderr().write_all(failure.as_bytes());
            kill_processes();
            std::process::exit(FAILED);
        }
    }
}

/// Kills the processes of all projects, and all children: nothing else would end them.
fn kill_processes() {
    let roots: Vec<_> = projects().iter().map(|root| format!("THINK_ROOT={}", root.display())).collect();
    let own = format!("\nPPid:\t{}\n", std::process::id());
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_str().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let Some(pid) = pid.filter(|pid| pid.as_raw_nonzero().get() as u32 != std::process::id()) else {
            continue;
        };
        let status = fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        let is_ours = |variable: &str| roots.iter().any(|root| variable.trim_end_matches('/') == root);
        if status.contains(&own) || environment.split('\0').any(is_ours) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::harness::{Project, Ran};

    #[test]
    #[ignore = "hangs when the next test runs it; does nothing by itself"]
    fn hangs() {
        if variable(VARIABLE).is_none() {
            return;
        }
        let project = Project::new();
        let mut sleep = Command::new("sleep");
        let mut child = sleep.arg("600").env("THINK_ROOT", project.path("")).spawn().unwrap();
        io::stdout().write_all(format!("child {}\n", child.id()).as_bytes()).unwrap();
        child.wait().unwrap();
        // The end of the child must not end the run before the watchdog does.
        loop {
            thread::park();
        }
    }

    #[test]
    fn watchdog_ends_a_run_that_hangs_with_the_name_of_the_test() {
        let mut run = Command::new(std::env::current_exe().unwrap());
        run.args(["--exact", "harness::watchdog::tests::hangs", "--ignored", "--nocapture"]);
        let ran = Ran::of(run.env(VARIABLE, "0.5")).exits(FAILED);
        let name = "test harness::watchdog::tests::hangs has not ended after 500ms";
        assert!(ran.stderr.contains(name), "{ran:?}");
        let child = ran.stdout.lines().find_map(|line| line.split_once("child ")).unwrap().1;
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "its child has ended: {stat}");
    }
}
