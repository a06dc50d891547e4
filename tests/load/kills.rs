//! Kills the background server with -9 under a mixed load, and checks all that its clients were told.

use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::faults::Faults;
use super::recorder::{End, Promise, Recorder};
use super::scenarios::{PAUSED_QUEUE, repeat};
use super::{checker, promises, scenarios, web};
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::metrics::assert_balanced;
use crate::harness::watchdog;

const KILLS: usize = 50;
const SETTINGS: &str = "app_log = false\nretention_count = 10000000\nidempotency_window = \"1h\"\n";
const SCHEDULE: &str =
    "[tick]\nfunction = \"echo\"\nargs = \"tick\"\ncron = \"* * * * * *\"\nmissed = \"all\"\n";

#[test]
fn mixed_load_of_all_protocols_survives_50_kills() {
    watchdog::allow(Duration::from_secs(20 * 60));
    let project = project_with(SETTINGS);
    // The folder of the mails is a file: all mails fail.
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    project.write("config/schedule.toml", SCHEDULE);
    let daemon = Daemon::start(project, "");
    let recorder = Recorder::new(daemon.address.clone());
    let daemon = thread::scope(|scope| {
        let recorder = &recorder;
        let _end = End(recorder);
        for client in [scenarios::mixed, scenarios::mixed, scenarios::mixed, web::visit, scenarios::rude] {
            scope.spawn(move || repeat(recorder, "client", client));
        }
        kill_again_and_again(daemon, recorder)
    });
    daemon.think("schedule:pause tick").exits(0);
    let queue = json!({ "command": "resume", "queue": PAUSED_QUEUE });
    let reply = daemon.client().send(format!("{queue}\n")).json();
    assert_eq!(reply["status"], "ok", "{reply}");
    let promises = recorder.take_promises();
    promises::end_unsealed(&recorder, &promises).unwrap();
    let ledger = daemon.idle_ledger();
    recorder.recheck_recent();
    checker::check_all(&recorder).unwrap();
    promises::check(&recorder, &promises).unwrap();

    let wrong = recorder.all_wrong();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_balanced(&ledger);
    assert!(recorder.count() > KILLS as u64, "there was a load");
    let has = |is_it: fn(&Promise) -> bool| promises.iter().any(is_it);
    assert!(has(|promise| matches!(promise, Promise::Cancelled { .. })));
    assert!(has(|promise| matches!(promise, Promise::Key { .. })));
    assert!(has(|promise| matches!(promise, Promise::Sealed { .. })));
    assert!(has(|promise| matches!(promise, Promise::NeverSealed { .. })));
    daemon.think("task:stop").exits(0);
}

/// Most kills come early in the life of a process, and some when there is a lot behind.
fn kill_again_and_again(daemon: Daemon, recorder: &Recorder) -> Daemon {
    let mut random = Rng::new();
    let mut faults = Faults::new(daemon, recorder);
    for _ in 0..KILLS {
        let most = [20, 200, 1_000][random.usize(..3)];
        thread::sleep(Duration::from_millis(random.u64(1..most)));
        faults.kill();
    }
    faults.into_daemon()
}
